"""An upload, checked: five arrays of records, where they come from, and whatever else there is."""

import json
import os
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import msgspec

from . import rawjson
from .errors import InvalidBackup, UnusableBase
from .rawjson import CHUNK, Member, Text

CATEGORIES = ("atoms", "compositions", "snapshots", "voiceNotes", "configOverrides")
#: The members that say where an upload comes from. A backup has them in its head, not in its data.
ORIGIN_MEMBERS = ("clientTimestamp", "deviceId", "device")
#: The most items of a category.
MOST_ITEMS = 1_000_000
#: The longest ``clientTimestamp`` as JSON text, quotes included, in bytes.
CLIENT_TIMESTAMP_BYTES = 1024
#: What is beyond this of ``device`` is cut.
DEVICE_CHARACTERS = 100

DEVICE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
# The beginning of a string, of more characters than are used. The whole may have millions.
_BEGINNING = re.compile(rb'"(?:[^"\\]|\\u[0-9a-fA-F]{4}|\\.){0,400}+', re.DOTALL)


class Excerpt(msgspec.Struct, gc=False):
    """What lies in the file of a base from ``start`` to ``stop``; iterated over, it is read."""

    file: BinaryIO
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[bytes]:
        for start in range(self.start, self.stop, CHUNK):
            size = min(CHUNK, self.stop - start)
            try:
                chunk = os.pread(self.file.fileno(), size, start)
            except OSError as error:
                raise UnusableBase(f"The base cannot be read: {error.strerror}") from error
            if len(chunk) < size:
                raise UnusableBase("The base is damaged: it has lost its end")
            yield chunk


Piece = bytes | memoryview | Excerpt
#: Where an upload comes from: ``clientTimestamp`` as JSON text, ``deviceId`` and ``device``.
Origin = tuple[bytes | None, str | None, str | None]


class Upload(NamedTuple):
    """A checked upload, or what a change has made of the stored backup whose id is ``base``.

    ``categories`` has all five arrays in order, ``others`` each other member after a comma.
    """

    categories: dict[str, list[Piece]]
    others: list[Piece]
    counts: dict[str, int]
    origin: Origin
    base: str | None = None

    def data(self) -> tuple[list[Piece], dict[str, tuple[int, int]]]:
        """Return the text of ``data``, and where in it what lies: start and length, in bytes."""
        pieces: list[Piece] = []
        layout, end = {"data": (0, 0)}, 0
        for name, array in self.categories.items():
            introduction = (b',"%s":' if pieces else b'{"%s":') % name.encode()
            start = end + len(introduction)
            end = start + sum(map(len, array))
            layout[name] = (start, end - start)
            pieces += [introduction, *array]
        pieces += [*self.others, b"}"]
        layout["data"] = (0, sum(map(len, pieces)))
        return pieces, layout


def check_upload(text: Text) -> Upload:
    """Check an upload's body; raise InvalidBackup, which says what is wrong and where."""
    found = rawjson.members(text)
    others: list[Piece] = []
    for name, member in found.items():
        if name not in (*CATEGORIES, *ORIGIN_MEMBERS):
            others += [b",", member.text]
    arrays = {name: found[name].value if name in found else b"[]" for name in CATEGORIES}
    counts = {name: rawjson.count(name, array, MOST_ITEMS) for name, array in arrays.items()}
    categories = {name: [array] for name, array in arrays.items()}
    return Upload(categories, others, counts, read_origin(found))


def read_origin(found: dict[str, Member]) -> Origin:
    """Read ORIGIN_MEMBERS among a body's members; raise InvalidBackup."""
    values = {name: found[name].value for name in ORIGIN_MEMBERS if name in found}
    given = {name: _read_string(name, value) for name, value in values.items()}
    timestamp = values.get("clientTimestamp", b"")
    if len(timestamp) > CLIENT_TIMESTAMP_BYTES:
        raise InvalidBackup(f"The member clientTimestamp is over {CLIENT_TIMESTAMP_BYTES} bytes.")
    if not DEVICE_ID.fullmatch(given.get("deviceId", "none")):
        raise InvalidBackup("The member deviceId must be 1 to 64 of A-Z a-z 0-9 - and _.")
    device = given.get("device", "")[:DEVICE_CHARACTERS]
    return bytes(timestamp) or None, given.get("deviceId"), device or None


def _read_string(name: str, value: memoryview) -> str:
    """Return as much of a member's string as is used."""
    if name == "device" and value == b"null":
        return ""
    if value[:1] != b'"':
        raise InvalidBackup(f"The member {name} must be a string.")
    try:
        msgspec.json.decode(value, type=msgspec.Raw)  # which refuses half pairs
    except msgspec.DecodeError as error:
        raise InvalidBackup(f"The member {name} has half of a surrogate pair in it.") from error
    return json.loads(_BEGINNING.match(value)[0].decode(errors="ignore") + '"')
