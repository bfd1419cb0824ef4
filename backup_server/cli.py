"""An operator's commands: what is stored, and whether it is still what was written."""

import sys

import click
from flask import current_app
from flask.cli import with_appcontext

from . import document, ids
from .catalog import read_whole
from .errors import BackupError, UnknownBackup
from .storage import Storage


@click.command()
@with_appcontext
def verify() -> None:
    """Re-read every backup against its SHA-256; exit 1 if one is damaged."""
    catalog = _storage().catalog
    known = catalog.ids()
    damaged, unsummed, gone = [], 0, 0
    # Said where: of a mistyped DATA_DIR, too, nothing is damaged.
    label = f"Verifying {_storage().directory.resolve()}"
    with click.progressbar(known, label=label, file=sys.stderr) as progress:
        for backup_id in progress:
            try:
                unsummed += not _verify(backup_id)
            except UnknownBackup:
                gone += 1  # deleted meanwhile, or it only bears a backup's name
            except (BackupError, OSError) as error:
                damaged.append(f"{ids.file_name(backup_id)}: {error}")
    for line in damaged:
        click.echo(line)
    click.echo(
        f"{len(known) - gone} backups, {len(damaged)} damaged; "
        f"{unsummed} of the Express server are valid JSON but have no SHA-256."
    )
    sys.exit(1 if damaged else 0)


@click.command("list")
@with_appcontext
def list_backups() -> None:
    """Print what is stored, newest first: id, bytes, items by category."""
    catalog = _storage().catalog
    click.echo(f"In {_storage().directory.resolve()}:", err=True)
    for backup_id in reversed(catalog.ids()):
        try:
            head = catalog.head(backup_id)
        except UnknownBackup:
            continue
        except (BackupError, OSError) as error:
            click.echo(f"{backup_id}  damaged: {error}")
            continue
        counts = ", ".join(f"{count} {name}" for name, count in head.counts.items() if count)
        click.echo(f"{backup_id}  {head.size:>12,}  {counts or 'empty'}")


def _storage() -> Storage:
    return current_app.extensions["backup_storage"]


def _verify(backup_id: str) -> bool:
    """Check one file whole; return False if it has no SHA-256 to be checked against."""
    descriptor, status = _storage().catalog.open(backup_id)
    with open(descriptor, "rb") as file:
        start = file.read(document.HEAD_BYTES)
        if not document.has_head(start):
            text = read_whole(descriptor, status.st_size)
            head = document.read_head(text, len(text))
        else:
            head = document.read_head(start, status.st_size)
            text = start + file.read()
    if head.id != backup_id:
        raise BackupError(f"It says that it is {head.id}.")
    if not document.has_head(text):
        return False
    document.check_digest(text)
    return True
