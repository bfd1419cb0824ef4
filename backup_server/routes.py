"""The blueprint: seven endpoints, HTTP in, HTTP out."""

import fcntl
import json
import logging
import os
import re
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import msgspec
from flask import Blueprint, Response, current_app, request
from werkzeug.exceptions import PreconditionFailed
from werkzeug.wsgi import FileWrapper, wrap_file

from . import body, changes, ids
from .document import Head
from .errors import BackupError, InvalidBackup, Unavailable
from .members import Text
from .storage import Storage, StoredFile, iso
from .upload import CATEGORIES, Upload, check_upload

log = logging.getLogger("backup_server")
blueprint = Blueprint("backup", __name__, url_prefix="/api")

#: Uploads and restore requests received, and large answers sent, at once by one process. So clients
#: that stall take no more than these of its threads, and never all.
UPLOADS_AT_ONCE = 48
RESTORES_AT_ONCE = 16
LARGE_ANSWERS_AT_ONCE = 48
#: What is smaller, with what was sent before it, fits into the buffers of the kernel.
LARGE_ANSWER_BYTES = 64 * 1024

# What RFC 9110, section 14.2, lets a server ignore is ignored: several ranges, and what is none.
_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))", re.ASCII)
_KEY = re.compile(r"[A-Za-z0-9_-]{16,128}", re.ASCII)
_RESTORE_LIMIT = body.Limit(64 * 1024, "a restore request")
_CHUNK = 256 * 1024
_upload_slots = threading.BoundedSemaphore(UPLOADS_AT_ONCE)
_restore_slots = threading.BoundedSemaphore(RESTORES_AT_ONCE)
_answer_slots = threading.BoundedSemaphore(LARGE_ANSWERS_AT_ONCE)


@blueprint.post("/backup")
def create() -> Response:
    """Store the body, or the base that it changes, as a backup; answer once it is durable."""
    key = request.args.get("key")
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidBackup("The parameter key must be 16 to 128 of A-Z a-z 0-9 - and _.")
    if key and (receipt := _storage().find(key)):
        response = _json(msgspec.json.encode(receipt))
        body.drain_after(response, request._get_current_object())
        return response
    if not _upload_slots.acquire(blocking=False):
        raise Unavailable("Too many uploads at once; try again in a moment.")
    try:
        limit = body.Limit(current_app.config["MAX_BODY_BYTES"], "MAX_BODY_BYTES")
        text = body.receive(request, _storage(), limit)
        base = request.args.get("base")
        upload = check_upload(text) if base is None else _changed(text, base, limit)
        receipt, is_new = _storage().add(upload, key)
    finally:
        _upload_slots.release()
    response = _json(msgspec.json.encode(receipt), 201 if is_new else 200)
    if is_new:
        log.info("stored %s %d bytes", receipt.id, receipt.size)
        response.headers["Location"] = f"/api/backup/{receipt.id}"
    return response


@blueprint.get("/backup/list")
def list_backups() -> Response:
    """List the backups, newest first, a page of them or all."""
    limit, before = request.args.get("limit"), request.args.get("before")
    if limit is not None and not re.fullmatch(r"0*[1-9][0-9]{0,8}", limit, re.ASCII):
        raise InvalidBackup("The parameter limit must be a number, 1 or more.")
    if before is not None and not ids.is_id(before):
        raise InvalidBackup("The parameter before must be the id of a backup.")
    entries, last = _storage().page(int(limit) if limit else None, before)
    following = b',"next":"%s"' % last.encode() if last else b""
    response = _json(b'{"backups":[%s]%s}' % (b",".join(entries), following))
    if _is_large(response.content_length):
        response.call_on_close(_take_answer_slot())
    return response


@blueprint.get("/backup/latest")
def latest() -> Response:
    """Send the newest backup's document."""
    return _conditional(*_storage().open_latest())


@blueprint.get("/backup/<backup_id>")
def read(backup_id: str) -> Response:
    """Send a backup's document."""
    return _conditional(*_storage().open(backup_id))


@blueprint.delete("/backup/<backup_id>")
def delete(backup_id: str) -> Response:
    """Delete a backup."""
    _storage().delete(backup_id)
    log.info("deleted %s", backup_id)
    return _json(b'{"deleted":true}')


@blueprint.post("/restore")
def restore() -> Response:
    """Send a backup's document, or only the chosen categories of it."""
    if not _restore_slots.acquire(blocking=False):
        raise Unavailable("Too many restores at once; try again in a moment.")
    try:
        text = body.receive(request, _storage(), _RESTORE_LIMIT)
    finally:
        _restore_slots.release()
    backup_id, chosen = _restore_request(text)
    file, head = _storage().open(backup_id)
    return _document(file, head) if chosen is None else _categories(file, head, chosen)


@blueprint.get("/health")
def health() -> Response:
    """Tell whether backups can be stored."""
    report = {"status": "ok", "timestamp": iso(datetime.now(UTC))}
    try:
        _storage().check()
    except BackupError as error:
        report |= {"status": "unavailable", "error": str(error)}
    return _json(msgspec.json.encode(report), 503 if "error" in report else 200)


def _storage() -> Storage:
    return current_app.extensions["backup_storage"]


def _json(payload: bytes, status: int = 200) -> Response:
    response = Response(payload, status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def _restore_request(text: body.Text) -> tuple[str, list[str] | None]:
    """Return the id and the categories asked for, in the document's order; None for all of it."""
    try:
        asked = json.loads(bytes(text).decode())
    except RecursionError as error:
        raise InvalidBackup("The body is nested too deep to read.") from error
    except ValueError as error:
        raise InvalidBackup(f"The body must be a JSON object: {error}.") from error
    if not isinstance(asked, dict):
        raise InvalidBackup("The body must be a JSON object.")
    if not isinstance(asked.get("backupId"), str):
        raise InvalidBackup("The member backupId must be the id of a backup, a string.")
    items = asked.get("items", {})
    if isinstance(items, list):
        if not all(isinstance(item, str) for item in items):
            raise InvalidBackup("The member items must hold names of categories.")
        items = dict.fromkeys(items, True)
    if not isinstance(items, dict):
        raise InvalidBackup("The member items must be an object of booleans or a list of names.")
    for name, wanted in items.items():
        if name not in CATEGORIES:
            raise InvalidBackup(f"The member items names an unknown category: {name!r}.")
        if not isinstance(wanted, bool):
            raise InvalidBackup(f"The member items.{name} must be true or false.")
    if "items" not in asked:
        return asked["backupId"], None
    return asked["backupId"], [name for name in CATEGORIES if items.get(name)]


def _changed(text: Text, base: str, limit: body.Limit) -> Upload:
    """Return what a whole upload would be, made of a stored backup and a change."""
    change = changes.read(text)
    with changes.one_at_a_time:
        file, head = _storage().open_base(base)
        with file:
            limit = limit._replace(subject="The backup with this change")
            text = body.collect(changes.splice(change, file, head), _storage(), limit)
    upload = check_upload(text, base)
    change.check_counts(upload.counts)
    return upload


def _is_large(size: int) -> bool:
    """Tell whether an answer, with earlier ones the client has not taken yet, may have to wait."""
    unsent = 0
    if connection := request.environ.get("gunicorn.socket"):
        unsent = int.from_bytes(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    return size + unsent > LARGE_ANSWER_BYTES


def _take_answer_slot() -> Callable[[], None]:
    """Count one more large answer; return what ends it. Raise Unavailable if there are too many."""
    if not _answer_slots.acquire(blocking=False):
        raise Unavailable("Too many large answers at once; try again in a moment.")
    return _answer_slots.release


def _limit_senders(file: StoredFile, size: int) -> None:
    if _is_large(size):
        try:
            file.on_close = _take_answer_slot()
        except Unavailable:
            file.close()
            raise


def _document(file: StoredFile, head: Head) -> Response:
    """Send a file as it lies on the disk; gunicorn does it with sendfile(2)."""
    _limit_senders(file, head.size)
    response = Response(
        wrap_file(request.environ, file),
        mimetype="application/json",
        direct_passthrough=True,
    )
    response.content_length = head.size
    response.headers["Cache-Control"] = "private, no-cache"
    response.call_on_close(file.close)
    return response


def _conditional(file: StoredFile, head: Head) -> Response:
    """Send a file, or what a conditional or a range request asks of it (RFC 9110, 13 and 14)."""
    response = _document(file, head)
    status = os.fstat(file.fileno())
    # Files never change; should someone restore another one by hand, the tag tells.
    tag = f"{head.id}-{status.st_mtime_ns:x}-{head.size:x}"
    response.set_etag(tag)
    environ = dict(request.environ)
    environ.pop("HTTP_RANGE", None)
    environ.pop("HTTP_IF_RANGE", None)
    if wanted := _range(head.size, tag):
        environ["HTTP_RANGE"] = wanted
        response.response = FileWrapper(file, _CHUNK)  # which can seek, gunicorn's can't
    try:
        response.make_conditional(environ, accept_ranges=True, complete_length=head.size)
        if response.status_code == 412:
            raise PreconditionFailed("The backup is not the one that If-Match asks for.")
        return response
    except BaseException:
        file.close()
        raise


def _range(size: int, tag: str) -> str | None:
    """Return the one range of bytes the request asks for, if it does (RFC 9110, section 14)."""
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    if request.method != "GET" or not match:
        return None
    # Compared as strong validators; what differs, a weak tag or a date, gets everything (13.1.5).
    if request.headers.get("If-Range", f'"{tag}"').strip() != f'"{tag}"':
        return None
    first, last, suffix = match.groups()
    if suffix and int(suffix) > size:
        return "bytes=0-"
    return None if last and int(last) < int(first) else match[0]


def _categories(file: StoredFile, head: Head, chosen: list[str]) -> Response:
    """Send id, timestamp and the chosen categories, read from where they lie in the file."""
    introduction = b'{"id":"%s","timestamp":%s,"data":{' % (head.id.encode(), bytes(head.timestamp))
    pieces: list[bytes | tuple[int, int]] = [introduction]
    for name in chosen:
        separator = b"," if len(pieces) > 1 else b""
        place = head.part(name)
        pieces += [separator + b'"%s":' % name.encode(), place if place[1] else b"[]"]
    pieces.append(b"}}")
    size = sum(len(piece) if isinstance(piece, bytes) else piece[1] for piece in pieces)
    _limit_senders(file, size)
    response = Response(_read_pieces(file, pieces), mimetype="application/json")
    response.content_length = size
    response.headers["Cache-Control"] = "no-store"
    response.call_on_close(file.close)
    return response


def _read_pieces(file: StoredFile, pieces: list[bytes | tuple[int, int]]) -> Iterator[bytes]:
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        offset, length = piece
        while length:
            chunk = os.pread(file.fileno(), min(length, _CHUNK), offset)
            if not chunk:
                raise OSError(f"{file.name} has lost its end")
            yield chunk
            offset, length = offset + len(chunk), length - len(chunk)
