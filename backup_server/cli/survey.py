"""What the commands share: the storage, the backups in it, and how results are printed."""

import json
from datetime import UTC, datetime

import click

from .. import document
from ..document import Head
from ..errors import BackupError, UnknownBackup
from ..series import Backup
from ..settings import Settings
from ..storage import Storage

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def say(line: str, err: bool = False) -> None:
    """Print a line in which no text of a file acts on a terminal: controls, escapes, bidi marks."""
    click.echo("".join(char if char.isprintable() else "\ufffd" for char in line), err=err)


def sentence(error: Exception) -> str:
    """Return what went wrong, without an errno."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    return str(error)


def open_storage() -> Storage:
    """Return the storage of a directory that is there: only the server makes one."""
    directory = Settings.from_environ().data_dir
    if not directory.is_dir():
        raise click.UsageError(f"DATA_DIR is '{directory}': there is no such directory.")
    return Storage(directory.resolve())


def survey(storage: Storage, whole: bool = False) -> list[Backup]:
    """Read all backups, oldest first: their heads or, to be checked, the whole files.

    A damaged backup is among them, with what is wrong. Skips files deleted during the scan, and
    files that are not backups.
    """
    read = (_read(storage, backup_id, whole) for backup_id in storage.heads.ids())
    return [backup for backup in read if backup is not None]


def _read(storage: Storage, backup_id: str, whole: bool) -> Backup | None:
    try:
        head = _verify(storage, backup_id) if whole else storage.heads.head(backup_id)
    except UnknownBackup:
        return None
    except (BackupError, OSError) as error:
        return Backup(backup_id, None, 0, {}, damage=sentence(error))
    return Backup(backup_id, _made(head), head.size, head.counts, head.device_id, head.device)


def _verify(storage: Storage, backup_id: str) -> Head:
    """Compare a whole file with its SHA-256, if it has one; return its head."""
    with storage.heads.open_file(backup_id) as file:
        head = document.read(file)
        if head.id != backup_id:
            raise BackupError(f"It says that it is {head.id}.")
        document.check(file, head)
        return head


def _made(head: Head) -> datetime | None:
    """Return when a backup was made: ids may run ahead of the clock, its timestamp does not."""
    try:
        return datetime.fromisoformat(json.loads(bytes(head.timestamp))).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None
