"""The keys of uploads: ``.keys/<key>`` is a symbolic link to the file stored with this key.

A link that dangles counts for nothing. Who changes a key holds the storage's lock.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from . import durable
from .durable import Directory

_KEYS = ".keys"


class Keys:
    """The keys in one storage directory. Methods raise OSError."""

    def __init__(self, directory: Directory):
        self._directory = directory

    def file_of(self, key: str) -> str | None:
        """Return the name of the file that a key leads to, whether there is such a file or not."""
        try:
            target = os.readlink(f"{_KEYS}/{key}", dir_fd=self._directory.descriptor)
        except FileNotFoundError:
            return None
        return os.path.basename(target)

    @contextmanager
    def linked(self, key: str, file_name: str) -> Iterator[None]:
        """Let a key lead to a file that gets its name in the block; undone if that fails.

        The key is durable before its file is there. Dying between the two leaves a link that
        dangles, not a backup whose key is forgotten and which a retry stores again.
        """
        name, here = f"{_KEYS}/{key}", self._directory.descriptor
        with suppress(FileExistsError):
            os.mkdir(_KEYS, durable.DIRECTORY_MODE, dir_fd=here)
            self._directory.sync()
        if self.file_of(key):
            self._directory.unlink(name)
        os.symlink(f"../{file_name}", name, dir_fd=here)
        has_failed = True
        try:
            durable.sync_directory(_KEYS, dir_fd=here)
            yield
            has_failed = False
        finally:
            if has_failed:
                self._directory.remove(name)

    def forget(self, key: str, file_name: str) -> None:
        """Remove a key that leads to this file."""
        if self.file_of(key) == file_name:
            self._directory.unlink(f"{_KEYS}/{key}")
