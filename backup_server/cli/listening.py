"""gunicorn, told before it starts whether it can listen at all."""

import os
import socket
import sys

import click
from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.config import Config


class Server(WSGIApplication):
    """gunicorn's own command with the shipped settings; GUNICORN_CMD_ARGS come on top."""

    def load_config(self) -> None:
        """Read the settings, at the start and at each SIGHUP."""
        arguments = ["-c", "python:backup_server.gunicorn_conf", "backup_server:create_app()"]
        sys.argv = [self.prog, *arguments]
        super().load_config()
        # gunicorn calls Python with these at SIGUSR2, for a second master.
        sys.argv = sys.orig_argv[1:]

    def run(self) -> None:
        """Serve, unless the address cannot be had: gunicorn would try that five times."""
        _check_addresses(self.cfg)
        super().run()


def _check_addresses(config: Config) -> None:
    """Raise ClickException if an address to listen on cannot be bound."""
    if config.reuse_port or "LISTEN_FDS" in os.environ or "GUNICORN_FD" in os.environ:
        return  # shared with other servers, or open already
    for address in config.address:
        if isinstance(address, tuple):
            _check_address(*address)


def _check_address(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise click.ClickException(
            f"Cannot listen on {host} port {port} (HOST, PORT): {error.strerror}."
        ) from None
