"""What the commands share: the backups of DATA_DIR, and how a line is printed."""

from datetime import UTC, datetime
from typing import NamedTuple

import click
import msgspec

from .. import document
from ..document import Head
from ..errors import BackupError, DamagedBackup, UnknownBackup, as_backup_error
from ..series import Backup
from ..settings import Settings
from ..storage import Storage


class Survey(NamedTuple):
    """A storage, its backups, oldest first, and what is wrong with the damaged ones, by id."""

    storage: Storage
    backups: list[Backup]
    damaged: dict[str, str]


def survey(whole: bool = False) -> Survey:
    """Read all backups of DATA_DIR: their heads or, to be checked, the whole files.

    Skips files deleted during the scan, and files that are not backups.
    """
    directory = Settings.from_environ().data_dir
    if not directory.is_dir():  # only the server makes one
        raise click.UsageError(f"DATA_DIR is '{directory}': there is no such directory.")
    storage, backups, damaged = found = Survey(Storage(directory.resolve()), [], {})
    for backup_id in storage.heads.ids():
        try:
            with storage.heads.open_file(backup_id) as file:
                head = document.read(file)
                if whole and head.id != backup_id:
                    raise DamagedBackup(f"It says that it is {head.id}.")
                if whole:
                    document.check(file, head)
        except UnknownBackup:
            continue
        except (BackupError, OSError) as error:
            damaged[backup_id] = str(as_backup_error(error))
            continue
        about = head.size, head.counts, head.device_id, head.device
        backups.append(Backup(backup_id, _made(head), *about))
    return found


def _made(head: Head) -> datetime | None:
    """Return when a backup was made: ids may run ahead of the clock, its timestamp does not."""
    try:
        made = msgspec.json.decode(head.timestamp, type=datetime)
    except msgspec.MsgspecError:
        return None
    # In the calendar's first and last year, the time in some zone is on no calendar.
    return made.astimezone(UTC) if 1 < made.year < 9999 else None


def say(line: str, err: bool = False) -> None:
    """Print a line in which no text of a file acts on a terminal: controls, escapes, bidi marks."""
    click.echo("".join(char if char.isprintable() else "\ufffd" for char in line), err=err)
