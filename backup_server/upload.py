"""An upload, checked: five arrays of records, where they come from, and whatever else there is."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from . import rawjson
from .errors import InvalidBackup
from .rawjson import Text

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

Piece = bytes | memoryview


class Part(NamedTuple):
    """A text of so many bytes, in pieces that can be iterated over more than once."""

    size: int
    pieces: Iterable[Piece]


class Origin(NamedTuple):
    """Where an upload comes from; ``client_timestamp`` is JSON text."""

    client_timestamp: bytes | None
    device_id: str | None
    device: str | None


class Upload(NamedTuple):
    """A checked upload, or what a change has made of the stored backup whose id is ``base``.

    ``categories`` has all five arrays, in order; ``others`` is the text of the other members, each
    with a comma before it.
    """

    categories: dict[str, Part]
    others: Part
    counts: dict[str, int]
    origin: Origin
    base: str | None = None

    def layout(self) -> dict[str, tuple[int, int]]:
        """Return where in the text of ``data`` what lies: start and length, in bytes."""
        places, end = {}, 0
        for name, part in self.categories.items():
            start = end + len(introduction(name))
            places[name] = (start, part.size)
            end = start + part.size
        return {"data": (0, end + self.others.size + len(b"}")), **places}

    def pieces(self) -> Iterator[Piece]:
        """Yield the text of ``data``."""
        for name, part in self.categories.items():
            yield introduction(name)
            yield from part.pieces
        yield from self.others.pieces
        yield b"}"


def introduction(category: str) -> bytes:
    """Return what is before a category's array in ``data``."""
    return (b'{"%s":' if category == CATEGORIES[0] else b',"%s":') % category.encode()


def check_upload(text: Text) -> Upload:
    """Check an upload's body; raise InvalidBackup, which says what is wrong and where."""
    view, found = memoryview(text), rawjson.members(text)
    values = {name: view[member.value] for name, member in found.items()}
    others: list[Piece] = []
    for name, member in found.items():
        if name not in (*CATEGORIES, *ORIGIN_MEMBERS):
            others += [b",", view[member.name], b":", values[name]]
    arrays = {name: values.get(name, memoryview(b"[]")) for name in CATEGORIES}
    return Upload(
        {name: Part(len(array), [array]) for name, array in arrays.items()},
        Part(sum(map(len, others)), others),
        {name: rawjson.count(name, array, MOST_ITEMS) for name, array in arrays.items()},
        read_origin(values),
    )


def read_origin(values: dict[str, memoryview]) -> Origin:
    """Read ORIGIN_MEMBERS among the values of a body's members; raise InvalidBackup."""
    given = {name: values[name] for name in ORIGIN_MEMBERS if name in values}
    if given.get("device") in (b"null", b'""'):
        del given["device"]
    for name, value in given.items():
        if value[:1] != b'"':
            raise InvalidBackup(f"The member {name} must be a string.")
        if rawjson.has_half_pair(value):
            raise InvalidBackup(f"The member {name} has half of a surrogate pair in it.")
    decoded = {name: _beginning(value) for name, value in given.items()}
    timestamp = given.get("clientTimestamp", b"")
    if len(timestamp) > CLIENT_TIMESTAMP_BYTES:
        raise InvalidBackup(
            f"The member clientTimestamp is longer than {CLIENT_TIMESTAMP_BYTES} bytes."
        )
    if not DEVICE_ID.fullmatch(decoded.get("deviceId", "none")):
        raise InvalidBackup("The member deviceId must be 1 to 64 of A-Z a-z 0-9 - and _.")
    device = decoded.get("device", "")[:DEVICE_CHARACTERS]
    return Origin(bytes(timestamp) or None, decoded.get("deviceId"), device or None)


def _beginning(string: memoryview) -> str:
    return json.loads(_BEGINNING.match(string)[0].decode(errors="ignore") + '"')
