"""The command ``portfolio-backup``: the server, and what its owner does beside it.

Only ``serve`` makes a directory. Results go to stdout. An error is one line on stderr.
"""

import signal
import sys

import click

from .. import __version__
from ..errors import BackupError, as_backup_error
from .check import check
from .listing import list_backups, verify
from .prune import prune
from .serve import serve
from .survey import say


class _Commands(click.Group):
    """A group whose errors are one line, and whose commands return their exit status."""

    def main(self, *arguments: object, **options: object) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="replace")  # letters that a terminal does not have
        try:
            sys.exit(super().main(*arguments, **options | {"standalone_mode": False}) or 0)
        except click.Abort:
            sys.exit(128 + signal.SIGINT)
        except click.ClickException as error:
            message, status = error.format_message(), error.exit_code
        except (BackupError, OSError) as error:
            message, status = str(as_backup_error(error)), 2
        say(message, err=True)
        sys.stdout = sys.stderr  # or Python flushes it again at its exit, and ends with status 120
        sys.exit(status)


@click.group(
    cls=_Commands,
    commands=[serve, list_backups, verify, check, prune],
    invoke_without_command=True,
    epilog="""Exit status: 0 if nothing was found; 1 if something was; 2 if it was used wrongly or
    could not be done. DATA_DIR is the storage directory, ./data unless it is set.""",
)
@click.version_option(__version__, prog_name="portfolio-backup", message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """Serve the backups of a portfolio, the default, or look after those in DATA_DIR.

    Nothing is ever deleted but by a request or by `prune --yes`.
    """
    if context.invoked_subcommand is None:
        context.invoke(serve)
