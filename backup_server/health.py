"""Whether an upload can be stored now: tried, not computed."""

import errno
import os
import tempfile
import time
from contextlib import suppress
from functools import partial

from .durable import Directory, temporary_name
from .errors import Unavailable

# What must fit: an ordinary upload, with what a copy-on-write file system sets aside for its names.
_BYTES = 64 * 1024


class Health:
    """Tries on a directory what an upload needs. Methods raise OSError and Unavailable."""

    def __init__(self, directory: Directory):
        self._directory = directory
        self._has_links = False
        self._checked = float("-inf")

    def check(self, lock_name: str) -> None:
        """Raise unless there is room and all that an upload does can be done.

        After a success it tries nothing for a second: anyone may ask, as often as they like.
        """
        if time.monotonic() < self._checked + 1:
            return
        path, user = self._directory.path, os.geteuid()
        try:
            os.close(self._directory.open(lock_name, os.O_RDWR | os.O_CREAT))
            if not self._has_links:
                self._check_links()
                self._has_links = True
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
        here = self._directory.descriptor
        kinds = {
            "hard": partial(os.link, src_dir_fd=here, dst_dir_fd=here),
            "symbolic": partial(os.symlink, dir_fd=here),
        }
        with self._directory.temporary() as (_, name):
            for kind, link in kinds.items():
                other = temporary_name()
                try:
                    link(name, other)
                except OSError as error:
                    if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
                        raise
                    raise Unavailable(
                        f"The file system of {self._directory.path} has no {kind} links, which "
                        "uploads need; use another one, such as ext4."
                    ) from error
                with suppress(FileNotFoundError):  # a sweep was faster
                    self._directory.unlink(other)
