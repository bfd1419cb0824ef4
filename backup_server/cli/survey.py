"""What the commands share: the backups that are there, read and judged one by one."""

import json
import os
import stat
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from .. import document, ids
from ..catalog import read_whole
from ..document import Head
from ..errors import BackupError, UnknownBackup
from ..retention import Backup
from ..settings import Settings
from ..storage import Storage

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document instead."
)


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
        return False  # and what cannot be looked at is another error


def place(storage: Storage) -> str:
    """Return the storage directory's whole path, as text that can be printed."""
    return os.fsencode(storage.directory.resolve()).decode(errors="replace")


def print_json(content: dict) -> None:
    """Print one JSON document on stdout."""
    click.echo(msgspec.json.encode(content))


def survey(storage: Storage, whole: bool, label: str) -> list[Backup]:
    """Read all backups, oldest first: their heads or, to be checked, the whole files.

    A damaged one is there with what is wrong with it; one that is deleted meanwhile, or that only
    bears a backup's name, is not.
    """
    known = storage.catalog.ids()
    with click.progressbar(
        known, label=f"{label} {place(storage)}", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as progress:
        return [backup for name in progress if (backup := _read(storage, name, whole)) is not None]


def damage_of(error: BackupError | OSError) -> str:
    """Say in a sentence why a file cannot be read."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}."
    return str(error)


def _read(storage: Storage, backup_id: str, whole: bool) -> Backup | None:
    try:
        if whole:
            head, is_summed = _verify(storage, backup_id)
        else:
            head, is_summed = storage.catalog.head(backup_id), False
    except UnknownBackup:
        return None
    except (BackupError, OSError) as error:
        return Backup(backup_id, None, 0, {}, damage=damage_of(error))
    return Backup(backup_id, _made(backup_id, head), head.size, head.counts, is_summed=is_summed)


def _verify(storage: Storage, backup_id: str) -> tuple[Head, bool]:
    """Check one file whole; return its head, and whether it has a SHA-256 to be checked against."""
    descriptor, status = storage.catalog.open(backup_id)
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


def readable_by_others(directory: Path, known: list[str]) -> Iterator[str]:
    """Yield the names of the directory and its backups if their modes let others read them."""
    paths = [directory, *(directory / ids.file_name(name) for name in known)]
    if not _others_may(directory, 0o011):
        return  # nobody else gets to what is in it
    for path in paths:
        if _others_may(path, 0o044):
            yield path.name or str(path)


def _others_may(path: Path, bits: int) -> bool:
    try:
        return bool(os.stat(path, follow_symlinks=path.is_dir()).st_mode & bits)
    except FileNotFoundError:
        return False  # deleted meanwhile
