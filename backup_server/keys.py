"""The keys of uploads: ``.keys/<key>`` is a symbolic link to the file stored with this key.

A link that dangles counts for nothing, and so does anything else of this name. Who changes a key
holds the storage's lock.
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from . import durable
from .durable import Directory

#: The name of the directory of the keys.
KEYS = ".keys"
# The key is not there, it is no link, or .keys is no directory.
_NO_LINK = (errno.ENOENT, errno.EINVAL, errno.ENOTDIR, errno.ELOOP)


class Keys:
    """The keys in one storage directory. Methods raise OSError."""

    def __init__(self, directory: Directory):
        self._directory = directory

    def file_of(self, key: str) -> str | None:
        """Return the name of the file that a key leads to, whether there is such a file or not."""
        try:
            target = os.readlink(f"{KEYS}/{key}", dir_fd=self._directory.descriptor)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            return None
        return os.path.basename(target)

    @contextmanager
    def linked(self, key: str, file_name: str) -> Iterator[None]:
        """Let a key lead to a file that gets its name in the block; undone if that fails.

        The key is durable before its file is there. Dying between the two leaves a link that
        dangles, not a backup whose key is forgotten and which a retry stores again.
        """
        self._link(key, file_name)
        try:
            durable.sync_directory(KEYS, dir_fd=self._directory.descriptor)
            yield
        except BaseException:
            self._directory.remove(f"{KEYS}/{key}")
            raise

    def forget(self, key: str, file_name: str) -> None:
        """Remove a key that leads to this file."""
        if self.file_of(key) == file_name:
            self._directory.unlink(f"{KEYS}/{key}")

    def _link(self, key: str, file_name: str) -> None:
        name, here = f"{KEYS}/{key}", self._directory.descriptor
        while True:
            try:
                return os.symlink(f"../{file_name}", name, dir_fd=here)
            except FileExistsError:
                self._clear_way(name)
            except (FileNotFoundError, NotADirectoryError):
                self._clear_way(KEYS)
                os.mkdir(KEYS, durable.DIRECTORY_MODE, dir_fd=here)
                self._directory.sync()

    def _clear_way(self, name: str) -> None:
        """Remove a link that leads nowhere; what somebody else put in its place is moved aside."""
        here = self._directory.descriptor
        try:
            is_link = stat.S_ISLNK(self._directory.stat(name).st_mode)
        except FileNotFoundError:
            return
        if is_link:
            self._directory.unlink(name)
        else:
            aside = f"{name}.{secrets.token_hex(4)}"
            os.rename(name, aside, src_dir_fd=here, dst_dir_fd=here)
