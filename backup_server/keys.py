"""The keys of uploads: ``.keys/<key>`` is a symbolic link to the file stored with this key.

A link that dangles counts for nothing, so a backup's deletion forgets its key. Who changes a key
holds the storage's lock. Functions raise OSError.
"""

import os
from contextlib import suppress

from .durable import DIRECTORY_MODE, Directory

_KEYS = ".keys"


def file_of(directory: Directory, key: str) -> str | None:
    """Return the name of the file that a key leads to, whether there is such a file or not."""
    try:
        target = os.readlink(f"{_KEYS}/{key}", dir_fd=directory.descriptor)
    except FileNotFoundError:
        return None
    return os.path.basename(target)


def link(directory: Directory, key: str, file_name: str) -> None:
    """Let a key lead to a file, durably, before that file gets its name.

    Who dies or fails between the two leaves a link that dangles, not a backup whose key is
    forgotten and which a retry stores again.
    """
    with suppress(FileExistsError):
        os.mkdir(_KEYS, DIRECTORY_MODE, dir_fd=directory.descriptor)
        directory.sync()
    if file_of(directory, key):
        directory.unlink(f"{_KEYS}/{key}")
    os.symlink(f"../{file_name}", f"{_KEYS}/{key}", dir_fd=directory.descriptor)
    directory.sync(_KEYS)
