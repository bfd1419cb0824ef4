"""``serve``: gunicorn with the shipped settings."""

import os
import socket
import sys

import click

from ..settings import Settings


@click.command(
    epilog="""
    Settings are environment variables, which the README describes: HOST, PORT, DATA_DIR,
    MAX_BODY_BYTES, CORS_ORIGINS, TRUSTED_HOSTS, BACKUP_TOKEN, WEB_CONCURRENCY, and gunicorn's own
    GUNICORN_CMD_ARGS.

    \b
    Exit status:
      0  Stopped by SIGTERM or SIGINT, after the uploads under way.
      1  It could not listen, or failed.
      2  It was used wrongly, or a setting is wrong: stderr says which, in one line.
    """
)
def serve() -> None:
    """Serve the API until SIGTERM; the default command."""
    settings = Settings.from_environ()
    # Only now: gunicorn reads WEB_CONCURRENCY when it is imported, and stumbles over nonsense.
    from gunicorn.app.wsgiapp import WSGIApplication

    class Server(WSGIApplication):
        """gunicorn's own command with the shipped settings; GUNICORN_CMD_ARGS come on top."""

        def load_config(self) -> None:
            """Read the settings, at the start and at each SIGHUP."""
            flags = ["-c", "python:backup_server.gunicorn_conf"]
            sys.argv = [self.prog, *flags, "backup_server:create_app()"]
            super().load_config()
            # gunicorn calls Python with these at SIGUSR2, for a second master.
            sys.argv = sys.orig_argv[1:]

    # With these, gunicorn may listen elsewhere, or on a socket that is open already.
    if not os.environ.keys() & {"GUNICORN_CMD_ARGS", "LISTEN_FDS", "GUNICORN_FD"}:
        _check_address(settings.host, settings.port)
    Server(prog="portfolio-backup").run()


def _check_address(host: str, port: int) -> None:
    """Raise ClickException if the address cannot be had: gunicorn would try it for 5 seconds."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        message = f"Cannot listen on {host} port {port} (HOST, PORT): {error.strerror}."
        raise click.ClickException(message) from None
