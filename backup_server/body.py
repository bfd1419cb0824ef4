"""A request's body as bytes: its type, its gzip coding, and the limit on its size.

A small body is held in memory. A larger one goes through a nameless file in the storage directory
and is mapped, so that the memory of many large uploads is the kernel's to take back.
"""

import gzip
import mmap
import tempfile
import zlib
from pathlib import Path
from typing import NamedTuple

from flask import Request
from gunicorn.http.errors import ParseException

from .durable import translate_os_errors
from .errors import BodyStalled, BodyTooLarge, InvalidBackup, UnsupportedBody
from .rawjson import Text

#: A larger body is kept in a file.
IN_MEMORY_BYTES = 64 * 1024
# As much as gunicorn reads ahead: each time a piece of it is taken, it copies the rest.
_CHUNK = 1024 * 1024
_PLAIN_TYPES = ("", "application/json", "text/plain")
_GZIP_TYPE = "application/gzip"


class Limit(NamedTuple):
    """The most bytes after decompression, and for the error who sets it."""

    size: int
    source: str


def receive(request: Request, directory: Path, limit: Limit) -> Text:
    """Return a request's body after decompression; ``directory`` is where a large one is kept.

    Raises UnsupportedBody, BodyTooLarge, BodyStalled, InvalidBackup for a body that breaks off or
    cannot be decompressed, and NoRoom or Unavailable where it cannot be kept.
    """
    gzipped = _is_gzipped(request)
    if not gzipped and (request.content_length or 0) > limit.size:
        raise _too_large(limit)
    source = _Incoming(request, limit)
    if gzipped:
        source = gzip.GzipFile(fileobj=source)
    size = 0
    with (
        translate_os_errors("The upload cannot be received"),
        tempfile.SpooledTemporaryFile(
            IN_MEMORY_BYTES, dir=directory, prefix=".upload-", suffix=".tmp"
        ) as spool,
    ):
        while chunk := _read(source):
            size += len(chunk)
            if size > limit.size:
                raise _too_large(limit)
            spool.write(chunk)
        if size <= IN_MEMORY_BYTES:  # it has no file yet
            spool.seek(0)
            return spool.read()
        spool.flush()
        # Private, since files that bypass the page cache cannot be mapped shared (FUSE).
        return mmap.mmap(spool.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)


class _Incoming:
    """The body as it is sent; the ways in which reading it can fail are raised as our errors."""

    def __init__(self, request: Request, limit: Limit):
        self._stream = request.stream
        self._expected = request.content_length
        self._limit = limit
        self._received = 0
        # Compressed bytes have a limit too, since they may hold nothing. gzip adds less than this.
        self._most = limit.size + limit.size // 100 + IN_MEMORY_BYTES

    def read(self, size: int) -> bytes:
        try:
            data = self._stream.read(size)
        except (TimeoutError, BlockingIOError) as error:  # the limit of Python or of the kernel
            raise BodyStalled("The body stopped coming; send it again.") from error
        except ParseException as error:
            raise InvalidBackup(f"The body is not valid chunked coding: {error}.") from error
        except OSError as error:
            raise InvalidBackup("The connection broke before the body's end.") from error
        self._received += len(data)
        if self._received > self._most:
            raise _too_large(self._limit)
        if not data and self._received < (self._expected or 0):
            raise InvalidBackup(
                f"The body broke off after {self._received} of {self._expected} bytes."
            )
        return data


def _read(source: _Incoming | gzip.GzipFile) -> bytes:
    try:
        return source.read(_CHUNK)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InvalidBackup(f"The body is not valid gzip: {error}.") from error


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
    return BodyTooLarge(f"The body is larger than {limit.size} bytes, the limit of {limit.source}.")
