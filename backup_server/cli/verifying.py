"""``verify``: whether the backups are still what was written."""

import os
from collections.abc import Iterator
from pathlib import Path

import click

from .. import ids
from ..series import Backup
from .survey import open_storage, place, say, survey


@click.command(epilog="Example: DATA_DIR=/srv/backups portfolio-backup verify")
def verify() -> int:
    """Read every backup and compare it with its SHA-256.

    A damaged backup gets a line and makes the exit status 1. Also names on stderr what other users
    of this machine can read.
    """
    storage = open_storage()
    backups = survey(storage, whole=True, label="Verifying")
    damaged = [backup for backup in backups if backup.damage]
    for backup in damaged:
        say(f"{ids.file_name(backup.id)}: {backup.damage}")
    for name in _readable_by_others(storage.directory, backups):
        say(f"{name} can be read by other users of this machine.", err=True)
    unsummed = sum(not backup.is_summed and not backup.damage for backup in backups)
    # The directory is named, since nothing is damaged in a wrong one, too.
    say(
        f"{len(backups)} backups in {place(storage)}, {len(damaged)} damaged; "
        f"{unsummed} of the Express server are valid JSON but have no SHA-256."
    )
    return 1 if damaged else 0


def _readable_by_others(directory: Path, backups: list[Backup]) -> Iterator[str]:
    """Yield the names of the directory and its backups if their modes let others read them."""
    if not _others_may(directory, 0o011):
        return  # nobody else gets to what is in it
    for path in (directory, *(directory / ids.file_name(backup.id) for backup in backups)):
        if _others_may(path, 0o044):
            yield path.name or str(path)


def _others_may(path: Path, bits: int) -> bool:
    try:
        return bool(os.stat(path).st_mode & bits)
    except FileNotFoundError:
        return False  # deleted during the scan
