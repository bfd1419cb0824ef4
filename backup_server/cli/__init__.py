"""The command ``portfolio-backup``: the server, and what its owner does beside it.

Only ``serve`` makes a directory. What was asked for goes to stdout; progress goes to stderr, and
only to a terminal. An error is one line on stderr.
"""

import signal

import click

from .. import __version__
from ..errors import BackupError
from ..settings import SettingsError
from . import checking, listing, pruning, serving, verifying
from .manual import COMMAND_EXITS, DATA_DIR, ManualGroup


@click.group(
    cls=ManualGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    sections={
        "Exit status": COMMAND_EXITS,
        "Environment": [*DATA_DIR, ("...", "Further settings of the server: see serve --help.")],
        "Example": [("portfolio-backup check --max-age 26h", "")],
    },
)
@click.version_option(__version__, prog_name="portfolio-backup", message="%(prog)s %(version)s")
@click.pass_context
def commands(context: click.Context) -> int | None:
    """Keep the backups of a portfolio: serve them, or look after those in DATA_DIR.

    Without a command it serves. Nothing is ever deleted but by a request or by `prune --yes`.
    """
    if context.invoked_subcommand in (None, "serve"):
        return None if context.invoked_subcommand else context.invoke(serving.serve)
    # A reader that goes away, such as head, ends a command as it ends any other.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    return None


for command in (
    serving.serve,
    listing.list_backups,
    verifying.verify,
    checking.check,
    pruning.prune,
):
    commands.add_command(command)


def main() -> int:
    """Run the command that is named, or serve; return the exit status."""
    try:
        return commands.main(standalone_mode=False) or 0
    except click.Abort:
        return 128 + signal.SIGINT
    except SettingsError as error:
        return _failed(str(error), 2)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" See {context.command_path} --help." if context else ""
        return _failed(error.format_message() + hint, error.exit_code)
    except BackupError as error:
        return _failed(str(error), 2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _failed(f"{where}{error.strerror or error}.", 2)


def _failed(sentence: str, status: int) -> int:
    click.echo(" ".join(sentence.split()), err=True)
    return status
