"""What a backup is: an upload checked, and the file that is made of it and read back in parts.

A stored document is two lines of JSON. The first, the head, is small: id, timestamps, counts, where
each category lies (``layout``), a SHA-256, and where there are such, the device, the upload's key
and the backup it was changed from (``base``). The second is ``data``, with every value byte for
byte as the client sent it. So a listing reads heads only, and a category is cut out by offsets::

    {"id":"…","timestamp":"…","clientTimestamp":"…","version":1,"counts":{…},"layout":{…},"sha256":"…",
    "data":{"atoms":[…],"compositions":[…],"snapshots":[…],"voiceNotes":[…],"configOverrides":[…]}}

The SHA-256 is that of the whole file without its own 64 digits, as ``sed`` and ``sha256sum`` check
it, too. A file in another form, of the Express server or edited by hand, is parsed whole. If the
outermost object of that one has a ``sha256`` before ``data``, it holds for the file as well.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from . import rawjson
from .errors import DamagedBackup, InvalidBackup
from .rawjson import Member, Text

CATEGORIES = ("atoms", "compositions", "snapshots", "voiceNotes", "configOverrides")
#: The members of an upload that become members of the head.
HEAD_MEMBERS = ("clientTimestamp", "deviceId", "device")
#: The most items of a category in an upload.
MOST_ITEMS = 1_000_000
#: The longest ``clientTimestamp`` as JSON text, quotes included, in bytes.
CLIENT_TIMESTAMP_BYTES = 1024
DEVICE_CHARACTERS = 100
DEVICE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
#: A head always fits in this many bytes: what a client can put into it is limited.
HEAD_BYTES = 4096
#: The largest file without a head that is parsed, in bytes. The Express server took 50 MB.
LARGEST_EXPRESS = 512 * 1024 * 1024

_DATA = b'\n"data":'
_DIGITS = 64
_SHA256 = re.compile(rb'"[0-9a-f]{64}"')
# More of a string's beginning, as JSON text, than DEVICE_CHARACTERS can take.
_BEGINNING = re.compile(rb'"(?:[^"\\]|\\u[0-9a-fA-F]{4}|\\.){0,400}+', re.DOTALL)
_TAIL = 4096
_CHUNK = 64 * 1024
Layout = msgspec.defstruct(
    "Layout", [(name, tuple[int, int]) for name in ("data", *CATEGORIES)], module=__name__
)

Piece = bytes | memoryview


class Part(NamedTuple):
    """So many bytes of a document, which can be iterated over more than once."""

    size: int
    pieces: Iterable[Piece]


class Origin(NamedTuple):
    """What an upload says of where it comes from; ``client_timestamp`` is JSON text."""

    client_timestamp: bytes | None = None
    device_id: str | None = None
    device: str | None = None


class Upload(NamedTuple):
    """A checked upload, or what a change has made of a stored backup, whose id is ``base``.

    ``categories`` has all five arrays, in order; ``others`` is the text of the other members of
    ``data``, each with a comma before it.
    """

    categories: dict[str, Part]
    others: Part
    counts: dict[str, int]
    origin: Origin
    base: str | None = None


class Receipt(msgspec.Struct):
    """What a client is told of the backup it stored; ``timestamp`` is JSON text."""

    id: str
    timestamp: msgspec.Raw
    size: int
    counts: dict[str, int]


class Rendered(NamedTuple):
    """A document to be stored: its bytes, once, with zeros for the digits of its SHA-256.

    The first piece has the digits' place, ``digits_at``; :class:`Digest` computes them.
    """

    receipt: Receipt
    pieces: Iterator[Piece]
    digits_at: int


class Head(msgspec.Struct, rename="camel"):
    """What is known of a stored document without reading its data.

    ``timestamp`` and ``client_timestamp`` are JSON text. ``layout`` gives where ``data`` and each
    category in it start, counted from ``data_start``, and their lengths; ``size`` is the file's.
    All are bytes.
    """

    id: str
    timestamp: msgspec.Raw
    client_timestamp: msgspec.Raw
    counts: dict[str, int]
    layout: Layout
    key: str | None = None
    base: str | None = None
    device_id: str | None = None
    device: str | None = None
    data_start: int = 0
    size: int = 0

    def part(self, category: str) -> tuple[int, int]:
        """Return the offset in the file and the length of a category; the length may be 0."""
        start, length = getattr(self.layout, category)
        return self.data_start + start, length

    def receipt(self) -> Receipt:
        """Return what a client was told when it stored this."""
        return Receipt(self.id, self.timestamp, self.size, self.counts)

    def entry(self) -> dict:
        """Return what a listing says of this backup, for msgspec to encode."""
        entry = {
            "id": self.id,
            "timestamp": self.timestamp,
            "clientTimestamp": self.client_timestamp,
            "size": self.size,
            "counts": self.counts,
        }
        optional = {"deviceId": self.device_id, "device": self.device}
        return entry | {name: value for name, value in optional.items() if value is not None}


class Digest:
    """The SHA-256 of a document without its own digits, which the first piece holds."""

    def __init__(self, digits_at: int):
        self._digits_at: int | None = digits_at
        self._hash = hashlib.sha256()

    def update(self, piece: Piece) -> None:
        """Go on with what follows."""
        if self._digits_at is not None:
            self._hash.update(piece[: self._digits_at])
            piece, self._digits_at = memoryview(piece)[self._digits_at + _DIGITS :], None
        self._hash.update(piece)

    def digits(self) -> bytes:
        """Return the digits."""
        return self._hash.hexdigest().encode()


def check_upload(text: Text) -> Upload:
    """Check an upload's body; raise InvalidBackup, which says what is wrong and where."""
    view, found = memoryview(text), rawjson.members(text)
    values = {name: view[member.value] for name, member in found.items()}
    others: list[Piece] = []
    for name in found:
        if name not in CATEGORIES and name not in HEAD_MEMBERS:
            others += [b",", view[found[name].name], b":", values[name]]
    arrays = {name: values.get(name, memoryview(b"[]")) for name in CATEGORIES}
    return Upload(
        {name: Part(len(array), [array]) for name, array in arrays.items()},
        Part(sum(map(len, others)), others),
        {name: count(name, array) for name, array in arrays.items()},
        read_origin(values),
    )


def count(name: str, array: Text) -> int:
    """Count the items of an upload's category; raise InvalidBackup for no array, or too many."""
    try:
        number = rawjson.count(array, MOST_ITEMS)
    except rawjson.TooManyItems as error:
        raise InvalidBackup(f"The member {name} has {error}.") from error
    if number is None:
        raise InvalidBackup(f"The member {name} must be an array.")
    return number


def read_origin(values: dict[str, memoryview]) -> Origin:
    """Read an upload's head members from its members' values; raise InvalidBackup."""
    given = {name: values[name] for name in HEAD_MEMBERS if name in values}
    if given.get("device") in (b"null", b'""'):
        del given["device"]
    for name, value in given.items():
        if value[:1] != b'"':
            raise InvalidBackup(f"The member {name} must be a string.")
        if name == "clientTimestamp" and len(value) > CLIENT_TIMESTAMP_BYTES:
            raise InvalidBackup(f"The member {name} is longer than {CLIENT_TIMESTAMP_BYTES} bytes.")
        if rawjson.has_half_pair(value):
            raise InvalidBackup(f"The member {name} has half of a surrogate pair in it.")
    device_id = _beginning(given.get("deviceId"))
    if device_id is not None and not DEVICE_ID.fullmatch(device_id):
        raise InvalidBackup("The member deviceId must be 1 to 64 of A-Z a-z 0-9 - and _.")
    device = _beginning(given.get("device"))
    timestamp = given.get("clientTimestamp")
    return Origin(
        None if timestamp is None else bytes(timestamp),
        device_id,
        None if device is None else device[:DEVICE_CHARACTERS],
    )


def _beginning(string: memoryview | None) -> str | None:
    """Decode as much of a string as may matter, since it may have millions of characters."""
    if string is None:
        return None
    beginning = _BEGINNING.match(string)[0]
    return json.loads(beginning.decode(errors="ignore") + '"')


def render(upload: Upload, backup_id: str, timestamp: str, key: str | None) -> Rendered:
    """Turn an upload into the document to be stored under this id."""
    layout, size = {}, 0
    for name, part in upload.categories.items():
        size += len(introduction(name))
        layout[name] = (size, part.size)
        size += part.size
    size += upload.others.size + len(b"}")
    now = b'"%s"' % timestamp.encode()
    head = {
        "id": backup_id,
        "timestamp": msgspec.Raw(now),
        "clientTimestamp": msgspec.Raw(upload.origin.client_timestamp or now),
        "version": 1,
        "counts": upload.counts,
        "layout": {"data": (0, size), **layout},
    }
    optional = {
        "deviceId": upload.origin.device_id,
        "device": upload.origin.device,
        "base": upload.base,
        "key": key,
    }
    head |= {name: value for name, value in optional.items() if value is not None}
    before = msgspec.json.encode(head)[:-1] + b',"sha256":"'
    start = before + b"0" * _DIGITS + b'",' + _DATA
    receipt = Receipt(backup_id, head["timestamp"], len(start) + size + len(b"}\n"), upload.counts)
    return Rendered(receipt, _joined(_pieces(start, upload)), len(before))


def _pieces(start: bytes, upload: Upload) -> Iterator[Piece]:
    for name, part in upload.categories.items():
        yield start + introduction(name)
        yield from part.pieces
        start = b""
    yield from upload.others.pieces
    yield b"}}\n"


def _joined(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Join small pieces, since a system call writes each."""
    waiting, size = [], 0
    for piece in pieces:
        if len(piece) < _CHUNK:
            waiting.append(piece)
            size += len(piece)
        if waiting and max(size, len(piece)) >= _CHUNK:
            yield b"".join(waiting)
            waiting, size = [], 0
        if len(piece) >= _CHUNK:
            yield piece
    yield b"".join(waiting)


def introduction(category: str) -> bytes:
    """Return what is before a category's array in ``data``."""
    return (b'{"%s":' if category == CATEGORIES[0] else b',"%s":') % category.encode()


def has_head(text: Text) -> bool:
    """Tell whether a stored document, or the first HEAD_BYTES of it, starts with a head."""
    return _head_end(text) > 0


def _head_end(text: Text) -> int:
    return max(text.find(_DATA, 0, HEAD_BYTES), 0) if text[:7] == b'{"id":"' else 0


def read_head(text: Text, size: int) -> Head:
    """Read the head of a stored document of ``size`` bytes.

    The first HEAD_BYTES are enough of a ``text`` for which :func:`has_head` is true; any other
    must be whole. Raises DamagedBackup for what neither server wrote, or what has lost its end.
    """
    try:
        end = _head_end(text)
        return _own_head(text[:end], end, size) if end else _head_of_other(text, size)
    except (InvalidBackup, msgspec.MsgspecError) as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> DamagedBackup:
    return DamagedBackup(f"It cannot be read: {str(error).rstrip('.')}.")


def read_whole(descriptor: int, size: int) -> bytes:
    """Read a file of so many bytes that has no head; raise DamagedBackup if it cannot be one."""
    if size > LARGEST_EXPRESS:
        raise DamagedBackup(f"It has no head, and {size} bytes: no Express server wrote that.")
    # Its end first: a file that lost it, or has a wrong one, may be large.
    if not os.pread(descriptor, _TAIL, max(0, size - _TAIL)).rstrip().endswith(b"}"):
        raise DamagedBackup("It does not end like a backup.")
    # Read, not mapped: a mapped file that fails to be read kills the process (SIGBUS).
    return os.pread(descriptor, size, 0)


def digits_at(text: Text) -> int | None:
    """Return where the SHA-256 of a stored document has its digits, or None if it has none.

    ``text`` is what :func:`read_head` needs. Raises DamagedBackup if there should be one.
    """
    end = _head_end(text)
    try:
        outer = rawjson.members(text[:end].removesuffix(b",") + b"}" if end else text)
    except InvalidBackup as error:
        raise _unreadable(error) from error
    place = outer["sha256"].value if "sha256" in outer else None
    if place and (end or "data" not in outer or place.start < outer["data"].value.start):
        if _SHA256.fullmatch(memoryview(text)[place]):
            return place.start + 1
        raise DamagedBackup("Its SHA-256 does not have 64 digits.")
    if end:
        raise DamagedBackup("Its SHA-256 is missing.")
    return None


def check_digest(pieces: Iterable[Piece]) -> bool:
    """Compare a stored document with its SHA-256; return whether it has one.

    The first piece is what :func:`read_head` needs. Raises DamagedBackup if they differ.
    """
    pieces = iter(pieces)
    first = next(pieces)
    place = digits_at(first)
    if place is None:
        return False
    digest = Digest(place)
    digest.update(first)
    for piece in pieces:
        digest.update(piece)
    if digest.digits() != first[place : place + _DIGITS]:
        raise DamagedBackup("Its bytes do not match its SHA-256.")
    return True


def _own_head(text: bytes, end: int, size: int) -> Head:
    try:
        text.decode()  # msgspec does not look at what it leaves as JSON text
    except UnicodeDecodeError as error:
        raise DamagedBackup(f"Its head is not valid UTF-8 (byte {error.start}).") from error
    head = _decode_head(text.removesuffix(b",") + b"}")
    head.data_start = end + len(_DATA)
    head.size = head.data_start + sum(head.layout.data) + len(b"}\n")
    if head.size != size:
        raise DamagedBackup(f"It has {size} bytes where {head.size} were written.")
    if head.counts.keys() != set(CATEGORIES):
        raise DamagedBackup("Its head does not count every category.")
    for name in CATEGORIES:
        start, length = getattr(head.layout, name)
        if not 0 <= start <= start + length <= head.layout.data[1]:
            raise DamagedBackup(f"Its head gives {name} a place outside data.")
    return head


def _decode_head(text: bytes) -> Head:
    try:
        return msgspec.json.decode(text, type=Head)
    except msgspec.DecodeError:
        # Half an emoji in the client's own time, from before that was refused.
        member = rawjson.members(text).get("clientTimestamp")
        if not member:
            raise
        place = member.value
        head = msgspec.json.decode(text[: place.start] + b"0" + text[place.stop :], type=Head)
        head.client_timestamp = msgspec.Raw(text[place])
        return head


def _head_of_other(text: Text, size: int) -> Head:
    """Make up a head for a file in another form: the Express server wrote only id, times, data."""
    view, outer = memoryview(text), rawjson.members(text)
    if not {"id", "timestamp", "data"} <= outer.keys():
        raise DamagedBackup("It is not a backup: id, timestamp or data is missing.")
    outer.setdefault("clientTimestamp", outer["timestamp"])
    data = view[outer["data"].value]
    places = {name: _place(member) for name, member in rawjson.members(data).items()}
    layout = {name: places.get(name, (0, 0)) for name in CATEGORIES}
    optional = {"key": "key", "base": "base", "deviceId": "device_id", "device": "device"}
    return Head(
        id=msgspec.json.decode(view[outer["id"].value], type=str),
        timestamp=msgspec.Raw(bytes(view[outer["timestamp"].value])),
        client_timestamp=msgspec.Raw(bytes(view[outer["clientTimestamp"].value])),
        counts={
            name: rawjson.count(data[start : start + length]) or 0
            for name, (start, length) in layout.items()
        },
        layout=Layout(data=(0, len(data)), **layout),
        data_start=outer["data"].value.start,
        size=size,
        **{
            field: msgspec.json.decode(view[outer[name].value], type=str | None)
            for name, field in optional.items()
            if name in outer
        },
    )


def _place(member: Member) -> tuple[int, int]:
    return member.value.start, member.value.stop - member.value.start
