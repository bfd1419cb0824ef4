"""A stored document as an HTTP response: whole, on conditions, a range, or some categories."""

import os
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from flask import Response, request
from werkzeug.datastructures import ContentRange
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from .document import Head
from .durable import translate_os_errors

# What RFC 9110, section 14.2, lets a server ignore is ignored: several ranges, and what is none.
_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))", re.ASCII)
# gunicorn's own blocks of a file, of 8 KB, take five times as long.
_BLOCK = 256 * 1024

#: What a body is made of: bytes, and the offset and length of what lies in the file.
Piece = bytes | tuple[int, int]


def whole(file: BinaryIO, head: Head) -> Response:
    """Send a document as it lies on the disk, and close its file."""
    return _response(file, [(0, head.size)], "private, no-cache")


@translate_os_errors("The backup could not be read")
def conditional(file: BinaryIO, head: Head) -> Response:
    """Send a document, or what conditions or a range ask of it (RFC 9110, 13 and 14).

    Raises RequestedRangeNotSatisfiable.
    """
    response = whole(file, head)
    try:
        # Files never change; should someone restore another one by hand, the tag tells.
        modified = os.fstat(file.fileno()).st_mtime_ns
        tag = f"{head.id}-{modified:x}-{head.size:x}"
        response.set_etag(tag)
        response.accept_ranges = "bytes"
        # werkzeug is told of no range: it lets one win over If-None-Match, and a weak tag be enough
        # for If-Range.
        response.make_conditional(
            {
                "REQUEST_METHOD": request.method,
                "HTTP_IF_NONE_MATCH": request.headers.get("If-None-Match"),
            }
        )
        if response.status_code == 200 and (part := _range(tag, head.size)):
            response.status_code = 206
            response.content_range = ContentRange("bytes", *part, head.size)
            response.content_length = part[1] - part[0]
            response.response = _read(file, [(part[0], part[1] - part[0])])
    except BaseException:
        file.close()
        raise
    return response


def categories(file: BinaryIO, head: Head, chosen: list[str]) -> Response:
    """Send id, timestamp and the chosen categories, read from where they lie in the file."""
    pieces: list[Piece] = [
        b'{"id":"%s","timestamp":%s,"data":{' % (head.id.encode(), bytes(head.timestamp))
    ]
    for name in chosen:
        place = head.part(name)
        comma = b"," if len(pieces) > 1 else b""
        pieces += [b'%s"%s":' % (comma, name.encode()), place if place[1] else b"[]"]
    return _response(file, [*pieces, b"}}"], "no-store")


def _response(file: BinaryIO, pieces: list[Piece], cache_control: str) -> Response:
    response = Response(_read(file, pieces), mimetype="application/json")
    response.content_length = sum(
        len(piece) if isinstance(piece, bytes) else piece[1] for piece in pieces
    )
    response.headers["Cache-Control"] = cache_control
    response.call_on_close(file.close)
    return response


def _range(tag: str, size: int) -> tuple[int, int] | None:
    """Return the one range the request asks for, if it does: its start and its end (14.2)."""
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    if request.method != "GET" or not match:
        return None
    # Compared as strong validators; what differs, a weak tag or a date, gets everything (13.1.5).
    if request.headers.get("If-Range", f'"{tag}"').strip() != f'"{tag}"':
        return None
    first, last, suffix = match.groups()
    if last and int(last) < int(first):
        return None
    start = max(0, size - int(suffix)) if suffix else int(first)
    if start >= size:
        raise RequestedRangeNotSatisfiable(size)
    return start, min(size, int(last) + 1) if last else size


def _read(file: BinaryIO, pieces: Iterable[Piece]) -> Iterator[bytes]:
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        offset, length = piece
        while length:
            block = os.pread(file.fileno(), min(length, _BLOCK), offset)
            if not block:
                raise OSError("a backup has lost its end while it was sent")
            yield block
            offset, length = offset + len(block), length - len(block)
