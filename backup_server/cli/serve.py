"""``serve``: gunicorn with the shipped settings."""

import os
import socket
import sys

import click

from ..settings import Settings


@click.command(
    epilog="""Settings are environment variables, which the README describes: HOST, PORT, DATA_DIR,
    MAX_BODY_BYTES, CORS_ORIGINS, TRUSTED_HOSTS, BACKUP_TOKEN, WEB_CONCURRENCY, and gunicorn's own
    GUNICORN_CMD_ARGS. The exit status is 1 if it cannot listen, 2 if a setting is wrong."""
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
            shipped = "python:backup_server.gunicorn_conf"
            sys.argv = [self.prog, "-c", shipped, "backup_server:create_app()"]
            super().load_config()
            # gunicorn calls Python with these at SIGUSR2, for a second master.
            sys.argv = sys.orig_argv[1:]

    # With these, gunicorn may listen elsewhere, or on a socket that is open already.
    if not os.environ.keys() & {"GUNICORN_CMD_ARGS", "LISTEN_FDS", "GUNICORN_FD"}:
        try:
            family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
            socket.create_server((settings.host, settings.port), family=family).close()
        except OSError as error:  # which gunicorn would try again for 5 seconds
            raise click.ClickException(f"HOST, PORT: {error.strerror}.") from None
    Server(prog="portfolio-backup").run()
