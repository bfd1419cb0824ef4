"""An operator's commands: what is stored, and whether it is still what was written."""

import os
import stat
import sys
from collections.abc import Iterator

import click

from . import document, ids
from .catalog import read_whole
from .errors import BackupError, UnknownBackup
from .settings import Settings
from .storage import Storage


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def commands() -> None:
    """Look after the backups in DATA_DIR; without a command, serve them.

    Exits with 0, with 1 if something was found, with 2 if it was used wrongly.
    """


@commands.command()
def verify() -> None:
    """Re-read every backup against its SHA-256; exit 1 if one is damaged.

    Also names what other users of this machine can read.
    """
    storage = _storage()
    catalog = storage.catalog
    known = catalog.ids()
    damaged, unsummed, gone = [], 0, 0
    # Said where: of a mistyped DATA_DIR, too, nothing is damaged.
    label = f"Verifying {storage.directory.resolve()}"
    with click.progressbar(known, label=label, file=sys.stderr) as progress:
        for backup_id in progress:
            try:
                unsummed += not _verify(storage, backup_id)
            except UnknownBackup:
                gone += 1  # deleted meanwhile, or it only bears a backup's name
            except (BackupError, OSError) as error:
                damaged.append(f"{ids.file_name(backup_id)}: {error}")
    for line in damaged:
        click.echo(line)
    for name in _readable_by_others(storage, known):
        click.echo(f"{name} can be read by other users of this machine.", err=True)
    click.echo(
        f"{len(known) - gone} backups, {len(damaged)} damaged; "
        f"{unsummed} of the Express server are valid JSON but have no SHA-256."
    )
    sys.exit(1 if damaged else 0)


@commands.command("list")
def list_backups() -> None:
    """Print what is stored, newest first: id, bytes, items by category."""
    storage = _storage()
    catalog = storage.catalog
    click.echo(f"In {storage.directory.resolve()}:", err=True)
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
    """Return the storage of a directory that is there: only the server makes one."""
    directory = Settings.from_environ().data_dir
    if not directory.is_dir():
        raise click.UsageError(f"DATA_DIR={str(directory)!r} is not a directory.")
    return Storage(directory)


def _readable_by_others(storage: Storage, known: list[str]) -> Iterator[str]:
    """Yield the directory and its files if their modes let others read them."""
    paths = [storage.directory, *(storage.directory / ids.file_name(name) for name in known)]
    if not _others_may(storage.directory, stat.S_IXGRP | stat.S_IXOTH):
        return  # nobody else gets to what is in it
    for path in paths:
        if _others_may(path, stat.S_IRGRP | stat.S_IROTH):
            yield path.name


def _others_may(path: os.PathLike, bits: int) -> bool:
    try:
        return bool(os.stat(path, follow_symlinks=False).st_mode & bits)
    except FileNotFoundError:
        return False  # deleted meanwhile


def _verify(storage: Storage, backup_id: str) -> bool:
    """Check one file whole; return False if it has no SHA-256 to be checked against."""
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
        return False
    document.check_digest(text)
    return True
