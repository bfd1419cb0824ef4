"""A disk with a volatile write cache, as a plugin of nbdkit's: ``nbdkit python volatile_disk.py``.

Parameters: ``image``, the file with the disk's contents, and ``fuse``, a file that may appear while
the disk is in use. Within ``MOST_WRITES`` after it the power goes: the fuse is removed, and every
request fails. The image is what a cut leaves behind: all that was flushed, or written with FUA; of
each other block the old or the new contents, by chance (the NBD protocol promises no more).

nbdkit runs this file with the Python it was built for, so nothing of this project is imported.
"""

import errno
import os
import random

import nbdkit

API_VERSION = 2
#: The sector size of the disk in bytes: what a write is never torn within.
BLOCK = 4096
MOST_WRITES = 1000

paths = {}
#: What the blocks had in them that were written since the last flush, by number.
flushed = {}
writes_left = random.randint(1, MOST_WRITES)


def config(key, value):
    paths[key] = value


def open(readonly):
    """Return what the other functions get as ``image``."""
    return os.open(paths["image"], os.O_RDWR)


def get_size(image):
    return os.fstat(image).st_size


def can_fua(image):
    return nbdkit.FUA_NATIVE


def pread(image, buffer, offset, flags):
    check_power()
    os.preadv(image, [buffer], offset)


def pwrite(image, buffer, offset, flags):
    global writes_left
    check_power()
    blocks = range(offset // BLOCK, (offset + len(buffer) - 1) // BLOCK + 1)
    for number in blocks:
        if number not in flushed:
            flushed[number] = os.pread(image, BLOCK, number * BLOCK)
    os.pwrite(image, buffer, offset)
    if flags & nbdkit.FLAG_FUA:
        for number in blocks:
            flushed.pop(number)
    writes_left -= os.path.exists(paths["fuse"])
    if writes_left == 0:
        for number, old in flushed.items():
            if random.random() < 0.5:
                os.pwrite(image, old, number * BLOCK)
        os.unlink(paths["fuse"])


def flush(image, flags):
    check_power()
    flushed.clear()


def check_power():
    if writes_left == 0:
        nbdkit.set_error(errno.EIO)
        raise OSError(errno.EIO, "the power has gone")
