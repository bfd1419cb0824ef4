"""What must hold of every reader of bytes from outside, whatever the bytes are.

Each check takes one input and returns nothing; an exception is a bug found. What is taken or
refused is compared with Python's own JSON reader (``strict.py``).
"""

import functools
import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import written

from backup_server import create_app, patch
from backup_server.document import (
    CATEGORIES,
    HEAD_BYTES,
    Upload,
    check_digest,
    check_upload,
    has_head,
    read_head,
    render,
)
from backup_server.errors import InvalidBackup, UnusableBase
from backup_server.settings import Settings

from . import strict

ID, OTHER_ID = "2026-02-01T10-54-27", "2026-02-01T10-54-28"
TIME = "2026-02-01T10:54:27.123Z"
#: Stands between the base and the change in one input; no JSON has it.
BETWEEN = b"\0"


def check_upload_body(body: bytes) -> None:
    """An upload is taken or refused as the contract says, and is stored as it was sent."""
    expected = _expected(strict.read_upload, body)
    try:
        upload = check_upload(body)
    except InvalidBackup:
        assert expected is None or strict.is_near_a_limit(body)
        return
    assert expected is not None
    _check_stored(_stored(upload), expected)


def check_change(text: bytes) -> None:
    """A change to a base gives what an upload of the changed state would be, or is refused."""
    base_body, _, change = text.partition(BETWEEN)
    try:
        base = check_upload(base_body)
    except InvalidBackup:
        return
    stored = _stored(base)
    data = strict.read(stored)["data"]
    expected = _expected(strict.apply, change, data)
    try:
        with tempfile.TemporaryFile() as file:
            file.write(stored)
            file.flush()
            upload = patch.apply(patch.read(change), file, ID, 10**9)
            result = _stored(upload)
    except (InvalidBackup, UnusableBase):
        assert expected is None or strict.is_near_a_limit(text)
        return
    assert expected is not None
    _check_stored(result, expected)


def check_file(content: bytes) -> None:
    """A file in the storage directory is read or is damaged, and harms no other."""
    client, path = _app_with_one_backup()
    path.write_bytes(content)
    with _without_log():
        _check_file(client, content)


def _check_file(client, content: bytes) -> None:
    listing = json.loads(_ask(client, 200, "/api/backup/list"))
    listed = {entry["id"]: entry for entry in listing["backups"]}
    assert ID in listed
    if OTHER_ID not in listed:
        assert "error" in json.loads(_ask(client, 500, f"/api/backup/{OTHER_ID}"))
        return
    assert _ask(client, 200, f"/api/backup/{OTHER_ID}") == content
    assert set(listed[OTHER_ID]["counts"]) == set(CATEGORIES)
    own = has_head(content)
    head = read_head(content[:HEAD_BYTES] if own else content, len(content))
    for name in CATEGORIES:
        part = _ask(client, 200, "/api/restore", json={"backupId": OTHER_ID, "items": [name]})
        offset, length = head.part(name)
        assert part.endswith(b":%s}}" % (content[offset : offset + length] or b"[]"))
        if not own:
            expected = strict.read(content)["data"].get(name, [])
            assert strict.read(part)["data"][name] == expected


def _ask(client, status: int, path: str, **options) -> bytes:
    """Send a request, a GET unless it has a body; check its answer's status, return the body."""
    with client.open(path, method="POST" if options else "GET", **options) as answer:
        assert answer.status_code == status, answer.get_data()
        return answer.get_data()


def _expected(read, *arguments) -> dict | None:
    try:
        return read(*arguments)
    except RecursionError:
        return None  # is_near_a_limit says that it may be


def _stored(upload: Upload) -> bytes:
    return written(render(upload, ID, TIME, None))


def _check_stored(stored: bytes, expected: dict) -> None:
    assert check_digest([stored])
    document_read = strict.read(stored)
    client_timestamp = expected.pop("clientTimestamp", TIME)
    assert document_read["clientTimestamp"] == client_timestamp
    assert document_read["data"] == {name: [] for name in CATEGORIES} | expected
    head = read_head(stored[:HEAD_BYTES], len(stored))
    assert head.counts == {name: len(document_read["data"][name]) for name in CATEGORIES}
    for name in CATEGORIES:
        offset, length = head.part(name)
        assert strict.read(stored[offset : offset + length]) == document_read["data"][name]


@contextmanager
def _without_log() -> Iterator[None]:
    """Log nothing of the damages, of which there are thousands a minute."""
    logger = logging.getLogger("backup_server")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@functools.cache
def _app_with_one_backup() -> tuple:
    """An application with a good backup, and where to put a file beside it."""
    directory = Path(tempfile.mkdtemp(dir="/dev/shm"))
    app = create_app(Settings(data_dir=directory))
    (directory / f"backup-{ID}.json").write_bytes(_stored(check_upload(b'{"atoms":[1]}')))
    return app.test_client(), directory / f"backup-{OTHER_ID}.json"


CHECKS = {"uploads": check_upload_body, "changes": check_change, "files": check_file}
