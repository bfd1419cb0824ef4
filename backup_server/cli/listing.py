"""``list``: what is stored."""

import sys
from collections.abc import Iterator

import click

from ..document import Head
from ..errors import BackupError, UnknownBackup
from ..storage import Storage
from .manual import COMMAND_EXITS, DATA_DIR, ManualCommand
from .survey import damage_of, json_option, open_storage, place, print_json


@click.command(
    "list",
    cls=ManualCommand,
    sections={
        "Exit status": [("0", "Done, also where a damaged backup is listed."), COMMAND_EXITS[2]],
        "Environment": DATA_DIR,
        "Example": [("portfolio-backup list --json | jq -r '.backups[0].id'", "")],
    },
)
@json_option
def list_backups(as_json: bool) -> None:
    """Print what is stored, newest first.

    A line a backup: id, bytes, items by category. With --json: directory, backups (each as the API
    lists it) and damaged (id, error).
    """
    storage = open_storage()
    if as_json:
        _print_document(storage)
        return
    if sys.stderr.isatty():
        click.echo(f"In {place(storage)}:", err=True)
    for backup_id, head, damage in _heads(storage):
        if head is None:
            click.echo(f"{backup_id}  damaged: {damage}")
        else:
            counts = ", ".join(f"{count} {name}" for name, count in head.counts.items() if count)
            click.echo(f"{backup_id}  {head.size:>12,}  {counts or 'empty'}")


def _print_document(storage: Storage) -> None:
    backups, damaged = [], []
    for backup_id, head, damage in _heads(storage):
        if head is None:
            damaged.append({"id": backup_id, "error": damage})
            continue
        backups.append(
            {
                "id": backup_id,
                "timestamp": head.timestamp,
                "clientTimestamp": head.client_timestamp,
                "size": head.size,
                "counts": head.counts,
            }
        )
    print_json({"directory": place(storage), "backups": backups, "damaged": damaged})


def _heads(storage: Storage) -> Iterator[tuple[str, Head | None, str]]:
    """Yield id and head, or what is wrong with it, of every backup that is still there."""
    for backup_id in reversed(storage.catalog.ids()):
        try:
            yield backup_id, storage.catalog.head(backup_id), ""
        except UnknownBackup:
            continue
        except (BackupError, OSError) as error:
            yield backup_id, None, damage_of(error)
