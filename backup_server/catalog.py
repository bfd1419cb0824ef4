"""Which backups there are: their ids and heads, kept in memory for as long as they hold.

The directory is read again when its stamp has changed, or is too fresh to be trusted; a file's head
when the file's has, or is. So listing costs nothing for how large the backups are, and needs no
index on the disk that could disagree with the files. A file of the Express server has no head of
its own and is parsed whole, one at a time, once a process.
"""

import errno
import logging
import os
import stat
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from . import document, ids
from .document import Head
from .errors import DamagedBackup, UnknownBackup

log = logging.getLogger("backup_server")

#: What changes with a directory or file: device, inode, size, mtime and ctime in nanoseconds.
Stamp = tuple[int, int, int, int, int]

# A change may leave a stamp as it is for as long as the file system's clock stands still: 10 ms at
# the most on Linux (jiffies), up to 2 s where times are whole seconds. Until then a stamp proves
# nothing (what git's documentation calls racy). Measured from when it was first seen, by this
# process's own clock, so no host's clock need agree with another's.
_TICK_SECONDS = 0.05
_COARSE_TICK_SECONDS = 2.5
# A file that was changed so long ago, by its ctime and this host's clock, is past all that; or each
# head would be read twice. It is as far as the clocks of hosts that share a directory may differ.
_OLD_SECONDS = 60
# How many bytes of an Express file are parsed in a second, about.
_PARSED_A_SECOND = 80_000_000

_CHUNK = 4096
#: The largest file without a head that is parsed, in bytes. The Express server took 50 MB.
LARGEST_EXPRESS = 512 * 1024 * 1024

# What keeps this process from opening any file at all.
_NOT_OF_ONE_FILE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOTCONN, errno.ESTALE)


class _Known(NamedTuple):
    """What was read of a file, and whether its stamp proves that it is still so."""

    stamp: Stamp
    first_seen: float
    is_proved: bool
    value: Any


class _Memory:
    """What was read of files, by id, each read again when its file may have changed."""

    def __init__(self):
        self._known: dict[str, _Known] = {}

    def get(self, backup_id: str, status: os.stat_result, read: Callable[[], Any]) -> Any:
        """Return what ``read`` gives for a file that has just had this status."""
        known, stamp = self._known.get(backup_id), _stamp(status)
        is_same = known is not None and known.stamp == stamp
        if is_same and known.is_proved:
            return known.value
        now = time.monotonic()  # before it is read, so that a change in between counts as later
        first_seen = known.first_seen if is_same else now
        is_proved = now - first_seen > _tick(status) or not _is_young(status)
        value = read()
        self._known[backup_id] = _Known(stamp, first_seen, is_proved, value)
        return value

    def see(self, backup_id: str, status: os.stat_result) -> bool:
        """Note that a file has this status; return whether that has just become so."""
        stamp = _stamp(status)
        known = self._known.get(backup_id)
        if known and known.stamp == stamp:
            return False
        self._known[backup_id] = _Known(stamp, time.monotonic(), False, None)
        return _is_young(status)

    def forget(self, backup_id: str) -> None:
        self._known.pop(backup_id, None)


class Catalog:
    """The backups of one storage directory, as any process may have left them there.

    Methods raise OSError when the directory or a file cannot be read.
    """

    def __init__(self, directory: Path):
        self._directory = directory
        self._lock = threading.Lock()
        self._stamp: Stamp | None = None
        self._first_seen = 0.0
        self._settled = False
        self._names: set[str] = set()
        self._ids: list[str] = []
        self._entries = _Memory()
        self._parsed = _Memory()
        self._parsing = threading.Lock()
        self._reported: set[tuple[str, str]] = set()

    def ids(self) -> list[str]:
        """Return the ids of all files that look like backups, oldest first; not to be changed."""
        with self._lock:
            status = os.stat(self._directory)
            # A program that brings a copy back may set mtime to the past, but none can set ctime.
            stamp, now = _stamp(status), time.monotonic()
            if stamp != self._stamp:
                self._stamp, self._first_seen, self._settled = stamp, now, False
            if not self._settled:
                self._scan()
                self._settled = now - self._first_seen > _tick(status)
            return self._ids

    def changed(self) -> None:
        """Note that this process has changed the directory."""
        with self._lock:
            self._stamp = None

    def open(self, backup_id: str) -> tuple[int, os.stat_result]:
        """Open a backup's file; return its descriptor and status.

        Raises UnknownBackup unless there is one, whatever the id may look like.
        """
        if not ids.is_id(backup_id):
            raise UnknownBackup("There is no backup with this id.")
        return self._open(backup_id)

    def head(self, backup_id: str) -> Head:
        """Read a backup's head; raise UnknownBackup or DamagedBackup."""
        descriptor, status = self.open(backup_id)
        try:
            return self.head_of(descriptor, status, backup_id)
        finally:
            os.close(descriptor)

    def head_of(self, descriptor: int, status: os.stat_result, backup_id: str) -> Head:
        """Read the head of a backup that is open; raise DamagedBackup."""
        text = os.pread(descriptor, document.HEAD_BYTES, 0)
        if document.has_head(text):
            head = document.read_head(text, status.st_size)
        else:
            head = self._express_head(descriptor, backup_id)
        head.id = backup_id
        return head

    def entry(self, backup_id: str) -> bytes | None:
        """Return what the listing says of a backup, as JSON; None if it is damaged or gone.

        A file that somebody edits or replaces is read anew.
        """
        try:
            status = os.stat(self._path(backup_id), follow_symlinks=False)
            return self._entries.get(backup_id, status, lambda: self._read_entry(backup_id))
        except OSError as error:
            if error.errno != errno.ENOENT and not self.passes_over(backup_id, error):
                raise
            return None

    def passes_over(self, backup_id: str, error: Exception) -> bool:
        """Tell whether an error is of one file alone, which is then left out, and log it."""
        if isinstance(error, OSError) and not self._is_of_one_file(error):
            return False
        if (backup_id, str(error)) not in self._reported:
            self._reported.add((backup_id, str(error)))
            log.error("%s is left out: %s", ids.file_name(backup_id), error)
        return True

    def newest_first(
        self, all_ids: list[str], before: str | None = None
    ) -> Iterator[tuple[str, bytes]]:
        """Yield id and entry of every readable one of these whose id is less than ``before``."""
        start = len(all_ids) if before is None else bisect_left(all_ids, before)
        for position in range(start - 1, -1, -1):
            if (entry := self.entry(all_ids[position])) is not None:
                yield all_ids[position], entry

    def _path(self, backup_id: str) -> str:
        # A listing looks at thousands of files, and joining Paths takes twice as long.
        return f"{self._directory}/{ids.file_name(backup_id)}"

    def _open(self, backup_id: str) -> tuple[int, os.stat_result]:
        # Neither a link that leads elsewhere nor a pipe that blocks is a backup.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(self._path(backup_id), flags)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO) and self._directory.is_dir():
                raise UnknownBackup("There is no backup with this id.") from None
            raise
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise UnknownBackup("There is no backup with this id.")
        return descriptor, status

    def _read_entry(self, backup_id: str) -> bytes | None:
        try:
            return _to_json(backup_id, self.head(backup_id))
        except UnknownBackup:
            return None
        except DamagedBackup as error:
            self.passes_over(backup_id, error)
            return None

    def _express_head(self, descriptor: int, backup_id: str) -> Head:
        """Parse a file without a head, unless that was done before; raise DamagedBackup."""
        with self._parsing:  # one at a time, since each takes its size in memory
            status = os.fstat(descriptor)
            wait = _tick(status)
            if status.st_size > wait * _PARSED_A_SECOND and self._parsed.see(backup_id, status):
                time.sleep(1.1 * wait)  # which takes less than parsing it a second time
                status = os.fstat(descriptor)
            parsed = self._parsed.get(backup_id, status, lambda: _parse(descriptor, status.st_size))
        if isinstance(parsed, DamagedBackup):
            raise DamagedBackup(str(parsed))
        return parsed

    def _is_of_one_file(self, error: OSError) -> bool:
        return error.errno not in _NOT_OF_ONE_FILE and os.access(self._directory, os.X_OK)

    def _scan(self) -> None:
        names = set(os.listdir(self._directory))
        added, removed = names - self._names, self._names - names
        if removed:
            gone = {ids.id_of(name) for name in removed}
            self._ids = [known for known in self._ids if known not in gone]
            for backup_id in gone:
                self._entries.forget(backup_id)
                self._parsed.forget(backup_id)
        if new := [backup_id for name in added if (backup_id := ids.id_of(name))]:
            self._ids = sorted(self._ids + new)
        self._names = names


def read_whole(descriptor: int, size: int) -> bytes:
    """Read a file of so many bytes that has no head; raise DamagedBackup if it cannot be one."""
    if size > LARGEST_EXPRESS:
        raise DamagedBackup(f"It has no head, and {size} bytes: no Express server wrote that.")
    # Its end first: a file that lost it, or has a wrong one, may be large.
    if not os.pread(descriptor, _CHUNK, max(0, size - _CHUNK)).rstrip().endswith(b"}"):
        raise DamagedBackup("It does not end like a backup.")
    # Read, not mapped: a mapped file that fails to be read kills the process (SIGBUS).
    return os.pread(descriptor, size, 0)


def _parse(descriptor: int, size: int) -> Head | DamagedBackup:
    try:
        return document.read_head(read_whole(descriptor, size), size)
    except DamagedBackup as error:
        return error


def _stamp(status: os.stat_result) -> Stamp:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _is_young(status: os.stat_result) -> bool:
    return time.time() - status.st_ctime < _OLD_SECONDS


def _tick(status: os.stat_result) -> float:
    """Return for how many seconds the times of this directory or file may stand still."""
    is_coarse = status.st_mtime_ns % 10**9 == 0 or status.st_ctime_ns % 10**9 == 0
    return _COARSE_TICK_SECONDS if is_coarse else _TICK_SECONDS


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
