"""What a stored backup looks like: rendered from an upload, and read back in parts.

A stored document is two lines of JSON. The first, the head, is small: id, timestamps, counts, where
each category lies (``layout``), the backup it was changed from (``base``) and the upload's key, if
there are such, and a SHA-256. The second is ``data``, with every value byte for byte as the client
sent it. So a listing reads heads only, a category is cut out by its offsets, and nothing is parsed
twice::

    {"id":"…","timestamp":"…","clientTimestamp":"…","version":1,"counts":{…},"layout":{…},"sha256":"…",
    "data":{"atoms":[…],"compositions":[…],"snapshots":[…],"voiceNotes":[…],"configOverrides":[…]}}

The SHA-256 is that of the whole file with its own 64 digits left out, which ``sed`` and
``sha256sum`` can check as well as ``verify``. Files of the Express server have none of this: they
are parsed whole when they are first met.
"""

import hashlib
import re
from typing import NamedTuple

import msgspec

from . import members
from .errors import DamagedBackup, InvalidBackup
from .members import STRING, Member, Text
from .upload import CATEGORIES, Upload

#: A head always fits in this many bytes: what the client may put in it is limited.
HEAD_BYTES = 4096
#: How many hexadecimal digits a SHA-256 has.
DIGITS = 64

_DATA = b'\n"data":'
_CLIENT_TIMESTAMP = re.compile(rb'"clientTimestamp":(' + STRING + rb")", re.DOTALL)
_SHA256 = re.compile(rb'"sha256":"([0-9a-f]{64})"')
Layout = msgspec.defstruct(
    "Layout", [(name, tuple[int, int]) for name in ("data", *CATEGORIES)], module=__name__
)


class Head(msgspec.Struct, rename="camel"):
    """What is known of a stored document without reading its data.

    ``timestamp`` and ``client_timestamp`` are JSON text. ``layout`` tells where ``data`` and each
    category in it start, counted from ``data_start``, and their lengths; ``size`` is the file's.
    All are bytes.
    """

    id: str
    timestamp: msgspec.Raw
    client_timestamp: msgspec.Raw
    counts: dict[str, int]
    layout: Layout
    key: str | None = None
    data_start: int = 0
    size: int = 0

    def part(self, category: str) -> tuple[int, int]:
        """Return the offset in the file and the length of a category; the length may be 0."""
        start, length = getattr(self.layout, category)
        return self.data_start + start, length

    def receipt(self) -> "Receipt":
        """Return what a client was told when it stored this."""
        return Receipt(self.id, self.timestamp, self.size, self.counts)


class Receipt(msgspec.Struct):
    """What a client is told of the backup it stored; ``timestamp`` is JSON text."""

    id: str
    timestamp: msgspec.Raw
    size: int
    counts: dict[str, int]


class Document(NamedTuple):
    """A document to be stored, as its bytes before and after the digits of its SHA-256."""

    receipt: Receipt
    before: bytes
    after: list[bytes | memoryview]

    def digest(self) -> bytes:
        """Compute the digits; a large document is hashed without holding up other threads."""
        digest = hashlib.sha256(self.before)
        for piece in self.after:
            digest.update(piece)
        return digest.hexdigest().encode()


class Digest:
    """The SHA-256 of a stored document that is read piece by piece, from its head on."""

    def __init__(self, head: bytes):
        """Begin with the head, and whatever follows; raise DamagedBackup if it has no SHA-256."""
        kept = _SHA256.search(head)
        if not kept:
            raise DamagedBackup("Its SHA-256 is missing.")
        self._kept = kept[1]
        self._digest = hashlib.sha256(head[: kept.start(1)])
        self.update(head[kept.end(1) :])

    def update(self, piece: bytes | memoryview) -> None:
        """Go on with what follows."""
        self._digest.update(piece)

    def check(self) -> None:
        """Raise DamagedBackup unless all that was read is what was once written."""
        if self._digest.hexdigest().encode() != self._kept:
            raise DamagedBackup("Its bytes do not match its SHA-256.")


def render(upload: Upload, backup_id: str, timestamp: str, key: str | None) -> Document:
    """Turn an upload into the document to be stored under this id."""
    data, layout = _render_data(upload)
    now = b'"%s"' % timestamp.encode()
    head = {
        "id": backup_id,
        "timestamp": msgspec.Raw(now),
        "clientTimestamp": msgspec.Raw(upload.client_timestamp or now),
        "version": 1,
        "counts": upload.counts,
        "layout": layout,
    }
    if upload.base is not None:
        head["base"] = upload.base
    if key is not None:
        head["key"] = key
    before = msgspec.json.encode(head)[:-1] + b',"sha256":"'
    after = [b'",' + _DATA, *data]
    size = len(before) + DIGITS + sum(map(len, after))
    return Document(Receipt(backup_id, msgspec.Raw(now), size, upload.counts), before, after)


def read_head(text: Text, size: int) -> Head:
    """Read the head of a stored document of ``size`` bytes.

    The first HEAD_BYTES are enough of a ``text`` for which :func:`has_head` is true; any other
    must be whole. Raises DamagedBackup for what neither server wrote, or what has lost its end.
    """
    try:
        start = _head_end(text)
        return _own_head(text, start, size) if start else _express_head(text, size)
    except (InvalidBackup, msgspec.MsgspecError) as error:
        raise DamagedBackup(f"It cannot be read: {str(error).rstrip('.')}.") from error


def has_head(text: Text) -> bool:
    """Tell whether a stored document, or the first HEAD_BYTES of it, starts with a head."""
    return _head_end(text) > 0


def _head_end(text: Text) -> int:
    return max(text.find(_DATA, 0, HEAD_BYTES), 0) if text[:7] == b'{"id":"' else 0


def check_digest(text: Text) -> None:
    """Compare a stored document with the SHA-256 in it; raise DamagedBackup if they differ."""
    digest = Digest(text[:HEAD_BYTES])
    digest.update(memoryview(text)[HEAD_BYTES:])
    digest.check()


def _own_head(text: Text, end: int, size: int) -> Head:
    try:
        text[:end].decode()  # msgspec does not look at what it leaves as JSON text
    except UnicodeDecodeError as error:
        raise DamagedBackup(f"Its head is not valid UTF-8 (byte {error.start}).") from error
    head = _decode_head(text[:end].removesuffix(b",") + b"}")
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
        # Half an emoji in the only member that is the client's own.
        member = _CLIENT_TIMESTAMP.search(text)
        if not member:
            raise
        head = msgspec.json.decode(members.without_surrogates(text), type=Head)
        head.client_timestamp = msgspec.Raw(member[1])
        return head


def _express_head(text: Text, size: int) -> Head:
    """Make up a head for a file of the Express server, which wrote only id, times and data."""
    view = memoryview(text)
    outer, _ = members.split(text)
    if not {"id", "timestamp", "data"} <= outer.keys():
        raise DamagedBackup("It is not a backup: id, timestamp or data is missing.")
    data, counts = members.split(bytes(view[outer["data"].value]), CATEGORIES)
    timestamp = bytes(view[outer["timestamp"].value])
    client = outer.get("clientTimestamp")
    return Head(
        id=msgspec.json.decode(view[outer["id"].value], type=str),
        timestamp=msgspec.Raw(timestamp),
        client_timestamp=msgspec.Raw(bytes(view[client.value]) if client else timestamp),
        counts={name: count or 0 for name, count in counts.items()},
        layout=Layout(
            data=(0, _length(outer["data"].value)),
            **{name: _place(data.get(name)) for name in CATEGORIES},
        ),
        data_start=outer["data"].value.start,
        size=size,
    )


def _render_data(upload: Upload) -> tuple[list, dict[str, tuple[int, int]]]:
    """Return the pieces of ``data`` up to the document's end, and where in ``data`` what lies."""
    pieces, layout, size = [], {}, 0
    others = [name for name in upload.members if name not in (*CATEGORIES, "clientTimestamp")]
    for name in (*CATEGORIES, *others):
        if member := upload.members.get(name):
            token, value = upload.text[member.name], upload.text[member.value]
        else:
            token, value = b'"%s"' % name.encode(), b"[]"
        introduction = (b"," if pieces else b"{") + bytes(token) + b":"
        size += len(introduction)
        if name in CATEGORIES:
            layout[name] = (size, len(value))
        size += len(value)
        pieces += [introduction, value]
    layout["data"] = (0, size + len(b"}"))
    return [*pieces, b"}}\n"], layout


def _place(member: Member | None) -> tuple[int, int]:
    return (member.value.start, _length(member.value)) if member else (0, 0)


def _length(part: slice) -> int:
    return part.stop - part.start
