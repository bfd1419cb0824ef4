"""The stored backup that a change is made to: checked, and read piece by piece.

Its places are read from the file that is copied from, which is compared with its SHA-256; without
one it is parsed whole. It is never mapped: a disk that fails under a mapping kills the process
(SIGBUS).
"""

import os
import threading
from collections.abc import Iterator
from typing import BinaryIO

from . import checksum, document, rawjson
from .errors import DamagedBackup, UnusableBase
from .rawjson import Text
from .upload import CATEGORIES, introduction

#: Held while much of a base is in memory: a category, or a file without a SHA-256.
one_at_a_time = threading.Lock()

_CHUNK = 256 * 1024


class Base:
    """The file of a base, open for as long as it is copied from, and not to be trusted unchecked.

    ``places`` says where the members of its data lie: of a category the array, of another member
    the name as well. The others are told apart only if that is asked for; else the place of all of
    them has the name None.
    """

    def __init__(self, file: BinaryIO, by_name: bool):
        """Read where in the file what lies; raise UnusableBase, DamagedBackup or InvalidBackup."""
        self._descriptor = file.fileno()
        try:
            self._size = os.fstat(self._descriptor).st_size
        except OSError as error:
            raise _unreadable(error) from error
        self.places: dict[str | None, slice] = {}
        self._start = start = self.read(slice(0, min(document.HEAD_BYTES, self._size)))
        if document.has_head(start):
            self.head = document.read_head(start, self._size)
            if self._locate(by_name):
                return
        with one_at_a_time:
            self._parse()

    def check(self) -> None:
        """Compare the file with its SHA-256, if it has one; raise UnusableBase or DamagedBackup."""
        if document.has_head(self._start):  # any other file was checked when it was parsed
            checksum.check(self.copy(slice(0, self._size)))

    def copy(self, place: slice) -> Iterator[bytes]:
        """Yield what lies at a place, in chunks; raise UnusableBase if it cannot be read."""
        for start in range(place.start, place.stop, _CHUNK):
            yield self.read(slice(start, min(start + _CHUNK, place.stop)))

    def read(self, place: slice) -> bytes:
        """Return what lies at a place; raise UnusableBase if it cannot be read."""
        try:
            text = os.pread(self._descriptor, place.stop - place.start, place.start)
        except OSError as error:
            raise _unreadable(error) from error
        if len(text) < place.stop - place.start:
            raise UnusableBase("The base is damaged: it has lost its end")
        return text

    def _locate(self, by_name: bool) -> bool:
        """Find the members by the head; return False if the data is not written as it is now."""
        position = self.head.data_start
        for name in CATEGORIES:
            at, length = self.head.part(name)
            written = introduction(name)
            end = position + len(written)
            if at != end or self.read(slice(position, end)) != written:
                return False
            position = at + length
            self.places[name] = slice(at, position)
        others = slice(position, self.head.data_start + self.head.layout.data[1] - 1)
        if by_name:
            self._add_members(b"{" + self.read(others)[1:] + b"}", position)
        elif position < others.stop:
            self.places[None] = slice(position + 1, others.stop)
        return True

    def _parse(self) -> None:
        try:
            text = document.read_whole(self._descriptor, self._size)
        except OSError as error:
            raise _unreadable(error) from error
        checksum.check([text])
        self.head = head = document.read_head(text, self._size)
        data = slice(head.data_start, head.data_start + head.layout.data[1])
        self.places = {}
        self._add_members(memoryview(text)[data], data.start)
        for name in self.places.keys() & set(CATEGORIES):
            if text[self.places[name]][:1] != b"[":
                raise DamagedBackup(f"Its {name} are no array.")

    def _add_members(self, text: Text, start: int) -> None:
        for name, member in rawjson.members(text).items():
            first = member.value if name in CATEGORIES else member.name
            self.places[name] = slice(start + first.start, start + member.value.stop)


def _unreadable(error: OSError) -> UnusableBase:
    return UnusableBase(f"The base cannot be read: {error.strerror}")
