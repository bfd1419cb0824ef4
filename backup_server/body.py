"""A request's body as bytes: its type, its gzip coding, and the limit on its size.

A small body is held in memory. A larger one goes through a nameless file in the storage directory
and is mapped, so that the memory of many large uploads is the kernel's to take back.
"""

import gzip
import mmap
import tempfile
import zlib
from pathlib import Path

from flask import Request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import RequestTimeout, UnsupportedMediaType

from .errors import BodyTooLarge, InvalidBackup
from .rawjson import Text

_IN_MEMORY_BYTES = 64 * 1024
# As much as gunicorn reads ahead: each time a piece of it is taken, it copies the rest.
_CHUNK = 1024 * 1024
_TYPES = ("application/json", "text/plain", "application/gzip")


def receive(request: Request, directory: Path, limit: int) -> Text:
    """Return a request's body after decompression; ``directory`` is where a large one is kept.

    Raises UnsupportedMediaType, BodyTooLarge, RequestTimeout, InvalidBackup and OSError.
    """
    source = _Incoming(request, limit)
    if _is_gzipped(request):
        source = gzip.GzipFile(fileobj=source)
    else:
        _check_size(request.content_length or 0, limit)
    size = 0
    with tempfile.SpooledTemporaryFile(
        _IN_MEMORY_BYTES, dir=directory, prefix=".upload-", suffix=".tmp"
    ) as spool:
        try:
            while chunk := source.read(_CHUNK):
                size += len(chunk)
                _check_size(size, limit)
                spool.write(chunk)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InvalidBackup(f"The body is not valid gzip: {error}.") from error
        if size <= _IN_MEMORY_BYTES:  # it has no file yet
            spool.seek(0)
            return spool.read()
        spool.flush()
        # Private, since files that bypass the page cache cannot be mapped shared (FUSE).
        return mmap.mmap(spool.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)


class _Incoming:
    """The body as it is sent; what goes wrong while it is read is no OSError."""

    def __init__(self, request: Request, limit: int):
        self._request, self._limit, self._received = request, limit, 0

    def read(self, size: int) -> bytes:
        try:
            data = self._request.stream.read(size)
        except (TimeoutError, BlockingIOError) as error:  # the limit of Python or of the kernel
            raise RequestTimeout("The body stopped coming; send it again.") from error
        except (ParseException, OSError) as error:
            raise InvalidBackup(f"The body broke off, or its chunks are wrong: {error}.") from error
        self._received += len(data)
        # Compressed bytes have a limit too, since they may hold nothing. gzip adds less than this.
        _check_size(self._received - self._limit // 100 - _IN_MEMORY_BYTES, self._limit)
        expected = self._request.content_length or 0
        if not data and self._received < expected:
            raise InvalidBackup(f"The body broke off after {self._received} of {expected} bytes.")
        return data


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise BodyTooLarge(f"The body is larger than {limit} bytes, the limit of MAX_BODY_BYTES.")


def _is_gzipped(request: Request) -> bool:
    media_type = request.mimetype
    if media_type and media_type not in _TYPES:
        raise UnsupportedMediaType(f"Content-Type {media_type} is not one of {', '.join(_TYPES)}.")
    is_gzip = media_type == "application/gzip"
    coding = request.headers.get("Content-Encoding", "").strip().lower()
    transfer = request.headers.get("Transfer-Encoding", "chunked").strip().lower()
    if transfer != "chunked" or coding not in ("", "gzip") or (coding and is_gzip):
        raise UnsupportedMediaType("Compress the body once, with gzip, or not at all.")
    return is_gzip or coding == "gzip"
