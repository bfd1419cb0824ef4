"""Which backups there are: their ids, and what a listing says of each, cached.

There is no index on the disk that could disagree with the files. The ids are listed anew when the
directory's stamp has changed, and a file's head is read anew when the file's has. A stamp proves
nothing until it is older than one step of the file system's clock (what git calls racy).
"""

import errno
import logging
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from . import document, ids
from .document import Head
from .durable import Directory
from .errors import DamagedBackup, UnknownBackup

log = logging.getLogger("backup_server")

#: Inode, size, mtime and ctime. A program may set mtime to the past, but none can set ctime.
Stamp = tuple[int, int, int, int]

# The longest that a file system's clock stands still, in seconds: 10 ms on Linux (jiffies), and up
# to 2 s where times are whole seconds.
_STEP, _COARSE_STEP = 0.05, 3.0
# Errors that are the process's or the whole file system's, not one file's.
_OF_ALL_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOTCONN, errno.ESTALE)


class Entry(NamedTuple):
    """What a listing says of a backup, as JSON; ``json`` is empty for a damaged file."""

    stamp: Stamp
    json: bytes
    device_id: str | None


class Heads:
    """The backups of one directory, as any process may have left them there.

    Methods raise OSError when the directory or a file cannot be read.
    """

    def __init__(self, directory: Directory):
        self._directory = directory
        self._listing = threading.Lock()
        self._reading = threading.RLock()
        self._stamp: Stamp | None = None
        self._first_seen = 0.0
        self._is_proved = False
        self._ids: list[str] = []
        self._entries: dict[str, Entry] = {}

    def ids(self) -> list[str]:
        """Return the ids of all files with a backup's name, oldest first; not to be changed."""
        with self._listing:
            status, now = os.fstat(self._directory.descriptor), time.monotonic()
            if (stamp := _stamp(status)) != self._stamp:
                self._stamp, self._first_seen, self._is_proved = stamp, now, False
            if not self._is_proved:
                names = self._directory.names()
                self._ids = sorted(filter(None, map(ids.id_of, names)))
                self._is_proved = now - self._first_seen > _step(status)
                if len(self._entries) > len(self._ids):
                    self._entries = {
                        known: self._entries[known] for known in self._ids if known in self._entries
                    }
            return self._ids

    def open(self, backup_id: str) -> tuple[int, Head]:
        """Open a backup; return its descriptor and its head, read from the file that is open.

        Raises UnknownBackup unless there is one, whatever the id looks like, and DamagedBackup.
        """
        descriptor = self.open_file(backup_id)
        try:
            size = os.fstat(descriptor).st_size
            text = os.pread(descriptor, document.HEAD_BYTES, 0)
            if document.has_head(text):
                head = document.read_head(text, size)
            else:
                with self._reading:  # one at a time, since each takes its size in memory
                    head = document.read_head(document.read_whole(descriptor, size), size)
        except BaseException:
            os.close(descriptor)
            raise
        head.id = backup_id
        return descriptor, head

    def open_file(self, backup_id: str) -> int:
        """Open a backup's file, whatever is in it; raise UnknownBackup unless there is one."""
        try:
            if ids.is_id(backup_id):
                return self._directory.open(ids.file_name(backup_id))
        except OSError as error:
            # Neither a link that leads elsewhere, nor a directory, pipe or socket is a backup.
            if error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EINVAL):
                raise
        raise UnknownBackup("There is no backup with this id.") from None

    def head(self, backup_id: str) -> Head:
        """Read a backup's head; raise UnknownBackup or DamagedBackup."""
        descriptor, head = self.open(backup_id)
        os.close(descriptor)
        return head

    def newest_first(self, before: str | None = None) -> Iterator[tuple[str, Entry]]:
        """Yield id and entry of every readable backup whose id is less than ``before``."""
        all_ids = self.ids()
        start = len(all_ids) if before is None else bisect_left(all_ids, before)
        for position in range(start - 1, -1, -1):
            backup_id = all_ids[position]
            try:
                entry = self._entry(backup_id)
            except (FileNotFoundError, UnknownBackup):
                continue  # deleted since it was listed, or no file
            except OSError as error:
                if not self.concerns_one_file(error):
                    raise
                log.error("%s is left out: %s", ids.file_name(backup_id), error)
                continue
            if entry.json:
                yield backup_id, entry

    def concerns_one_file(self, error: OSError) -> bool:
        """Tell whether an error is of one file alone, as a bad sector, so that others are read."""
        here = self._directory.descriptor
        return error.errno not in _OF_ALL_FILES and os.access(".", os.X_OK, dir_fd=here)

    def _entry(self, backup_id: str) -> Entry:
        """Return a backup's entry: from the cache, if its file is certainly as it was."""
        status = self._directory.stat(ids.file_name(backup_id))
        entry, stamp = self._entries.get(backup_id), _stamp(status)
        if entry and entry.stamp == stamp:
            return entry
        with self._reading:
            # Of many listings that begin together, the first reads the file.
            entry = self._entries.get(backup_id)
            if entry and entry.stamp == stamp:
                return entry
            is_proof = abs(time.time() - status.st_ctime) > _step(status)
            entry = self._read_entry(backup_id, stamp)
            if is_proof:
                self._entries[backup_id] = entry
            return entry

    def _read_entry(self, backup_id: str, stamp: Stamp) -> Entry:
        try:
            head = self.head(backup_id)
        except DamagedBackup as error:
            log.error("%s is left out: %s", ids.file_name(backup_id), error)
            return Entry(stamp, b"", None)
        return Entry(stamp, msgspec.json.encode(head.entry()), head.device_id)


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _step(status: os.stat_result) -> float:
    """Return for how many seconds the times of this directory or file may stand still."""
    is_coarse = status.st_mtime_ns % 10**9 == 0 or status.st_ctime_ns % 10**9 == 0
    return _COARSE_STEP if is_coarse else _STEP
