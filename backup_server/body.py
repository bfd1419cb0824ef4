"""A request's body on its way in: decoded, bounded, and never waited for without end.

Up to a megabyte is held in memory; what is larger goes through a nameless file in the storage
directory and is read by mapping it, so that the memory of many large uploads is the kernel's to
take back.
"""

import mmap
import threading
import time
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from flask import Request, Response
from gunicorn.http.errors import ParseException

from .errors import BodyStalled, BodyTooLarge, InvalidBackup, UnsupportedBody
from .members import Text
from .storage import Storage

#: Seconds without a byte after which a client is given up.
IDLE_SECONDS = 20
#: Seconds for which the rest of a refused body is read, so that the client gets to the answer,
#: and without a byte after which it is not.
DRAIN_SECONDS, DRAIN_IDLE_SECONDS = 300, 5

_CHUNK = 256 * 1024
_IN_MEMORY = 1024 * 1024
# Threads that wait for refused bodies; where none is left, the worker's own linger has to do.
_drain_slots = threading.BoundedSemaphore(16)
# More would only be made to keep a processor busy.
_GZIP_MEMBERS = 1000
_PLAIN_TYPES = ("", "application/json", "text/plain")
_GZIP_TYPE = "application/gzip"


class Limit(NamedTuple):
    """The most bytes a body may have after decompression, what says so, and what has them."""

    size: int
    source: str
    subject: str = "The body"


def receive(request: Request, storage: Storage, limit: Limit) -> Text:
    """Return a request's body after decompression.

    Raises UnsupportedBody, BodyTooLarge, BodyStalled, and InvalidBackup for a body that breaks off
    or cannot be decompressed.
    """
    gzipped = _is_gzipped(request)
    if not gzipped and (request.content_length or 0) > limit.size:
        raise _too_large(limit)
    _set_timeout(request, IDLE_SECONDS)
    chunks = _incoming(request, limit)
    return collect(_decompressed(chunks) if gzipped else chunks, storage, limit)


def drain_after(response: Response, request: Request) -> None:
    """Read the rest of the request's body after this response has been sent.

    A connection that is closed with bytes unread is reset, and the client, still sending, would
    never see the answer (RFC 9112, section 9.6).
    """
    response.call_on_close(lambda: _drain(request))


def _incoming(request: Request, limit: Limit) -> Iterator[bytes]:
    """Yield the body as it is sent, the ways in which that can fail turned into our errors."""
    # Compressed bytes that come to nothing must end too; gzip adds less than this.
    most = limit.size + limit.size // 100 + _CHUNK
    received = 0
    while data := _read(request):
        received += len(data)
        if received > most:
            raise _too_large(limit)
        yield data
    expected = request.content_length
    if expected is not None and received < expected:
        raise InvalidBackup(f"The body broke off after {received} of {expected} bytes.")


def _read(request: Request) -> bytes:
    try:
        return request.stream.read(_CHUNK)
    except TimeoutError as error:
        raise BodyStalled("The body stopped coming; send it again.") from error
    except ParseException as error:
        raise InvalidBackup(f"The body is not valid chunked coding: {error}.") from error
    except OSError as error:
        raise InvalidBackup("The connection broke before the body's end.") from error


def _decompressed(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the contents of a gzip file, member by member (RFC 1952, section 2.2)."""
    compressed = next(chunks, b"")
    for _ in range(_GZIP_MEMBERS):
        if not compressed:
            return
        member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # gzip's header and checksum
        while not member.eof:
            if not compressed:
                raise InvalidBackup("The body is not valid gzip: it ends too early.")
            try:
                yield member.decompress(compressed, _CHUNK)
            except zlib.error as error:
                raise InvalidBackup(f"The body is not valid gzip: {error}.") from error
            compressed = member.unused_data or member.unconsumed_tail or next(chunks, b"")
    if compressed:
        raise InvalidBackup(f"The body is made of more than {_GZIP_MEMBERS} gzip members.")


def _is_gzipped(request: Request) -> bool:
    media_type = request.mimetype
    if media_type not in (*_PLAIN_TYPES, _GZIP_TYPE):
        raise UnsupportedBody(
            f"Content-Type {media_type} is not understood: send application/json, text/plain or "
            f"{_GZIP_TYPE}."
        )
    coding = request.headers.get("Content-Encoding", "").strip().lower()
    transfer = request.headers.get("Transfer-Encoding", "chunked").strip().lower()
    if transfer != "chunked" or coding not in ("", "gzip") or (coding and media_type == _GZIP_TYPE):
        raise UnsupportedBody("Compress the body once, with gzip, or not at all.")
    return coding == "gzip" or media_type == _GZIP_TYPE


def collect(chunks: Iterator[bytes], storage: Storage, limit: Limit) -> Text:
    """Keep what comes in pieces, in a file if it is large; raise BodyTooLarge."""
    memory = bytearray()
    for chunk in chunks:
        memory += chunk
        if len(memory) > limit.size:
            raise _too_large(limit)
        if len(memory) > _IN_MEMORY:
            return _collect_on_disk(memory, chunks, storage, limit)
    return bytes(memory)


def _collect_on_disk(
    start: bytearray, chunks: Iterator[bytes], storage: Storage, limit: Limit
) -> mmap.mmap:
    size = len(start)
    with storage.spool() as file:
        file.write(start)
        start.clear()
        for chunk in chunks:
            size += len(chunk)
            if size > limit.size:
                raise _too_large(limit)
            file.write(chunk)
        file.flush()
        # Private, since files that bypass the page cache cannot be mapped shared (FUSE).
        return mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)


def _too_large(limit: Limit) -> BodyTooLarge:
    return BodyTooLarge(
        f"{limit.subject} is larger than {limit.size} bytes, the limit of {limit.source}."
    )


def _set_timeout(request: Request, seconds: float) -> None:
    # gunicorn's threaded worker has no timeout of its own for a client that stalls.
    if connection := request.environ.get("gunicorn.socket"):
        connection.settimeout(seconds)


def _drain(request: Request) -> None:
    if not _drain_slots.acquire(blocking=False):
        return
    deadline = time.monotonic() + DRAIN_SECONDS
    try:
        _set_timeout(request, DRAIN_IDLE_SECONDS)
        while time.monotonic() < deadline and request.stream.read(_CHUNK):
            pass
    except (OSError, ParseException):
        pass  # the client has gone, or went on with something else; the answer was sent
    finally:
        _drain_slots.release()
