"""The backups of one directory: how they are stored, found by key, opened, listed and deleted.

On disk, in the directory itself:

- ``backup-<id>.json``: one stored document each, never changed once it has this name;
- ``.upload-<random>.tmp``: an upload that is being written;
- ``.last-id``: the newest id given, and the lock under which ids and keys are given;
- ``.keys/<key>``: a symbolic link to the file stored with this key. A deletion lets it dangle.

A backup's bytes and its key are synced before it gets its name, and the directory is synced before
the answer. The lock is held across the sync of a key, never across that of a document.
"""

import hashlib
import os
import tempfile
import time
from bisect import bisect_left
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from . import document, durable, ids
from .document import DIGITS, Head
from .durable import Directory
from .errors import DamagedBackup, Unavailable, UnknownBackup, UnusableBase
from .heads import Heads
from .rawjson import CHUNK
from .upload import Upload

_LAST_ID, _KEYS = ".last-id", ".keys"


class Storage:
    """One storage directory, which other threads, processes and hosts may share.

    It is made if it is missing. Methods raise OSError when the disk fails or is full, and
    Unavailable where another directory is in its place; then nothing was stored.
    """

    def __init__(self, path: Path):
        durable.make_directory(path)
        self.path, self.directory = path, Directory(path)
        self.heads = Heads(self.directory)
        self._checked: float | None = None
        # Ids are greater than this, too: .last-id knows no files that other programs brought here.
        self._newest = ""

    def prepare(self) -> None:
        """Remove what killed servers left in the directory, and find its newest id."""
        self.directory.sweep()
        self._newest = max(self.heads.ids(), default="")

    def check(self) -> None:
        """Raise unless all that an upload needs can be done now, or could a second ago."""
        self.directory.check()
        if self._checked is not None and time.monotonic() < self._checked + 1:
            return
        os.close(self.directory.open(_LAST_ID, os.O_RDWR | os.O_CREAT))
        if self._checked is None:
            self.directory.try_links()
        with tempfile.TemporaryFile(dir=self.path, prefix=".upload-", suffix=".tmp") as file:
            file.write(bytes(64 * 1024))  # an ordinary upload, and room for its names
        self._checked = time.monotonic()

    def add(self, upload: Upload, key: str | None = None) -> tuple[Head, bool]:
        """Store an upload durably, unless its key is known; return its head, and if it is new."""
        self.directory.check()
        try:
            head, is_new = self._write(upload, key)
        except FileExistsError:  # a file that came without this server has the name
            self._newest = max(self.heads.ids(), default="")
            return self.add(upload, key)
        try:
            self._confirm()
        except (OSError, Unavailable):
            # With a key it stays: a retry may have been answered with its id since.
            if is_new and key is None:
                self.directory.unlink(ids.file_name(head.id))
            raise
        return head, is_new

    def find(self, key: str) -> Head | None:
        """Return the head of the backup stored with this key, once it is durable, or None."""
        self.directory.check()
        if head := self._stored_with(key):
            self._confirm()
        return head

    def delete(self, backup_id: str) -> None:
        """Delete a backup and so its key, durably; raise UnknownBackup unless there is one."""
        self.directory.check()
        with suppress(OSError):  # what cannot be read can be deleted all the same
            self.heads.open_file(backup_id).close()
        try:
            self.directory.unlink(ids.file_name(backup_id))
        except FileNotFoundError:
            raise UnknownBackup("There is no backup with this id.") from None
        self._confirm()

    def open(self, backup_id: str) -> tuple[BinaryIO, Head]:
        """Open a backup for reading; raise UnknownBackup, or DamagedBackup for half a file."""
        self.directory.check()
        return self.heads.open(backup_id)

    def open_base(self, backup_id: str) -> BinaryIO:
        """Open the file of a backup to be changed; raise UnusableBase if there is none."""
        self.directory.check()
        try:
            return self.heads.open_file(backup_id)
        except UnknownBackup:
            raise UnusableBase("There is no backup with the id that base gives") from None

    def open_latest(self) -> tuple[BinaryIO, Head]:
        """Open the newest readable backup; raise UnknownBackup if there is none."""
        self.directory.check()
        for backup_id in reversed(self.heads.ids()):
            with suppress(UnknownBackup, DamagedBackup):
                return self.heads.open(backup_id)
        raise UnknownBackup("There is no backup yet.")

    def page(
        self, limit: int | None, before: str | None, device_id: str | None = None
    ) -> tuple[list[bytes], str | None]:
        """Return listing entries as JSON, newest first, and the id to go on before, if any."""
        self.directory.check()
        all_ids, page, last = self.heads.ids(), [], None
        end = len(all_ids) if before is None else bisect_left(all_ids, before)
        # No other text has this in it: JSON escapes the quotes in its strings.
        wanted = b'"deviceId":"%s"' % device_id.encode() if device_id else b""
        for position in reversed(range(end)):
            entry = self.heads.entry(all_ids[position])
            if entry and wanted in entry:
                if len(page) == limit:
                    return page, last
                page.append(entry)
                last = all_ids[position]
        return page, None

    def _write(self, upload: Upload, key: str | None) -> tuple[Head, bool]:
        """Write a backup and give it its name, unless one was stored with the key before."""
        now, here = datetime.now(UTC), self.directory.descriptor
        backup_id = self._next_id(now)
        head, before, after = document.render(upload, backup_id, ids.iso(now), key)
        with self.directory.temporary() as (descriptor, temporary):
            _write_document(descriptor, before, after)
            os.fsync(descriptor)
            name = ids.file_name(backup_id)
            with ExitStack() as locked:
                if key is not None:
                    locked.enter_context(self.directory.lock(_LAST_ID))
                    if first := self._stored_with(key):
                        return first, False
                    self._link_key(key, name)
                os.link(temporary, name, src_dir_fd=here, dst_dir_fd=here)
            return head, True

    def _confirm(self) -> None:
        """Make all names durable, in the directory that its path still leads to."""
        self.directory.sync()
        self.directory.check()

    def _next_id(self, now: datetime) -> str:
        with self.directory.lock(_LAST_ID) as descriptor:
            last = os.pread(descriptor, 64, 0).decode(errors="replace").strip()
            if not ids.is_id(last):
                last = max(self.heads.ids(), default="")
            backup_id = ids.next_id(max(last, self._newest), now)
            # Blanks cover an id that was longer.
            os.pwrite(descriptor, f"{backup_id:<63}\n".encode(), 0)
            return backup_id

    def _stored_with(self, key: str) -> Head | None:
        """Return the head of the backup a key leads to, if that says it was stored with it."""
        try:
            target = os.readlink(f"{_KEYS}/{key}", dir_fd=self.directory.descriptor)
            head = self.heads.head(ids.id_of(os.path.basename(target)) or "")
        except (FileNotFoundError, UnknownBackup, DamagedBackup):
            return None
        return head if head.key == key else None

    def _link_key(self, key: str, name: str) -> None:
        """Let a key lead to a file, durably, before that file gets its name."""
        link, here = f"{_KEYS}/{key}", self.directory.descriptor
        with suppress(FileExistsError):
            os.mkdir(_KEYS, durable.DIRECTORY_MODE, dir_fd=here)
            self.directory.sync()
        with suppress(FileNotFoundError):
            self.directory.unlink(link)  # it leads to no backup with this key
        os.symlink(f"../{name}", link, dir_fd=here)
        self.directory.sync(_KEYS)


def _write_document(descriptor: int, before: bytes, after: Iterable[bytes | memoryview]) -> None:
    digest, end = hashlib.sha256(before), len(before) + DIGITS
    for piece in after:
        end = _write_at(descriptor, piece, end)
        digest.update(piece)
    _write_at(descriptor, before + digest.hexdigest().encode(), 0)


def _write_at(descriptor: int, data: bytes | memoryview, at: int) -> int:
    """Write all of these bytes at an offset; return where they end."""
    left = memoryview(data)
    while left:
        written = os.pwrite(descriptor, left[:CHUNK], at)
        left, at = left[written:], at + written
    return at
