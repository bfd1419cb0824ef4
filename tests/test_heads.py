"""What is listed: files of others, damaged files, changes by hand, and what it costs."""

import json
import os
import stat
import time
from pathlib import Path

import pytest
from support import assert_error, backups_in

from backup_server.ids import file_name
from backup_server.storage import Storage
from backup_server.upload import check_upload

#: Longer than the file system's clock stands still, in seconds.
SETTLED = 0.1
OLD, FUTURE = "2025-01-01T00-00-00", "2031-01-01T00-00-00"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage(tmp_path / "data")
    storage.prepare()
    return storage


def add(storage: Storage, body: bytes = b"{}") -> str:
    return storage.add(check_upload(body))[0].id


def listed(storage: Storage) -> list[str]:
    return [json.loads(entry)["id"] for entry in storage.page(None, None)[0]]


def test_anything_else_in_the_directory_is_left_alone_and_listed_nowhere(storage):
    names = ["backup-2026-02-01T10-54-27.json~", ".upload-notes", os.fsdecode(b"caf\xe9")]
    ends = ("", "-27-001", "-27-123Z-", "-27-123Z-AB12", "-27\n", "-2\uff17")
    for name in (*names, *(f"backup-2026-02-01T10-54{end}.json" for end in ends)):
        (storage.path / name).write_text('{"id":"x","timestamp":"","data":{}}')
    (storage.path / "folder").mkdir()
    others = set(os.listdir(storage.path)) - {".last-id"}
    storage.prepare()
    backup_id = add(storage)
    assert listed(storage) == [backup_id]
    storage.delete(backup_id)
    assert set(os.listdir(storage.path)) == others | {".last-id"}


@pytest.mark.parametrize(
    "make",
    [
        Path.mkdir,
        os.mkfifo,
        lambda path: os.mknod(path, stat.S_IFSOCK),
        lambda path: path.symlink_to(min(path.parent.glob("backup-*"))),
        lambda path: path.symlink_to("nothing"),
    ],
)
def test_what_is_no_file_is_no_backup(client, make):
    backup_id, path = client.upload({})["id"], client.data_dir / file_name(FUTURE)
    make(path)
    assert client.listed() == [backup_id]
    assert client.get("/api/backup/latest").json["id"] == backup_id
    for method in ("GET", "DELETE"):
        assert_error(client.request(method, f"/api/backup/{FUTURE}"), 404)
    assert os.path.lexists(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: b"",
        lambda text: text[:-1],
        lambda text: b'{"id":"x","timestamp":"","data":' + b"[" * 50_000,
        lambda text: b'{"name":"package","version":"1.0.0"}',
    ],
)
def test_a_damaged_file_hides_no_other_is_a_500_and_can_be_deleted(client, damage):
    others = [client.upload({"atoms": [{"slug": "kept"}]})["id"] for _ in range(2)]
    text = backups_in(client.data_dir)[file_name(others[0])]
    (client.data_dir / file_name(FUTURE)).write_bytes(damage(text))
    assert client.listed() == others[::-1]
    assert len(client.get("/api/backup/list?limit=1").json["backups"]) == 1
    assert client.get("/api/backup/latest").json["id"] == others[1]
    assert_error(client.get(f"/api/backup/{FUTURE}"), 500, "It ")
    asked = {"backupId": FUTURE, "items": ["atoms"]}
    assert_error(client.post("/api/restore", asked), 500, "It ")
    assert client.request("DELETE", f"/api/backup/{FUTURE}").status == 200
    assert_error(client.get(f"/api/backup/{FUTURE}"), 404)


@pytest.mark.parametrize("text", ["own", b'{ "id": "x" }'])
def test_a_listing_reads_no_data_nor_a_damaged_file_of_a_huge_size(storage, monkeypatch, text):
    newest, read = add(storage, b'{"atoms":["%s"]}' % (b"x" * 100_000)), os.pread
    path = storage.path / file_name(OLD)
    path.write_bytes(backups_in(storage.path)[file_name(newest)] if text == "own" else text)
    os.truncate(path, 600 << 20)

    def limited(descriptor, length, at):
        assert length <= 10_000
        return read(descriptor, length, at)

    monkeypatch.setattr(os, "pread", limited)
    assert listed(storage) == [newest]


def test_a_directory_whose_times_are_set_to_the_past_is_listed_as_it_is(storage):
    """As ``cp -a``, ``tar x`` and ``rsync -a`` do with a copy that they bring back."""
    backup_id = add(storage)
    path, status = storage.path / file_name(backup_id), storage.path.stat()
    text = path.read_bytes()
    for _ in range(2):  # its stamp is seen, then trusted
        assert storage.heads.ids() == [backup_id]
        time.sleep(SETTLED)
    for change, ids in ((path.unlink, []), (lambda: path.write_bytes(text), [backup_id])):
        change()
        os.utime(storage.path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert storage.heads.ids() == ids


def standing_still(status: os.stat_result, ns: int) -> os.stat_result:
    times = {"st_mtime_ns": ns, "st_ctime_ns": ns, "st_ctime": ns / 10**9}
    return os.stat_result([*status][:10], times)


@pytest.mark.parametrize(("ns", "step"), [(10**18, 3), (10**18 + 123_456_789, 0.05)])
def test_a_file_edited_within_one_tick_is_listed_as_it_is_and_later_read_once(
    storage, monkeypatch, ns, step
):
    path, stat, now = storage.path / file_name(add(storage)), os.stat, ns / 10**9 + step * 0.9
    text = path.read_bytes()
    monkeypatch.setattr(os, "stat", lambda *a, **o: standing_still(stat(*a, **o), ns))
    monkeypatch.setattr(time, "time", lambda: now)
    for number in (1, 2, 3, 4):
        path.write_bytes(text.replace(b'"atoms":0', b'"atoms":%d' % number))
        (entry,), _ = storage.page(None, None)
        assert json.loads(entry)["counts"]["atoms"] == number
        now += step * 0.2 * (number == 3)
    monkeypatch.setattr(os, "pread", lambda *_: pytest.fail("the file was read again"))
    assert storage.page(None, None) == ([entry], None)
    monkeypatch.undo()
    path.write_bytes(text[:-1])
    assert listed(storage) == []
