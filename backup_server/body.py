"""A request's body on its way in: decoded, bounded, and never waited for without end.

While it is small it is held in memory; what is larger goes through a nameless file in the storage
directory and is read by mapping it. So clients that send slowly cost little memory, and that of
many large uploads is the kernel's to take back.
"""

import mmap
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

from flask import Request
from gunicorn.http.errors import ParseException

from .errors import BodyStalled, BodyTooLarge, InvalidBackup, UnsupportedBody
from .rawjson import Text
from .storage import Storage

#: What is larger is kept in a file.
IN_MEMORY_BYTES = 64 * 1024
# As much as gunicorn reads ahead: each time a piece of it is taken, it copies the rest.
_CHUNK = 1024 * 1024
# The most gzip members in a body. Only an attack, which keeps a processor busy, has more.
_GZIP_MEMBERS = 1000
_PLAIN_TYPES = ("", "application/json", "text/plain")
_GZIP_TYPE = "application/gzip"


class Limit(NamedTuple):
    """The most bytes after decompression; for the error: who sets it, and what it is of."""

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
    kept = _Kept(storage, limit)
    keep = _Unzipping(kept) if gzipped else kept
    try:
        for chunk in _incoming(request, limit):
            keep.add(chunk)
        return keep.text()
    finally:
        kept.close()


def collect(chunks: Iterable[bytes | memoryview], storage: Storage, limit: Limit) -> Text:
    """Keep what comes in pieces, in a file if it is large; raise BodyTooLarge."""
    kept = _Kept(storage, limit)
    try:
        for chunk in chunks:
            kept.add(chunk)
        return kept.text()
    finally:
        kept.close()


class _Kept:
    """What has come of a body: in memory, or in a file from IN_MEMORY_BYTES on."""

    def __init__(self, storage: Storage, limit: Limit):
        self._storage = storage
        self._limit = limit
        self._size = 0
        self._memory = bytearray()
        self._file: BinaryIO | None = None

    def add(self, chunk: bytes | memoryview) -> None:
        self._size += len(chunk)
        if self._size > self._limit.size:
            raise _too_large(self._limit)
        if self._size <= IN_MEMORY_BYTES:
            self._memory += chunk
            return
        with self._storage.receiving():
            if self._file is None:
                self._file = self._storage.spool()
                self._file.write(self._memory)
                self._memory = bytearray()
            self._file.write(chunk)

    def text(self) -> Text:
        if self._file is None:
            return bytes(self._memory)
        with self._storage.receiving():
            self._file.flush()
            # Private, since files that bypass the page cache cannot be mapped shared (FUSE).
            return mmap.mmap(self._file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)

    def close(self) -> None:
        if self._file is not None:
            with self._storage.receiving():
                self._file.close()


class _Unzipping:
    """Keeps the contents of a gzip file, member by member (RFC 1952, section 2.2)."""

    def __init__(self, kept: _Kept):
        self._kept = kept
        self._member: Any = None
        self._members = 0

    def add(self, compressed: bytes) -> None:
        while compressed:
            if self._member is None:
                self._begin_member()
            try:
                self._kept.add(self._member.decompress(compressed, _CHUNK))
            except zlib.error as error:
                raise InvalidBackup(f"The body is not valid gzip: {error}.") from error
            compressed = self._member.unused_data or self._member.unconsumed_tail
            if self._member.eof:
                self._member = None

    def text(self) -> Text:
        if self._member is not None:
            raise InvalidBackup("The body is not valid gzip: it ends too early.")
        return self._kept.text()

    def _begin_member(self) -> None:
        self._members += 1
        if self._members > _GZIP_MEMBERS:
            raise InvalidBackup(f"The body is made of more than {_GZIP_MEMBERS} gzip members.")
        # gzip's header and checksum
        self._member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)


def _incoming(request: Request, limit: Limit) -> Iterator[bytes]:
    """Yield the body as it is sent, the ways in which that can fail turned into our errors."""
    # Compressed bytes have a limit too, since they may hold nothing. gzip adds less than this.
    most = limit.size + limit.size // 100 + IN_MEMORY_BYTES
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
    except (TimeoutError, BlockingIOError) as error:  # the limit of Python or of the kernel
        raise BodyStalled("The body stopped coming; send it again.") from error
    except ParseException as error:
        raise InvalidBackup(f"The body is not valid chunked coding: {error}.") from error
    except OSError as error:
        raise InvalidBackup("The connection broke before the body's end.") from error


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


def _too_large(limit: Limit) -> BodyTooLarge:
    return BodyTooLarge(
        f"{limit.subject} is larger than {limit.size} bytes, the limit of {limit.source}."
    )
