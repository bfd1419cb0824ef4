"""One directory whose files are written durably, in an order that threads and hosts keep.

The directory is opened once, and files are named relative to that descriptor: what is mounted over
the path later is never written to. A new file has a temporary name, and a lock (flock) while its
writer lives; once it is synced, link(2) gives it its name, which never replaces a file.
"""

import errno
import fcntl
import fnmatch
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import finalize

from .errors import Unavailable

#: For the user of this process alone: somebody's private work.
FILE_MODE, DIRECTORY_MODE = 0o600, 0o700
# Neither a link, which leads elsewhere, nor a pipe, which blocks, is a file of this directory.
_FILE_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK


class Directory:
    """A directory that is there. Methods raise OSError."""

    def __init__(self, path: Path):
        self.path = path
        # While it is open, no other directory is given its inode number.
        self.descriptor = os.open(path, os.O_DIRECTORY)
        finalize(self, os.close, self.descriptor)
        self._opened = os.fstat(self.descriptor)

    def check(self) -> None:
        """Raise Unavailable if the path no longer leads to the open directory."""
        if not os.path.samestat(os.stat(self.path), self._opened):
            raise Unavailable(
                f"{self.path} is not the directory this server started with, as if its disk "
                "had been unmounted; bring that back, or restart the server."
            )
        try:
            os.stat(".", dir_fd=self.descriptor)
        except OSError:  # the descriptor is stale (NFS, FUSE), or the directory is locked up
            with _closing(os.open(self.path, os.O_DIRECTORY)) as descriptor:
                # Other threads may be using it.
                os.dup2(descriptor, self.descriptor, inheritable=False)
            os.stat(".", dir_fd=self.descriptor)

    def names(self) -> list[str]:
        """List the directory's names, in no order."""
        # Opened anew: processes that share a descriptor share the offset of its listing, too.
        with _closing(os.open(".", os.O_DIRECTORY, dir_fd=self.descriptor)) as descriptor:
            return os.listdir(descriptor)

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open a regular file; raise OSError, with EINVAL where something else has the name."""
        descriptor = os.open(name, flags | _FILE_FLAGS, FILE_MODE, dir_fd=self.descriptor)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "It is not a file", name)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def unlink(self, name: str) -> None:
        """Remove a name."""
        os.unlink(name, dir_fd=self.descriptor)

    def sync(self, name: str = ".") -> None:
        """Make all names of this directory, or of one in it, durable as they are."""
        with _closing(os.open(name, os.O_DIRECTORY, dir_fd=self.descriptor)) as descriptor:
            os.fsync(descriptor)

    @contextmanager
    def lock(self, name: str) -> Iterator[int]:
        """Hold a file's lock, which orders threads, processes and hosts; yield its descriptor."""
        with _closing(self.open(name, os.O_RDWR | os.O_CREAT)) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor

    @contextmanager
    def temporary(self) -> Iterator[tuple[int, str]]:
        """Make a file to write to; yield its descriptor and name, and remove that at the end."""
        while True:
            name = f".upload-{secrets.token_hex(8)}.tmp"
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
            with _closing(os.open(name, flags, FILE_MODE, dir_fd=self.descriptor)) as descriptor:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                    if os.fstat(descriptor).st_nlink:  # else a sweep came before the lock
                        yield descriptor, name
                        return
                finally:
                    with suppress(OSError):  # the next sweep removes it
                        self.unlink(name)

    def try_links(self) -> None:
        """Raise OSError if the file system has no hard links (FAT) or symbolic ones (CIFS)."""
        with self.temporary() as (_, name):
            trial = self.path / name.replace(".tmp", "-trial.tmp")
            for kind, link in {"hard": Path.hardlink_to, "symbolic": Path.symlink_to}.items():
                try:
                    link(trial, self.path / name)
                except OSError as error:
                    missing = f"there are no {kind} links, which uploads need ({error.strerror})"
                    raise OSError(error.errno, missing, str(self.path)) from error
                trial.unlink(missing_ok=True)  # a sweep may have been faster

    def sweep(self) -> None:
        """Remove the temporary files of processes that are gone."""
        for name in fnmatch.filter(self.names(), ".upload-*.tmp"):
            with suppress(OSError):  # such as BlockingIOError, for what is being written
                if os.path.islink(self.path / name):  # a trial of whether there can be links
                    self.unlink(name)
                with _closing(self.open(name, os.O_RDWR)) as descriptor:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self.unlink(name)


def make_directory(path: Path) -> None:
    """Make a directory and its parents, each synced into the one above it."""
    parent = path.absolute().parent
    if path.is_dir():
        with suppress(OSError):  # whoever made it may have been killed before this sync
            Directory(parent).sync()
        return
    make_directory(parent)
    path.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    Directory(parent).sync()


@contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)
