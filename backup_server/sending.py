"""Stored documents on their way out: whole, on conditions, in ranges, or only some categories."""

import os
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

from flask import Response, request
from werkzeug.datastructures import ContentRange
from werkzeug.exceptions import PreconditionFailed, RequestedRangeNotSatisfiable

from .document import Head

# What RFC 9110, section 14.2, lets a server ignore is ignored: several ranges, and what is none.
_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))", re.ASCII)
_CHUNK = 256 * 1024

#: What an answer is made of: bytes, and the offset and length of what lies in a file.
Piece = bytes | tuple[int, int]


class Document(NamedTuple):
    """A stored document open for reading; ``tag`` is its ETag without quotes."""

    file: BinaryIO
    head: Head
    tag: str


def opened(open_: Callable[..., tuple[BinaryIO, Head]], *args: Any) -> Document:
    """Open a document with one of the storage's methods."""
    file, head = open_(*args)
    # Files never change; should someone restore another one by hand, the tag tells.
    modified = os.fstat(file.fileno()).st_mtime_ns
    return Document(file, head, f"{head.id}-{modified:x}-{head.size:x}")


def whole(document: Document) -> Response:
    """Send a document as it lies on the disk."""
    body = _read(document, [(0, document.head.size)])
    response = Response(body, mimetype="application/json")
    response.content_length = document.head.size
    response.headers["Cache-Control"] = "private, no-cache"
    response.call_on_close(document.file.close)
    return response


def conditional(document: Document) -> Response:
    """Send a document, or what conditions or a range ask of it (RFC 9110, 13 and 14)."""
    try:
        response = whole(document)
        response.set_etag(document.tag)
        response.accept_ranges = "bytes"
        # Not left to werkzeug, for which "*" is no tag of this document (13.1.1).
        if request.if_match and not request.if_match.contains(document.tag):
            raise PreconditionFailed("The backup is not the one that If-Match asks for.")
        response.make_conditional(_remaining_conditions(request.environ))
        if response.status_code == 200 and (wanted := _range(document)):
            _send_part(response, document, *wanted)
        return response
    except BaseException:
        document.file.close()
        raise


def categories(document: Document, chosen: list[str]) -> Response:
    """Send id, timestamp and the chosen categories, read from where they lie in the file."""
    head = document.head
    introduction = b'{"id":"%s","timestamp":%s,"data":{' % (head.id.encode(), bytes(head.timestamp))
    pieces: list[Piece] = [introduction]
    for name in chosen:
        separator = b"," if len(pieces) > 1 else b""
        place = head.part(name)
        pieces += [separator + b'"%s":' % name.encode(), place if place[1] else b"[]"]
    pieces.append(b"}}")
    response = Response(_read(document, pieces), mimetype="application/json")
    response.content_length = sum(
        len(piece) if isinstance(piece, bytes) else piece[1] for piece in pieces
    )
    response.headers["Cache-Control"] = "no-store"
    response.call_on_close(document.file.close)
    return response


def _remaining_conditions(environ: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in environ.items()
        if name not in ("HTTP_IF_MATCH", "HTTP_RANGE", "HTTP_IF_RANGE")
    }


def _range(document: Document) -> tuple[int, int] | None:
    """Return the one range the request asks for, if it does: its start and its end (14.2).

    Raises RequestedRangeNotSatisfiable.
    """
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    if request.method != "GET" or not match:
        return None
    # Compared as strong validators; what differs, a weak tag or a date, gets everything (13.1.5).
    if request.headers.get("If-Range", f'"{document.tag}"').strip() != f'"{document.tag}"':
        return None
    first, last, suffix = match.groups()
    if last and int(last) < int(first):
        return None
    size = document.head.size
    start = max(0, size - int(suffix)) if suffix else int(first)
    if start >= size:
        raise RequestedRangeNotSatisfiable(size)
    return start, min(size, int(last) + 1) if last else size


def _send_part(response: Response, document: Document, start: int, end: int) -> None:
    response.status_code = 206
    response.content_range = ContentRange("bytes", start, end, document.head.size)
    response.content_length = end - start
    response.response = _read(document, [(start, end - start)])


def _read(document: Document, pieces: list[Piece]) -> Iterator[bytes]:
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        offset, length = piece
        while length:
            at_once = min(length, _CHUNK)
            chunk = os.pread(document.file.fileno(), at_once, offset)
            if not chunk:
                raise OSError(f"backup {document.head.id} has lost its end")
            yield chunk
            offset, length = offset + len(chunk), length - len(chunk)
