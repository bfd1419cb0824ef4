"""Which backups there are: their ids, and what a listing says of each, cached.

The ids are listed anew when the directory's stamp has changed, and a head is read anew when its
file's has. A stamp proves nothing until it is older than one step of the file system's clock (what
git calls racy). There is no index on the disk that could disagree with the files.
"""

import errno
import io
import logging
import os
import threading
import time
from typing import BinaryIO

import msgspec

from . import document, ids
from .document import Head
from .durable import Directory
from .errors import DamagedBackup, UnknownBackup

log = logging.getLogger("backup_server")

# Errors of the process or of the whole file system; any other is one file's, which is left out.
_OF_ALL_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOTCONN)
_NO_FILE = (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EINVAL)


class Heads:
    """The backups of one directory, as any process may have left them. Methods raise OSError."""

    def __init__(self, directory: Directory):
        self._directory = directory
        self._listing = threading.Lock()
        self._stamp: tuple[int, ...] = ()
        self._listed_at = self._changes_until = 0.0  # until then the stamp proves nothing
        self._ids: list[str] = []
        self._entries: dict[str, tuple[tuple[int, ...], bytes]] = {}

    def ids(self) -> list[str]:
        """Return the ids of all files with a backup's name, oldest first; not to be changed."""
        with self._listing:
            status, now = os.fstat(self._directory.descriptor), time.monotonic()
            if (stamp := _stamp(status)) != self._stamp:
                self._stamp, self._changes_until = stamp, now + _step(status)
            if self._listed_at <= self._changes_until:
                self._ids = sorted(filter(None, map(ids.id_of, self._directory.names())))
                known = self._entries
                self._entries = {one: known[one] for one in self._ids if one in known}
                self._listed_at = now
            return self._ids

    def open(self, backup_id: str) -> tuple[BinaryIO, Head]:
        """Open a backup; return its file and head. Raises UnknownBackup and DamagedBackup."""
        file = self.open_file(backup_id)
        try:
            head = document.read(file)
        except BaseException:
            file.close()
            raise
        head.id = backup_id
        return file, head

    def open_file(self, backup_id: str) -> BinaryIO:
        """Open a backup's file, whatever is in it; raise UnknownBackup unless there is one."""
        try:
            if ids.is_id(backup_id):
                return io.FileIO(self._directory.open(ids.file_name(backup_id)))
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
        raise UnknownBackup("There is no backup with this id.") from None

    def head(self, backup_id: str) -> Head:
        """Read a backup's head; raise UnknownBackup or DamagedBackup."""
        file, head = self.open(backup_id)
        file.close()
        return head

    def entry(self, backup_id: str) -> bytes:
        """Return what a listing says of a backup, as JSON, or nothing for what is left out."""
        name = ids.file_name(backup_id)
        try:
            status = os.stat(name, dir_fd=self._directory.descriptor, follow_symlinks=False)
            stamp, entry = self._entries.get(backup_id, ((), b""))
            if stamp == _stamp(status):
                return entry
            is_settled = abs(time.time() - status.st_ctime) > _step(status)
            entry = msgspec.json.encode(self.head(backup_id).entry())
        except (FileNotFoundError, UnknownBackup):
            return b""  # deleted since it was listed, or no file
        except (OSError, DamagedBackup) as error:
            code = getattr(error, "errno", None)
            if code in _OF_ALL_FILES:
                raise
            if code == errno.ESTALE:  # another host has deleted it (NFS, GlusterFS)
                os.stat(".", dir_fd=self._directory.descriptor)  # raises where all are stale
            log.error("%s is left out: %s", name, error)
            return b""
        if is_settled:
            self._entries[backup_id] = _stamp(status), entry
        return entry


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    # A program may set mtime to the past, but none can set ctime.
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _step(status: os.stat_result) -> float:
    """Return how long a clock may stand still, in seconds: 10 ms on Linux, 2 s in whole seconds."""
    is_coarse = status.st_mtime_ns % 10**9 == 0 or status.st_ctime_ns % 10**9 == 0
    return 3.0 if is_coarse else 0.05
