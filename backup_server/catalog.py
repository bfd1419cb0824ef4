"""Which backups there are: their ids and heads, kept in memory for as long as they hold.

The directory is read again only when its modification time has changed, and a file's head once,
since files never change after they have got their name. So listing costs nothing for what was
listed before, nothing for how large the backups are, and needs no index on the disk that could
disagree with the files. A file of the Express server has no head of its own and is parsed whole,
once a process.
"""

import errno
import logging
import os
import stat
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

import msgspec

from . import document, ids
from .document import Head
from .errors import DamagedBackup, UnknownBackup

log = logging.getLogger("backup_server")

# A file system's clock ticks coarsely, every 10 ms at the most on Linux (jiffies): until so long
# after a modification time was first seen, the next change may leave it as it is (what git's
# documentation calls racy). Measured here, so no host's clock need agree with another's.
_TICK_SECONDS = 0.05


class Catalog:
    """The backups of one storage directory, as any process may have left them there.

    Methods raise OSError when the directory or a file cannot be read.
    """

    def __init__(self, directory: Path):
        self._directory = directory
        self._lock = threading.Lock()
        self._stamp: tuple | None = None
        self._first_seen = 0.0
        self._settled = False
        self._names: set[str] = set()
        self._ids: list[str] = []
        self._entries: dict[str, bytes] = {}
        self._express_heads: dict[str, tuple[tuple[int, int], Head]] = {}
        self._reported: set[str] = set()

    def ids(self) -> list[str]:
        """Return the ids of all files that look like backups, oldest first; not to be changed."""
        with self._lock:
            status = os.stat(self._directory)
            stamp = (status.st_dev, status.st_ino, status.st_mtime_ns)
            now = time.monotonic()
            if stamp != self._stamp:
                self._stamp, self._first_seen, self._settled = stamp, now, False
            if not self._settled:
                self._scan()
                self._settled = now - self._first_seen > _TICK_SECONDS
            return self._ids

    def open(self, backup_id: str) -> tuple[int, int]:
        """Open a backup's file; return its descriptor, and its size in bytes.

        Raises UnknownBackup unless there is one, whatever the id may look like.
        """
        if not ids.is_id(backup_id):
            raise UnknownBackup("There is no backup with this id.")
        return self._open(backup_id)

    def head(self, backup_id: str) -> Head:
        """Read a backup's head; raise UnknownBackup or DamagedBackup."""
        descriptor, size = self.open(backup_id)
        try:
            return self.head_of(descriptor, size, backup_id)
        finally:
            os.close(descriptor)

    def head_of(self, descriptor: int, size: int, backup_id: str) -> Head:
        """Read the head of a backup that is open, of ``size`` bytes; raise DamagedBackup."""
        if known := self._express_heads.get(backup_id):
            stamp, head = known
            if stamp == _stamp(descriptor):  # whoever made these files may also edit them
                return head
        text = os.pread(descriptor, document.HEAD_BYTES, 0)
        if document.has_head(text):
            head = document.read_head(text, size)
        else:
            # Read, not mapped: a mapped file that fails to be read kills the process (SIGBUS).
            head = document.read_head(os.pread(descriptor, size, 0), size)
            self._express_heads[backup_id] = _stamp(descriptor), head
        head.id = backup_id
        return head

    def entry(self, backup_id: str) -> bytes | None:
        """Return what the listing says of a backup, as JSON; None if it is damaged or gone."""
        entry = self._entries.get(backup_id)
        if entry is None:
            try:
                entry = self._entries[backup_id] = _to_json(backup_id, self.head(backup_id))
            except UnknownBackup:
                return None
            except (DamagedBackup, OSError) as error:
                # Only what is wrong with this file: no descriptors left would hide them all.
                if isinstance(error, OSError) and not self._is_of_one_file(error):
                    raise
                if backup_id not in self._reported:
                    self._reported.add(backup_id)
                    log.error("%s is left out: %s", ids.file_name(backup_id), error)
        return entry

    def newest_first(self, before: str | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield id and entry of every readable backup whose id is less than ``before``."""
        all_ids = self.ids()
        start = len(all_ids) if before is None else bisect_left(all_ids, before)
        for position in range(start - 1, -1, -1):
            if (entry := self.entry(all_ids[position])) is not None:
                yield all_ids[position], entry

    def _open(self, backup_id: str) -> tuple[int, int]:
        # Neither a link that leads elsewhere nor a pipe that blocks is a backup.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            # A listing opens thousands of files: joining strings, not Paths, is half as dear.
            descriptor = os.open(f"{self._directory}/{ids.file_name(backup_id)}", flags)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO) and self._directory.is_dir():
                raise UnknownBackup("There is no backup with this id.") from None
            raise
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise UnknownBackup("There is no backup with this id.")
        return descriptor, status.st_size

    def _is_of_one_file(self, error: OSError) -> bool:
        if error.errno in (errno.EACCES, errno.EPERM):
            return os.access(self._directory, os.X_OK)
        return error.errno == errno.EIO

    def _scan(self) -> None:
        names = set(os.listdir(self._directory))
        added, removed = names - self._names, self._names - names
        if removed:
            gone = {ids.id_of(name) for name in removed}
            self._ids = [known for known in self._ids if known not in gone]
            for backup_id in gone:
                self._entries.pop(backup_id, None)
                self._express_heads.pop(backup_id, None)
        if new := [backup_id for name in added if (backup_id := ids.id_of(name))]:
            self._ids = sorted(self._ids + new)
        self._names = names


def _stamp(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


def _to_json(backup_id: str, head: Head) -> bytes:
    return msgspec.json.encode(
        {
            "id": backup_id,
            "timestamp": head.timestamp,
            "clientTimestamp": head.client_timestamp,
            "size": head.size,
            "counts": head.counts,
        }
    )
