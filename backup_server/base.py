"""The stored backup that a change is made to: checked, and read piece by piece.

Its places are read from the file that is copied from, which is compared with its SHA-256; without
one it is parsed whole. It is never mapped: a disk that fails under a mapping kills the process
(SIGBUS).
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from . import checksum, document, rawjson
from .errors import DamagedBackup, UnusableBase
from .upload import CATEGORIES, Part, Piece, introduction

#: Held while much of a base is in memory: a category, or a file without a SHA-256.
one_at_a_time = threading.Lock()

_CHUNK = 256 * 1024


class Base:
    """The file of a base, open for as long as it is copied from.

    ``categories`` says where in the file the arrays lie, ``others`` where the other members do:
    each of its slices has one or more of them, with their names.
    """

    def __init__(self, file: BinaryIO):
        """Check and read a file; raise UnusableBase, DamagedBackup or InvalidBackup."""
        self._descriptor = file.fileno()
        with _translate_os_errors():
            self._size = os.fstat(self._descriptor).st_size
        self.categories: dict[str, slice] = {}
        self.others: list[slice] = []
        start = self.read(slice(0, min(document.HEAD_BYTES, self._size)))
        if document.has_head(start):
            checksum.check(self.copy(slice(0, self._size)))
            self.head = document.read_head(start, self._size)
            if self._locate():
                return
        with one_at_a_time:
            self._parse()

    def copy(self, place: slice) -> Iterator[bytes]:
        """Yield what lies at a place, in chunks; raise UnusableBase if it cannot be read."""
        for start in range(place.start, place.stop, _CHUNK):
            yield self.read(slice(start, min(start + _CHUNK, place.stop)))

    def read(self, place: slice) -> bytes:
        """Return what lies at a place; raise UnusableBase if it cannot be read."""
        with _translate_os_errors():
            text = os.pread(self._descriptor, place.stop - place.start, place.start)
        if len(text) < place.stop - place.start:
            raise UnusableBase("The base is damaged: it has lost its end")
        return text

    def others_by_name(self) -> dict[str, bytes]:
        """Return the text of each of the other members, with its name."""
        text = b"{%s}" % b",".join(map(self.read, self.others))
        found = rawjson.members(text)
        return {name: text[place.name.start : place.value.stop] for name, place in found.items()}

    def part(self, pieces: list[Piece | slice]) -> Part:
        """Return a text that is made of pieces and of places in this file."""
        sizes = (p.stop - p.start if isinstance(p, slice) else len(p) for p in pieces)
        return Part(sum(sizes), _Pieces(self, pieces))

    def _locate(self) -> bool:
        """Find the members by the head; return False if the data is not written as it is now."""
        categories, end = {}, self.head.data_start
        for name in CATEGORIES:
            start, length = self.head.part(name)
            if start != end + len(introduction(name)):
                return False
            end = start + length
            categories[name] = slice(start, end)
        self.categories = categories
        others = slice(end + len(b","), self.head.data_start + self.head.layout.data[1] - len(b"}"))
        self.others = [others] if others.start < others.stop else []
        return True

    def _parse(self) -> None:
        with _translate_os_errors():
            text = document.read_whole(self._descriptor, self._size)
        checksum.check([text])
        self.head = document.read_head(text, self._size)
        start, length = self.head.data_start, self.head.layout.data[1]
        for name, (key, value) in rawjson.members(memoryview(text)[start:][:length]).items():
            if name not in CATEGORIES:
                self.others.append(slice(start + key.start, start + value.stop))
            elif text[start + value.start] == ord("["):
                self.categories[name] = slice(start + value.start, start + value.stop)
            else:
                raise DamagedBackup(f"Its {name} are no array.")


class _Pieces:
    """Pieces, and places in a base's file from which to copy others."""

    def __init__(self, base: Base, pieces: list[Piece | slice]):
        self._base = base
        self._pieces = pieces

    def __iter__(self) -> Iterator[Piece]:
        for piece in self._pieces:
            yield from self._base.copy(piece) if isinstance(piece, slice) else [piece]


@contextmanager
def _translate_os_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnusableBase(f"The base cannot be read: {error.strerror}") from error
