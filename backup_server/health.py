"""Whether an upload can be stored now: tried, not computed."""

import errno
import os
import tempfile
import time
from pathlib import Path

from .durable import Directory, temporary_name
from .errors import Unavailable

# What must fit: an ordinary upload, with what a copy-on-write file system sets aside for its names.
_BYTES = 64 * 1024


class Health:
    """Tries on a directory what an upload needs. Methods raise OSError and Unavailable."""

    def __init__(self, directory: Directory):
        self._directory = directory
        self._checked: float | None = None

    def check(self, lock_name: str) -> None:
        """Raise unless there is room and all that an upload does can be done.

        After a success it tries nothing for a second: anyone may ask, as often as they like.
        """
        if self._checked is not None and time.monotonic() < self._checked + 1:
            return
        path, user = self._directory.path, os.geteuid()
        try:
            os.close(self._directory.open(lock_name, os.O_RDWR | os.O_CREAT))
            if self._checked is None:
                self._check_links()
            with tempfile.TemporaryFile(dir=path, prefix=".upload-", suffix=".tmp") as file:
                file.write(bytes(_BYTES))
        except PermissionError as error:
            raise Unavailable(
                f"The storage directory {path} cannot be written by user {user}; "
                f"if it is another user's, let root run: chown -R {user} {path}."
            ) from error
        self._checked = time.monotonic()

    def _check_links(self) -> None:
        """Raise Unavailable if the file system has no hard links (FAT) or symbolic ones (CIFS)."""
        path = self._directory.path
        with self._directory.temporary() as (_, name):
            for kind, link in {"hard": Path.hardlink_to, "symbolic": Path.symlink_to}.items():
                trial = path / temporary_name()
                try:
                    link(trial, path / name)
                except OSError as error:
                    if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
                        raise
                    raise Unavailable(
                        f"The file system of {path} has no {kind} links, which uploads need; use "
                        "another one, such as ext4."
                    ) from error
                trial.unlink(missing_ok=True)  # a sweep may have been faster
