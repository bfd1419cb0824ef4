"""What a backup is: an upload checked, turned into a stored document, and read back in parts.

A stored document is two lines of JSON. The first, the head, is small: id, timestamps, counts, where
each category lies (``layout``), the upload's key and a SHA-256. The second is ``data``, with every
value byte for byte as the client sent it. So a listing reads heads only, a category is cut out by
its offsets, and nothing is parsed twice::

    {"id":"…","timestamp":"…","clientTimestamp":"…","version":1,"counts":{…},"layout":{…},"sha256":"…",
    "data":{"atoms":[…],"compositions":[…],"snapshots":[…],"voiceNotes":[…],"configOverrides":[…]}}

The SHA-256 is that of the whole file with its own 64 digits left out, which ``sed`` and
``sha256sum`` can check as well as ``verify``. Files of the Express server have none of this: they
are parsed whole when they are first met.
"""

import codecs
import hashlib
import json
import mmap
import re
import threading
from typing import NamedTuple

import msgspec

from .errors import DamagedBackup, InvalidBackup

CATEGORIES = ("atoms", "compositions", "snapshots", "voiceNotes", "configOverrides")

#: A head always fits in this many bytes: what the client may put in it is limited.
HEAD_BYTES = 4096
#: The longest ``clientTimestamp`` as JSON text, quotes included.
CLIENT_TIMESTAMP_BYTES = 1024

#: The most members a body may have, and the longest name of one as JSON text; the front end sends
#: six short ones.
MOST_MEMBERS = 10_000
NAME_BYTES = 1024
#: How many hexadecimal digits a SHA-256 has.
DIGITS = 64

_CHUNK = 64 * 1024
# msgspec makes an object of every item it counts. A text of so many commas may have as many items,
# and is counted by walking over it: slower, but in no memory.
_MANY_COMMAS = 1_000_000

_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_NAME = re.compile(rb"[{,\s]*(" + _STRING + rb")\s*:\s*", re.DOTALL)


def _container(depth: int) -> bytes:
    """Return a pattern for an array or object with at most so many levels of others in it."""
    inner = b"|" + _container(depth - 1) if depth else b""
    return rb'[\[{](?:[^"\[\]{}]++|' + _STRING + inner + rb")*+[\]}]"


# A string, a container that is not nested deep, a bracket of one that is, or (1) what is between.
_STRUCTURE = re.compile(_STRING + b"|" + _container(4) + rb'|[\[\]{}]|([^"\[\]{}]++)', re.DOTALL)
_STEPS = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}
_EMPTY_ARRAY = re.compile(rb"\[\s*\]")
_DATA = b'\n"data":'
_CLIENT_TIMESTAMP = re.compile(rb'"clientTimestamp":(' + _STRING + rb")", re.DOTALL)
_SHA256 = re.compile(rb'"sha256":"([0-9a-f]{64})"')
# Half a UTF-16 pair, escaped. JSON allows it (RFC 8259, section 8.2) and JSON.stringify writes it
# for half an emoji; msgspec refuses it.
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_one_copy_at_a_time = threading.Lock()

_array_decoder = msgspec.json.Decoder(list[msgspec.Raw])

Text = bytes | mmap.mmap


class _Name:
    """A member's name. No two are equal, so that a dict keeps all members and their order."""


class Member(NamedTuple):
    """Where one member of an object lies in its text: its name with the quotes, and its value."""

    name: slice
    value: slice


class Upload(NamedTuple):
    """A checked upload, whose members still lie in ``text``; ``counts`` is by category."""

    text: memoryview
    members: dict[str, Member]
    counts: dict[str, int]

    @property
    def client_timestamp(self) -> bytes | None:
        """The client's own time as JSON text, quotes and escapes as they were sent."""
        member = self.members.get("clientTimestamp")
        return bytes(self.text[member.value]) if member else None


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


def check_upload(text: Text) -> Upload:
    """Check an upload's body; raise InvalidBackup, which says what is wrong and where."""
    members, counts = _split(text)
    for name, count in counts.items():
        if count is None:
            raise InvalidBackup(f"The member {name} must be an array.")
    upload = Upload(memoryview(text), members, counts)
    _check_client_timestamp(upload.client_timestamp)
    return upload


def render(upload: Upload, backup_id: str, timestamp: str, key: str | None) -> Document:
    """Turn an upload into the document to be stored under this id."""
    data, layout = _render_data(upload)
    now = b'"%s"' % timestamp.encode()
    members = {
        "id": backup_id,
        "timestamp": msgspec.Raw(now),
        "clientTimestamp": msgspec.Raw(upload.client_timestamp or now),
        "version": 1,
        "counts": upload.counts,
        "layout": layout,
    }
    if key is not None:
        members["key"] = key
    before = msgspec.json.encode(members)[:-1] + b',"sha256":"'
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
    kept = _SHA256.search(text, 0, HEAD_BYTES)
    if not kept:
        raise DamagedBackup("Its SHA-256 is missing.")
    view = memoryview(text)
    digest = hashlib.sha256(view[: kept.start(1)])
    digest.update(view[kept.end(1) :])
    if digest.hexdigest().encode() != kept[1]:
        raise DamagedBackup("Its bytes do not match its SHA-256.")


def _own_head(text: Text, end: int, size: int) -> Head:
    head = _decode_head(text[:end].removesuffix(b",") + b"}")
    head.data_start = end + len(_DATA)
    head.size = head.data_start + sum(head.layout.data) + len(b"}\n")
    if head.size != size:
        raise DamagedBackup(f"It has {size} bytes where {head.size} were written.")
    return head


def _decode_head(text: bytes) -> Head:
    try:
        return msgspec.json.decode(text, type=Head)
    except msgspec.DecodeError:
        # Half an emoji in the only member that is the client's own.
        member = _CLIENT_TIMESTAMP.search(text)
        if not member:
            raise
        head = msgspec.json.decode(_without_surrogates(text), type=Head)
        head.client_timestamp = msgspec.Raw(member[1])
        return head


def _express_head(text: Text, size: int) -> Head:
    """Make up a head for a file of the Express server, which wrote only id, times and data."""
    view = memoryview(text)
    outer, _ = _split(text)
    if not {"id", "timestamp", "data"} <= outer.keys():
        raise DamagedBackup("It is not a backup: id, timestamp or data is missing.")
    data, counts = _split(bytes(view[outer["data"].value]))
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


def _check_client_timestamp(text: bytes | None) -> None:
    if text is None:
        return
    if text[:1] != b'"':
        raise InvalidBackup("The member clientTimestamp must be a string.")
    if len(text) > CLIENT_TIMESTAMP_BYTES:
        raise InvalidBackup(
            f"The member clientTimestamp is longer than {CLIENT_TIMESTAMP_BYTES} bytes."
        )


def _place(member: Member | None) -> tuple[int, int]:
    return (member.value.start, _length(member.value)) if member else (0, 0)


def _length(part: slice) -> int:
    return part.stop - part.start


def _split(text: Text) -> tuple[dict[str, Member], dict[str, int | None]]:
    """Check a text to be one JSON object; return its members and the counts by category.

    Of members with one name the last counts, as in JSON.parse. The count of a category that is
    absent is 0, that of one that is not an array None.
    """
    commas = _check_utf8(memoryview(text))
    try:
        try:
            return _split_checked(text, text, commas)
        except InvalidBackup:
            if not _SURROGATE_ESCAPE.search(text):
                raise
        with _one_copy_at_a_time:
            return _split_checked(text, _without_surrogates(text), commas)
    except RecursionError as error:
        raise InvalidBackup("The body is nested too deep to read.") from error


def _check_utf8(view: memoryview) -> int:
    """Check the encoding a piece at a time; return the number of commas seen on the way."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    commas = 0
    for start in range(0, len(view), _CHUNK):
        chunk = bytes(view[start : start + _CHUNK])
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(chunk, final=start + _CHUNK >= len(view))
        except UnicodeDecodeError as error:
            at = start - pending + error.start
            raise InvalidBackup(f"The body is not valid UTF-8 (byte {at}).") from error
        if len(view) > _MANY_COMMAS:  # counting is not for nothing: 0.3 ms a megabyte
            commas += chunk.count(b",")
    return commas


def _without_surrogates(text: Text) -> bytearray:
    """Copy a text with every escaped surrogate turned into another character's escape."""
    copy = bytearray(text)
    for match in _SURROGATE_ESCAPE.finditer(text):
        copy[match.start() + 2] = ord("0")
    return copy


def _split_checked(
    text: Text, readable: Text | bytearray, commas: int
) -> tuple[dict[str, Member], dict[str, int | None]]:
    """Do :func:`_split` on what msgspec can read: the text, or an equally long copy of it."""
    members = _members(memoryview(text), _lengths(readable))
    counts: dict[str, int | None] = dict.fromkeys(CATEGORIES, 0)
    view = memoryview(readable)
    for name in counts.keys() & members.keys():
        counts[name] = _count(view[members[name].value], commas)
    return members, counts


def _lengths(readable: Text | bytearray) -> list[int]:
    """Check a text to be a JSON object; return the lengths of its values in bytes, in order."""
    seen = 0

    def name(_: type, text: str) -> _Name:
        nonlocal seen
        seen += 1
        if seen > MOST_MEMBERS:
            raise InvalidBackup(f"The body has more than {MOST_MEMBERS} members.")
        if len(text) > NAME_BYTES:
            raise _name_too_long()
        return _Name()

    try:
        values = msgspec.json.decode(readable, type=dict[_Name, msgspec.Raw], dec_hook=name)
    except msgspec.ValidationError as error:
        raise InvalidBackup("The body must be a JSON object.") from error
    except msgspec.DecodeError as error:
        reason = str(error).removeprefix("JSON is malformed: ")
        if "truncated" in reason:
            reason = f"it ends too early (byte {len(readable)})" if len(readable) else "it is empty"
        raise InvalidBackup(f"The body is not valid JSON: {reason}.") from error
    return [len(memoryview(value)) for value in values.values()]


def _members(view: memoryview, lengths: list[int]) -> dict[str, Member]:
    """Find the members of a valid object by the lengths of all its values."""
    members, position = {}, 0
    for length in lengths:
        match = _NAME.match(view, position)
        if len(match[1]) > NAME_BYTES:
            raise _name_too_long()
        position = match.end() + length
        value = slice(match.end(), position)
        members[json.loads(match[1].decode())] = Member(slice(*match.span(1)), value)
    return members


def _name_too_long() -> InvalidBackup:
    return InvalidBackup(f"The name of a member is longer than {NAME_BYTES} bytes.")


def _count(value: memoryview, commas: int) -> int | None:
    """Count the items of a valid value, if it is an array."""
    if value[:1] != b"[":
        return None
    if commas <= _MANY_COMMAS:
        return len(_array_decoder.decode(value))
    if _EMPTY_ARRAY.fullmatch(value):
        return 0
    depth, between = 1, 0
    for match in _STRUCTURE.finditer(value, 1):
        depth += _STEPS.get(match[0], 0)
        if depth == 1 and match[1]:
            between += match[1].count(b",")
    return between + 1
