"""What must hold of every reader of bytes from outside, whatever the bytes are.

Each check takes one input and returns nothing; an exception is a bug found. What is taken or
refused is compared with Python's own JSON reader (``oracle.py`` in ``tests/``).
"""

import atexit
import functools
import logging
import shutil
import tempfile
from pathlib import Path

import oracle
from support import Client, written

from backup_server import document, patch
from backup_server.document import HEAD_BYTES, render
from backup_server.errors import InvalidBackup, UnusableBase
from backup_server.upload import CATEGORIES, Upload, check_upload

ID, OTHER_ID = "2026-02-01T10-54-27", "2026-02-01T10-54-28"
TIME = "2026-02-01T10:54:27.123Z"
#: Stands between the base and the change in one input; no JSON has it.
BETWEEN = b"\0"


def check_upload_body(body: bytes) -> None:
    """An upload is taken or refused as the contract says, and is stored as it was sent."""
    expected = _expected(oracle.upload, body)
    try:
        upload = check_upload(body)
    except InvalidBackup:
        assert expected is None or oracle.is_near_a_limit(body)
        return
    assert expected is not None
    oracle.assert_stored(_stored(upload), *expected)


def check_change(text: bytes) -> None:
    """A change to a base gives what an upload of the changed state would be, or is refused."""
    base_body, _, change = text.partition(BETWEEN)
    try:
        base = _stored(check_upload(base_body))
    except InvalidBackup:
        return
    expected = _expected(oracle.apply, change, *oracle.upload(base_body))
    try:
        with oracle.as_file(base) as file:
            result = _stored(patch.apply(patch.read(change), file, ID, 10**9))
    except (InvalidBackup, UnusableBase):
        assert expected is None or oracle.is_near_a_limit(text)
        return
    assert expected is not None
    oracle.assert_stored(result, *expected)


def check_file(content: bytes) -> None:
    """A file in the storage directory is read or is damaged, and harms no other."""
    client = _client_with_one_backup()
    logging.disable()  # of the damages there are thousands a minute
    try:
        _check_file(client, content)
    finally:
        logging.disable(logging.NOTSET)


def _check_file(client: Client, content: bytes) -> None:
    (client.data_dir / f"backup-{OTHER_ID}.json").write_bytes(content)
    listed = {entry["id"]: entry for entry in client.get("/api/backup/list").json["backups"]}
    assert ID in listed
    answer = client.get(f"/api/backup/{OTHER_ID}")
    if OTHER_ID not in listed:
        assert answer.status == 500, answer
        return
    assert (answer.status, answer.body) == (200, content)
    assert set(listed[OTHER_ID]["counts"]) == set(CATEGORIES)
    own = content.startswith(b'{"id":"') and b'\n"data":' in content[:HEAD_BYTES]
    with oracle.as_file(content) as file:
        head = document.read(file)
    for name in CATEGORIES:
        part = client.post("/api/restore", {"backupId": OTHER_ID, "items": [name]}).body
        offset, length = head.part(name)
        assert part.endswith(b":%s}}" % (content[offset : offset + length] or b"[]"))
        if not own:
            assert oracle.read(part)["data"][name] == oracle.read(content)["data"].get(name, [])


def _expected(read, *arguments) -> tuple[dict, dict] | None:
    try:
        return read(*arguments)
    except RecursionError:
        return None  # is_near_a_limit says that it may be


def _stored(upload: Upload) -> bytes:
    return written(render(upload, ID, TIME, None))


@functools.cache
def _client_with_one_backup() -> Client:
    """An application with a good backup."""
    directory = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, directory)
    client = Client(directory)
    (directory / f"backup-{ID}.json").write_bytes(_stored(check_upload(b'{"atoms":[1]}')))
    return client


CHECKS = {"uploads": check_upload_body, "changes": check_change, "files": check_file}
