"""What a stored backup looks like: rendered from an upload, and read back in parts.

A stored document is two lines of JSON: a small head, and ``data`` with every value byte for byte as
the client sent it. The head may also have ``deviceId``, ``device``, the upload's ``key`` and the id
of its ``base``. A listing reads heads only, and a category is cut out by its ``layout``::

    {"id":"…","timestamp":"…","clientTimestamp":"…","version":1,"counts":{…},"layout":{…},"sha256":"…",
    "data":{"atoms":[…],"compositions":[…],"snapshots":[…],"voiceNotes":[…],"configOverrides":[…]}}

The SHA-256 is that of the file without its own 64 digits. A file in another form, of the Express
server or edited by hand, is parsed whole, and may have one in its outermost object before ``data``.
"""

import hashlib
import os
from collections.abc import Iterator
from itertools import chain
from typing import Annotated, BinaryIO, TypedDict

import msgspec

from . import rawjson
from .errors import DamagedBackup, InvalidBackup
from .rawjson import CHUNK
from .upload import CATEGORIES, Excerpt, Piece, Upload

#: A head always fits in this many bytes: what a client can put into it is limited.
HEAD_BYTES = 4096
#: The length of a SHA-256 in hexadecimal digits.
DIGITS = 64
#: The largest file without a head that is parsed, in bytes. The Express server took 50 MB.
LARGEST_EXPRESS = 512 * 1024 * 1024

_DATA = b'\n"data":'
_Size = Annotated[int, msgspec.Meta(ge=0)]
_Counts = TypedDict("_Counts", dict.fromkeys(CATEGORIES, int))
_Layout = TypedDict("_Layout", dict.fromkeys(("data", *CATEGORIES), tuple[_Size, _Size]))


class Head(msgspec.Struct, rename="camel", omit_defaults=True):
    """What is known of a stored document without reading its data.

    ``timestamp`` and ``client_timestamp`` are JSON text. ``layout`` gives where ``data`` and each
    category start, counted from ``data_start``, and their lengths. The digits of the SHA-256, if it
    has one, are at ``digits_at``. ``others`` gives where the other members of ``data`` start and
    stop in the file; None where no change can be made to a data of this form.
    """

    id: str
    timestamp: msgspec.Raw
    client_timestamp: msgspec.Raw
    version: int
    counts: _Counts
    layout: _Layout
    device_id: str | None = None
    device: str | None = None
    base: str | None = None
    key: str | None = None
    data_start: int = 0
    size: int = 0
    digits_at: int | None = None
    others: list[tuple[int, int]] | None = None

    def part(self, category: str) -> tuple[int, int]:
        """Return the offset in the file and the length of a category; the length may be 0."""
        start, length = self.layout[category]
        return self.data_start + start, length

    def receipt(self) -> dict:
        """Return the answer to the upload that this was, for msgspec to encode."""
        return {name: getattr(self, name) for name in ("id", "timestamp", "size", "counts")}

    def entry(self) -> dict:
        """Return what a listing says of this backup, for msgspec to encode."""
        device = {"deviceId": self.device_id, "device": self.device}
        given = {name: value for name, value in device.items() if value is not None}
        return self.receipt() | {"clientTimestamp": self.client_timestamp} | given


_head_decoder = msgspec.json.Decoder(Head)


def render(
    upload: Upload, backup_id: str, timestamp: str, key: str | None
) -> tuple[Head, bytes, Iterator[bytes | memoryview]]:
    """Turn an upload into the document to be stored under this id.

    Returns its head, the bytes before the digits of its SHA-256, and the pieces after them.
    """
    data, layout = upload.data()
    sent_at, *device = upload.origin
    now = msgspec.Raw(b'"%s"' % timestamp.encode())
    sent_at = msgspec.Raw(sent_at) if sent_at else now
    head = Head(backup_id, now, sent_at, 1, upload.counts, layout, *device, upload.base, key)
    before = msgspec.json.encode(head)[:-1] + b',"sha256":"'
    pieces: list[Piece] = [b'",' + _DATA, *data, b"}\n"]
    head.size = len(before) + DIGITS + sum(map(len, pieces))
    # A small one is written with one call: after each, a thread waits for its turn again.
    after = chain.from_iterable(p if isinstance(p, Excerpt) else [p] for p in pieces)
    return head, before, iter([b"".join(after)]) if head.size <= CHUNK else after


def read(file: BinaryIO) -> Head:
    """Read the head of a stored document; for a file in another form it is made up.

    Raises OSError, and DamagedBackup for what neither server wrote, or what has lost its end.
    """
    size = os.fstat(file.fileno()).st_size
    start = os.pread(file.fileno(), HEAD_BYTES, 0)
    end = start.find(_DATA) if start.startswith(b'{"id":"') else -1
    try:
        if end > 0:
            return _read_own(start[:end], size)
        if size > LARGEST_EXPRESS:
            raise DamagedBackup(f"It has no head, and {size} bytes: no Express server wrote that.")
        # Not mapped: where a mapped file fails to be read, the process is killed (SIGBUS).
        return _read_other(os.pread(file.fileno(), size, 0))
    except (InvalidBackup, msgspec.MsgspecError) as error:
        raise DamagedBackup(f"It cannot be read: {str(error).rstrip('.')}.") from error


def check(file: BinaryIO, head: Head) -> None:
    """Compare a stored document with its SHA-256, if it has one; raise OSError or DamagedBackup."""
    if head.digits_at is None:
        return
    descriptor, end = file.fileno(), head.digits_at + DIGITS
    digest = hashlib.sha256(os.pread(descriptor, head.digits_at, 0))
    for start in range(end, head.size, CHUNK):
        digest.update(os.pread(descriptor, CHUNK, start))
    if digest.hexdigest().encode() != os.pread(descriptor, DIGITS, head.digits_at):
        raise DamagedBackup("Its bytes do not match its SHA-256.")


def _read_own(text: bytes, size: int) -> Head:
    rawjson.check_utf8(text)  # msgspec does not look at what it leaves as JSON text
    head = rawjson.read(text.removesuffix(b",") + b"}", _head_decoder.decode)
    head.size, head.data_start = size, len(text) + len(_DATA)
    head.digits_at = len(text) - len(b'",') - DIGITS
    stop = sum(head.layout["data"])
    if size != (written := head.data_start + stop + len(b"}\n")):
        raise DamagedBackup(f"It has {size} bytes where {written} were written.")
    for name in CATEGORIES:
        if sum(head.layout[name]) > stop:
            raise DamagedBackup(f"Its head gives {name} a place outside data.")
    # Version 1.0.0 wrote the members in the order, and with the names, that were sent.
    end = sum(head.layout[CATEGORIES[-1]])
    if end == sum(len(f',"{name}":') + head.layout[name][1] for name in CATEGORIES):
        others = (head.data_start + end + len(b","), head.data_start + stop - len(b"}"))
        head.others = [others] if others[0] < others[1] else []
    return head


def _read_other(whole: bytes) -> Head:
    """Make up a head for a file in another form: the Express server wrote only id, times, data."""
    outer = rawjson.members(whole)
    if not {"id", "timestamp", "data"} <= outer.keys():
        raise DamagedBackup("It is not a backup: id, timestamp or data is missing.")
    outer.setdefault("clientTimestamp", outer["timestamp"])
    _, data, data_start = outer["data"]
    counts, layout = dict.fromkeys(CATEGORIES, 0), dict.fromkeys(CATEGORIES, (0, 0))
    others = []
    for name, (text, value, start) in rawjson.members(data).items():
        stop = data_start + start + len(value)
        if name not in CATEGORIES:
            others.append((stop - len(text), stop))
            continue
        layout[name] = (start, len(value))
        if value[:1] == b"[":
            counts[name] = rawjson.count(name, value)
    known = [name for name in Head.__struct_encode_fields__ if name in outer]
    head = {name: msgspec.Raw(outer[name].value) for name in known}
    head |= {"version": 1, "counts": counts, "layout": {"data": (0, len(data)), **layout}}
    head |= {"dataStart": data_start, "size": len(whole), "others": others, "digitsAt": None}
    if "sha256" in outer and outer["sha256"].start < data_start:
        head["digitsAt"] = outer["sha256"].start + len(b'"')
    return rawjson.read(msgspec.json.encode(head), _head_decoder.decode)
