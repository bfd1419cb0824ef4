"""What the commands share: the storage, the backups in it, and how results are printed."""

import json
import os
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from .. import document, ids
from ..document import Head
from ..errors import BackupError, UnknownBackup
from ..heads import read_whole
from ..series import Backup
from ..settings import Settings
from ..storage import Storage

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document instead."
)


def plain(text: str) -> str:
    """Return foreign text without what a terminal acts on: controls, escapes, bidi marks."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def say(line: str, err: bool = False) -> None:
    """Print a line that may hold foreign text."""
    stream = sys.stderr if err else sys.stdout
    line = plain(line).encode(stream.encoding, "replace").decode(stream.encoding)
    click.echo(line, err=err)


def print_json(content: dict) -> None:
    """Print one JSON document in ASCII, so that no foreign text acts on a terminal."""
    click.echo(json.dumps(content))


def open_storage() -> Storage:
    """Return the storage of a directory that is there: only the server makes one."""
    directory = Settings.from_environ().data_dir
    if not _is_directory(directory):
        given = "is not set, and its default" if "DATA_DIR" not in os.environ else "is"
        raise click.UsageError(f"DATA_DIR {given} '{directory}': there is no such directory.")
    return Storage(directory)


def _is_directory(path: Path) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False  # any other error is one line of its own


def place(storage: Storage) -> str:
    """Return the storage directory's whole path, as text that can be printed."""
    return plain(str(storage.directory.resolve()))


def survey(storage: Storage, whole: bool, label: str) -> list[Backup]:
    """Read all backups, oldest first: their heads or, to be checked, the whole files.

    A damaged backup is among them, with what is wrong. Skips files deleted during the scan, and
    files that are not backups.
    """
    known = storage.heads.ids()
    with click.progressbar(
        known, label=f"{label} {place(storage)}", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as progress:
        return [backup for name in progress if (backup := _read(storage, name, whole)) is not None]


def _read(storage: Storage, backup_id: str, whole: bool) -> Backup | None:
    try:
        if whole:
            head, is_summed = _verify(storage, backup_id)
        else:
            head, is_summed = storage.heads.head(backup_id), False
    except UnknownBackup:
        return None
    except (BackupError, OSError) as error:
        strerror = isinstance(error, OSError) and error.strerror
        return Backup(backup_id, None, 0, {}, damage=f"{strerror}." if strerror else str(error))
    return Backup(
        id=backup_id,
        made=_made(backup_id, head),
        size=head.size,
        counts=head.counts,
        device_id=getattr(head, "device_id", None),
        device=getattr(head, "device", None),
        is_summed=is_summed,
    )


def _verify(storage: Storage, backup_id: str) -> tuple[Head, bool]:
    """Check one file whole; return its head, and whether it has a SHA-256 to be checked against."""
    with open(storage.heads.open_file(backup_id), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(document.HEAD_BYTES)
        if not document.has_head(start):
            text = read_whole(file.fileno(), size)
            head = document.read_head(text, len(text))
        else:
            head = document.read_head(start, size)
            text = start + file.read()
    if head.id != backup_id:
        raise BackupError(f"It says that it is {head.id}.")
    if not document.has_head(text):
        return head, False
    document.check_digest(text)
    return head, True


def _made(backup_id: str, head: Head) -> datetime | None:
    """Return when a backup was made: by its timestamp or else its id; None if neither is a time.

    The timestamp first, since ids run ahead of the clock after one upload with a wrong one.
    """
    for text, read in ((head.timestamp, _from_timestamp), (backup_id, ids.time_of)):
        try:
            return read(text).astimezone(UTC)
        except (ValueError, TypeError, OverflowError):
            continue
    return None


def _from_timestamp(text: bytes) -> datetime:
    moment = datetime.fromisoformat(json.loads(bytes(text)))
    if moment.tzinfo is None:
        raise ValueError("it is no UTC time")
    return moment
