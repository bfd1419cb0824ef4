"""What a stored backup looks like: rendered from an upload, and read back in parts.

A stored document is two lines of JSON. The first, the head, is small: id, timestamps, counts, where
each category lies (``layout``), a SHA-256, and where there are such, the device, the upload's key
and the backup it was changed from (``base``). The second is ``data``, with every value byte for
byte as the client sent it. So a listing reads heads only, and a category is cut out by offsets::

    {"id":"…","timestamp":"…","clientTimestamp":"…","version":1,"counts":{…},"layout":{…},"sha256":"…",
    "data":{"atoms":[…],"compositions":[…],"snapshots":[…],"voiceNotes":[…],"configOverrides":[…]}}

The SHA-256 is that of the whole file without its own 64 digits, as ``sed`` and ``sha256sum`` check
it, too. A file in another form, of the Express server or edited by hand, is parsed whole. A
``sha256`` of its outermost object, before ``data``, is that of the file as well.
"""

import os
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import msgspec

from . import rawjson
from .errors import DamagedBackup, InvalidBackup
from .rawjson import Member, Text
from .upload import CATEGORIES, Piece, Upload

#: A head always fits in this many bytes: what a client can put into it is limited.
HEAD_BYTES = 4096
#: The length of a SHA-256 in hexadecimal digits.
DIGITS = 64
#: The largest file without a head that is parsed, in bytes. The Express server took 50 MB.
LARGEST_EXPRESS = 512 * 1024 * 1024

_DATA = b'\n"data":'
# So small a document is written with one call: after each, a thread has to wait for its turn again.
_JOINED_BYTES = 256 * 1024
Layout = msgspec.defstruct(
    "Layout", [(name, tuple[int, int]) for name in ("data", *CATEGORIES)], module=__name__
)


class Receipt(msgspec.Struct):
    """The answer to an upload; ``timestamp`` is JSON text."""

    id: str
    timestamp: msgspec.Raw
    size: int
    counts: dict[str, int]


class Rendered(NamedTuple):
    """A document to be stored: its bytes, with zeros where the digits of its SHA-256 go.

    ``pieces`` can be read once. The digits' place, ``digits_at``, is in the first of them;
    :func:`.checksum.digits` computes them.
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
        """Return the answer to the upload that this was."""
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
        return entry | _given(deviceId=self.device_id, device=self.device)


_head_decoder = msgspec.json.Decoder(Head)


def render(upload: Upload, backup_id: str, timestamp: str, key: str | None) -> Rendered:
    """Turn an upload into the document to be stored under this id."""
    layout = upload.layout()
    now, origin = msgspec.Raw(b'"%s"' % timestamp.encode()), upload.origin
    head = {
        "id": backup_id,
        "timestamp": now,
        "clientTimestamp": msgspec.Raw(origin.client_timestamp or now),
        "version": 1,
        "counts": upload.counts,
        "layout": layout,
    }
    head |= _given(deviceId=origin.device_id, device=origin.device, base=upload.base, key=key)
    before = msgspec.json.encode(head)[:-1] + b',"sha256":"'
    start = before + b"0" * DIGITS + b'",' + _DATA
    end = b"}\n"
    size = len(start) + sum(layout["data"]) + len(end)
    pieces = chain([start], upload.pieces(), [end])
    if size <= _JOINED_BYTES:
        pieces = iter([b"".join(pieces)])
    return Rendered(Receipt(backup_id, now, size, upload.counts), pieces, len(before))


def has_head(text: Text) -> bool:
    """Tell whether a stored document, or its first HEAD_BYTES, starts with a head."""
    return bool(head_text(text))


def head_text(text: Text) -> bytes:
    """Return the head that a document starts with as a JSON object, or nothing."""
    end = text.find(_DATA, 0, HEAD_BYTES) if text[:7] == b'{"id":"' else -1
    return text[:end].removesuffix(b",") + b"}" if end > 0 else b""


def read_head(text: Text, size: int) -> Head:
    """Read the head of a stored document of ``size`` bytes.

    The first HEAD_BYTES are enough of a ``text`` for which :func:`has_head` is true; any other
    must be whole. Raises DamagedBackup for what neither server wrote, or what has lost its end.
    """
    try:
        own = head_text(text)
        return _own_head(own, text.find(_DATA), size) if own else _head_of_other(text, size)
    except (InvalidBackup, msgspec.MsgspecError, RecursionError) as error:
        raise DamagedBackup(f"It cannot be read: {str(error).rstrip('.')}.") from error


def read_whole(descriptor: int, size: int) -> bytes:
    """Read a file of so many bytes that has no head; raise DamagedBackup if it cannot be one."""
    if size > LARGEST_EXPRESS:
        raise DamagedBackup(f"It has no head, and {size} bytes: no Express server wrote that.")
    # Read, not mapped: a mapped file that fails to be read kills the process (SIGBUS).
    return os.pread(descriptor, size, 0)


def _given(**members: str | None) -> dict[str, str]:
    return {name: value for name, value in members.items() if value is not None}


def _own_head(text: bytes, end: int, size: int) -> Head:
    try:
        text.decode()  # msgspec does not look at what it leaves as JSON text
    except UnicodeDecodeError as error:
        raise DamagedBackup(f"Its head is not valid UTF-8 (byte {error.start}).") from error
    head = rawjson.read(text, _head_decoder.decode)
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


def _head_of_other(text: Text, size: int) -> Head:
    """Make up a head for a file in another form: the Express server wrote only id, times, data."""
    view, outer = memoryview(text), rawjson.members(text)
    if not {"id", "timestamp", "data"} <= outer.keys():
        raise DamagedBackup("It is not a backup: id, timestamp or data is missing.")
    outer.setdefault("clientTimestamp", outer["timestamp"])
    data = view[outer["data"].value]
    places = {name: _place(member) for name, member in rawjson.members(data).items()}
    layout = {name: places.get(name, (0, 0)) for name in CATEGORIES}
    known = [name for name in Head.__struct_encode_fields__ if name in outer]
    head = {name: msgspec.Raw(view[outer[name].value]) for name in known}
    arrays = {name: data[start : start + length] for name, (start, length) in layout.items()}
    head["counts"] = {
        name: rawjson.count(name, array) if array[:1] == b"[" else 0
        for name, array in arrays.items()
    }
    head["layout"] = {"data": (0, len(data)), **layout}
    head |= {"dataStart": outer["data"].value.start, "size": size}
    return rawjson.read(msgspec.json.encode(head), _head_decoder.decode)


def _place(member: Member) -> tuple[int, int]:
    return member.value.start, member.value.stop - member.value.start
