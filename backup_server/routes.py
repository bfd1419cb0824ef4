"""The blueprint: seven endpoints, HTTP in, HTTP out."""

import re
from datetime import UTC, datetime
from typing import Literal

import msgspec
from flask import Blueprint, Response, current_app, request
from werkzeug.local import LocalProxy

from . import body, ids, patch, responses, upload
from .errors import BackupError, InvalidBackup, as_backup_error
from .rawjson import Text
from .storage import Storage
from .upload import CATEGORIES

blueprint = Blueprint("backup", __name__, url_prefix="/api")

storage: Storage = LocalProxy(lambda: current_app.extensions["backup_storage"])
_Choice = msgspec.defstruct(
    "_Choice", [(name, bool, False) for name in CATEGORIES], forbid_unknown_fields=True
)


class _RestoreRequest(msgspec.Struct, rename="camel"):
    backup_id: str
    items: _Choice | list[Literal[CATEGORIES]] | msgspec.UnsetType = msgspec.UNSET


@blueprint.post("/backup")
def create() -> Response:
    """Store the body, or the base that it changes, as a backup; answer once it is durable."""
    key = request.args.get("key")
    if key is not None and not re.fullmatch(r"[A-Za-z0-9_-]{16,128}", key):
        raise InvalidBackup("The parameter key must be 16 to 128 of A-Z a-z 0-9 - and _.")
    if key and (head := storage.find(key)):
        return _json(msgspec.json.encode(head.receipt()))
    text, base = _body(), request.args.get("base")
    if base is None:
        head, is_new = storage.add(upload.check_upload(text), key)
    else:
        change, limit = patch.read(text), current_app.config["MAX_BODY_BYTES"]
        with storage.open_base(base) as file:
            head, is_new = storage.add(patch.apply(change, file, base, limit), key)
    response = _json(msgspec.json.encode(head.receipt()), 201 if is_new else 200)
    if is_new:
        current_app.logger.info("stored %s %d bytes", head.id, head.size)
        response.headers["Location"] = f"/api/backup/{head.id}"
    return response


@blueprint.get("/backup/list")
def list_backups() -> Response:
    """List the backups, newest first: all, those of a device, or a page of them."""
    limit, before = request.args.get("limit"), request.args.get("before")
    device_id = request.args.get("deviceId")
    if limit is not None and not re.fullmatch("0*[1-9][0-9]{0,8}", limit):
        raise InvalidBackup("The parameter limit must be a number, 1 or more.")
    if before is not None and not ids.is_id(before):
        raise InvalidBackup("The parameter before must be the id of a backup.")
    if device_id is not None and not upload.DEVICE_ID.fullmatch(device_id):
        raise InvalidBackup("The parameter deviceId must be 1 to 64 of A-Z a-z 0-9 - and _.")
    entries, last = storage.page(int(limit) if limit else None, before, device_id)
    following = b',"next":"%s"' % last.encode() if last else b""
    return _json(b'{"backups":[%s]%s}' % (b",".join(entries), following))


@blueprint.get("/backup/latest", defaults={"backup_id": None})
@blueprint.get("/backup/<backup_id>")
def read(backup_id: str | None) -> Response:
    """Send a backup's document, or the newest one's."""
    found = storage.open(backup_id) if backup_id else storage.open_latest()
    return responses.document(*found)


@blueprint.delete("/backup/<backup_id>")
def delete(backup_id: str) -> Response:
    """Delete a backup."""
    storage.delete(backup_id)
    current_app.logger.info("deleted %s", backup_id)
    return _json(b'{"deleted":true}')


@blueprint.post("/restore")
def restore() -> Response:
    """Send a backup's document, or only the chosen categories of it."""
    try:
        asked = msgspec.json.decode(_body(), type=_RestoreRequest)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidBackup(f"The body is not a restore request: {error}.") from error
    file, head = storage.open(asked.backup_id)
    items = asked.items
    if items is msgspec.UNSET:
        return responses.document(file, head)
    if isinstance(items, list):
        items = _Choice(**dict.fromkeys(items, True))
    return responses.categories(file, head, [name for name in CATEGORIES if getattr(items, name)])


@blueprint.get("/health")
def health() -> Response:
    """Tell whether backups can be stored."""
    report = {"status": "ok", "timestamp": ids.iso(datetime.now(UTC))}
    try:
        storage.check()
    except (BackupError, OSError) as error:
        report |= {"status": "unavailable", "error": str(as_backup_error(error))}
    return _json(msgspec.json.encode(report), 503 if "error" in report else 200)


def _body() -> Text:
    return body.receive(request, storage.path, current_app.config["MAX_BODY_BYTES"])


def _json(payload: bytes, status: int = 200) -> Response:
    response = Response(payload, status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response
