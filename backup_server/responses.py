"""A stored document as an HTTP response: whole, on conditions, a range, or some categories."""

import os
from collections.abc import Iterator
from typing import BinaryIO

from flask import Response, request
from werkzeug.datastructures import ContentRange
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from .document import Head

# gunicorn's own blocks of a file, of 8 KB, take five times as long.
_BLOCK = 256 * 1024
#: A part of a body: bytes, or the offset and length of what lies in the file.
Piece = bytes | tuple[int, int]


def document(file: BinaryIO, head: Head) -> Response:
    """Send a document as it lies on the disk, or what a condition or a range asks of it."""
    response = _response(file, [(0, head.size)], "private, no-cache")
    # Not werkzeug's conditional answers: there a range wins over If-None-Match, several are a 416,
    # and a weak tag is enough for If-Range. The time tells of a file that was restored by hand.
    tag = f"{head.id}-{os.fstat(file.fileno()).st_mtime_ns:x}-{head.size:x}"
    response.set_etag(tag)
    response.accept_ranges = "bytes"
    if request.method != "POST" and request.if_none_match.contains_weak(tag):
        response.status_code = 304
    elif asked := _range(tag, head.size):
        start, end = asked
        if start >= head.size:
            response.close()
            raise RequestedRangeNotSatisfiable(head.size)
        response.status_code = 206
        response.content_range = ContentRange("bytes", start, end, head.size)
        response.content_length = end - start
        response.response = _read(file, [(start, end - start)])
    return response


def categories(file: BinaryIO, head: Head, chosen: list[str]) -> Response:
    """Send id, timestamp and the chosen categories, read from where they lie in the file."""
    start = b'{"id":"%s","timestamp":%s,"data":{' % (head.id.encode(), bytes(head.timestamp))
    pieces: list[Piece] = [start]
    for name in chosen:
        place = head.part(name)
        comma = b"," if len(pieces) > 1 else b""
        pieces += [b'%s"%s":' % (comma, name.encode()), place if place[1] else b"[]"]
    return _response(file, [*pieces, b"}}"], "no-store")


def _response(file: BinaryIO, pieces: list[Piece], cache_control: str) -> Response:
    lengths = (len(piece) if isinstance(piece, bytes) else piece[1] for piece in pieces)
    response = Response(_read(file, pieces), mimetype="application/json")
    response.content_length = sum(lengths)
    response.headers["Cache-Control"] = cache_control
    response.call_on_close(file.close)
    return response


def _range(tag: str, size: int) -> tuple[int, int] | None:
    """Return where the one range that is asked for starts and ends; others are ignored (14.2)."""
    asked = request.range
    if request.method != "GET" or not asked or asked.units != "bytes" or len(asked.ranges) > 1:
        return None
    # Compared as strong validators; what differs, a weak tag or a date, gets everything (13.1.5).
    if request.headers.get("If-Range", f'"{tag}"') != f'"{tag}"':
        return None
    start, end = asked.ranges[0]
    return start if start >= 0 else max(0, size + start), min(size, end or size)


def _read(file: BinaryIO, pieces: list[Piece]) -> Iterator[bytes]:
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
