"""``serve``: gunicorn with the shipped settings."""

import click

from ..settings import Settings


@click.command(
    epilog="""\b
    Settings, all in the environment:
      HOST, PORT         Where to listen: 127.0.0.1 and 3081 unless they are set.
      DATA_DIR           The storage directory, made if missing; ./data unless it is set.
      MAX_BODY_BYTES     The largest body after decompression: 52428800 unless it is set.
      CORS_ORIGINS       Origins whose pages may call, by default those of loopback.
      TRUSTED_HOSTS      Host names to answer to, by default localhost and IP addresses.
      BACKUP_TOKEN       A token to ask for; none unless it is set.
      WEB_CONCURRENCY    Worker processes.
      GUNICORN_CMD_ARGS  Further flags of gunicorn's.

    \b
    Exit status:
      0  Stopped by SIGTERM or SIGINT, after the uploads under way.
      1  It could not listen, or failed.
      2  It was used wrongly, or a setting is wrong: stderr says which, in one line.
    """
)
def serve() -> None:
    """Serve the API until SIGTERM; the default command."""
    Settings.from_environ()
    # Only now: gunicorn reads WEB_CONCURRENCY when it is imported, and stumbles over nonsense.
    from .listening import Server

    Server(prog="portfolio-backup").run()
