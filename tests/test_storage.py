"""The storage directory: ids, keys, durability, and what killed servers leave."""

import fcntl
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from faults.test_environment import mounted
from faults.tracing import worker_of
from support import assert_error, backups_in, require_tool, strays_in, wait_until

from backup_server.document import check_upload
from backup_server.ids import file_name
from backup_server.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage(tmp_path / "data")
    storage.prepare()
    return storage


def add(storage: Storage, key: str | None = None, body: bytes = b"{}") -> str:
    return storage.add(check_upload(body), key)[0].id


# --- ids ------------------------------------------------------------------------------------------


def test_ids_are_unique_and_in_order_across_threads_workers_and_servers(start_server):
    servers = [start_server(WEB_CONCURRENCY="2"), start_server()]

    def upload(n: int) -> tuple[float, float, str]:
        began = time.monotonic()
        backup_id = servers[n % 2].upload({"atoms": [n]})["id"]
        return began, time.monotonic(), backup_id

    with ThreadPoolExecutor(8) as pool:
        uploads = list(pool.map(upload, range(160)))
    ids = [backup_id for _, _, backup_id in uploads]
    assert len(set(ids)) == len(ids)
    # One that began after another was answered was made later, and has a greater id.
    for (_, ended, earlier), (began, _, later) in itertools.permutations(uploads, 2):
        if ended < began:
            assert earlier < later
    assert servers[0].listed() == servers[1].listed() == sorted(ids, reverse=True)
    stored = {json.loads(text)["id"]: text for text in backups_in(servers[0].data_dir).values()}
    for n, (_, _, backup_id) in enumerate(uploads):
        assert json.loads(stored[backup_id])["data"]["atoms"] == [n]


def test_a_second_backup_in_the_same_second_gets_a_suffix(storage):
    ids = [add(storage) for _ in range(3)]
    seconds = {backup_id[:19] for backup_id in ids}
    assert len(seconds) <= 2
    assert sum(len(backup_id) > 19 for backup_id in ids) == 3 - len(seconds)
    assert ids == sorted(ids)


def test_ids_go_on_where_they_were_after_a_restart(start_server):
    server = start_server()
    for _ in range(3):
        last = server.upload({})["id"]
        server.kill()
        assert server.start().upload({})["id"] > last


def ahead(hours: int) -> str:
    """Return an id of a clock that goes ahead."""
    return (datetime.now(UTC) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H-%M-%S")


def test_order_is_kept_when_the_clock_has_been_set_back(storage):
    (storage.directory / ".last-id").write_text(f"{ahead(5)}\n")
    first, second = add(storage), add(storage)
    assert ahead(4) < first < second
    file, head = storage.open_latest()
    file.close()
    assert head.id == second


@pytest.mark.parametrize("content", [None, b"", b"\0" * 32, b"nonsense\n", b"\xff" * 64])
def test_order_is_kept_when_the_record_of_the_last_id_is_lost(storage, content):
    first = storage.directory / file_name(add(storage))
    first.rename(first.with_name(file_name(ahead(5))))
    if content is None:
        (storage.directory / ".last-id").unlink()
    else:
        (storage.directory / ".last-id").write_bytes(content)
    second, third = add(storage), add(storage)
    assert ahead(4) < second < third


@pytest.mark.parametrize("key", [None, "key-of-this-upload"])
def test_a_name_that_is_taken_is_never_overwritten(storage, key):
    """As when files were copied in that this directory's servers know nothing of."""
    last = ahead(5)
    (storage.directory / ".last-id").write_text(f"{last}\n")
    for n in range(1, 4):
        (storage.directory / file_name(f"{last}-{n:04}")).write_bytes(b"someone else's")
    before = backups_in(storage.directory)
    backup_id = add(storage, key, b'{"atoms":["mine"]}')
    after = backups_in(storage.directory)
    assert before.items() <= after.items()
    assert json.loads(after[file_name(backup_id)])["data"]["atoms"] == ["mine"]
    assert len(after) == len(before) + 1
    if key:
        assert storage.find(key).id == backup_id
    assert strays_in(storage.directory) == []


def test_who_waits_for_a_lock_that_is_removed_meanwhile_takes_the_new_one(storage):
    """Or two who each have the lock of a file of their own would store one key twice."""
    path = storage.directory / ".last-id"
    with open(path, "w") as file, ThreadPoolExecutor(1) as pool:
        fcntl.flock(file, fcntl.LOCK_EX)
        waiting = pool.submit(add, storage)
        time.sleep(0.05)
        path.unlink()
        fcntl.flock(file, fcntl.LOCK_UN)
        backup_id = waiting.result(10)
        assert path.read_text().strip() == backup_id


def test_many_files_copied_in_with_later_ids_cost_an_upload_no_more_than_one(storage, monkeypatch):
    last = ahead(5)
    (storage.directory / ".last-id").write_text(f"{last}\n")
    for n in range(1, 500):
        (storage.directory / file_name(f"{last}-{n:04}")).touch()
    syncs, sync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: syncs.append(sync(descriptor)))
    assert add(storage) == f"{last}-0500"
    assert len(syncs) <= 3


@pytest.mark.parametrize(
    "content", [b"", b"x" * 5_000_000, b"\xff" * 64], ids=["empty", "huge", "no text"]
)
def test_an_id_costs_no_look_at_the_directory(storage, monkeypatch, content):
    (storage.directory / ".last-id").write_bytes(content)
    add(storage)

    def look(*arguments):
        raise AssertionError("the directory was read")

    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, look)
    add(storage)
    add(storage, "key-of-this-upload")


# --- durability -----------------------------------------------------------------------------------


@pytest.fixture
def traced(start_server, tmp_path):
    """A server under strace, and the system calls it has made, a line each, that tell the order."""
    require_tool("strace")
    path = tmp_path / "calls"
    calls = (
        "fsync,fdatasync,link,linkat,symlink,symlinkat,unlink,unlinkat,sendto,sendmsg,write,rename"
    )
    command = ["strace", "-D", "-f", "-y", "-s", "80", "-e", f"trace={calls}", "-o", str(path)]
    server = start_server(command=[*command, sys.executable, "-m", "backup_server"])
    return server, path.read_text


def order(calls: str, *patterns: str) -> None:
    """Check that there is a line for each pattern, in this order."""
    lines, at = calls.splitlines(), 0
    for pattern in patterns:
        found = [n for n in range(at, len(lines)) if re.search(pattern, lines[n])]
        assert found, f"no {pattern} after line {at} of:\n{calls}"
        at = found[0] + 1


DATA = r"[^>]*/data"


def test_a_repeated_upload_is_synced_before_it_is_answered_too(traced):
    """Its first answer may never have been sent, by a server that was killed before its sync."""
    server, calls = traced
    server.upload({}, "?key=key-of-this-upload")
    began = len(calls())
    assert server.post("/api/backup?key=key-of-this-upload", {}).status == 200
    order(calls()[began:], rf"fsync\(\d+<{DATA}>", r"send.*HTTP/1\.1 200")


def test_a_deletion_is_synced_before_it_is_answered(traced):
    server, calls = traced
    backup_id = server.upload({})["id"]
    began = len(calls())
    assert server.request("DELETE", f"/api/backup/{backup_id}").status == 200
    order(
        calls()[began:],
        rf"unlink(at)?\(.*backup-{backup_id}\.json",
        rf"fsync\(\d+<{DATA}>",
        r"send.*HTTP/1\.1 200",
    )


def test_a_reader_sees_all_of_a_backup_or_nothing_while_others_are_stored(start_server):
    servers = [start_server(), start_server()]
    body = {"atoms": ["x" * 2_000_000], "snapshots": [1]}
    seen = set()
    with ThreadPoolExecutor(2) as pool:
        uploads = [pool.submit(servers[0].upload, body) for _ in range(12)]
        while not all(upload.done() for upload in uploads):
            for backup in servers[1].get("/api/backup/list").json["backups"]:
                if backup["id"] not in seen:
                    seen.add(backup["id"])
                    document = servers[1].get(f"/api/backup/{backup['id']}")
                    assert len(document.body) == backup["size"]
                    assert document.json["data"]["snapshots"] == [1]
            for path in servers[0].data_dir.glob("backup-*"):
                json.loads(path.read_bytes())
    assert seen


# --- what killed servers leave --------------------------------------------------------------------


def test_what_a_killed_server_left_is_swept_at_the_next_start(start_server, tmp_path, sample):
    server = start_server()
    server.upload(sample)
    server.kill()
    for n in range(3):
        (tmp_path / "data" / f".upload-{n:016x}.tmp").write_bytes(b"half a backup")
    before = backups_in(server.data_dir)
    server.start()
    assert strays_in(server.data_dir) == []
    assert backups_in(server.data_dir) == before


def test_servers_that_start_all_the_time_disturb_no_upload(storage):
    """A sweep may take a file for abandoned in the moment between its creation and its lock."""
    stop = False

    def sweep():
        while not stop:
            Storage(storage.directory).prepare()

    with ThreadPoolExecutor(3) as pool:
        sweepers = [pool.submit(sweep) for _ in range(2)]
        try:
            ids = [add(storage) for _ in range(200)]
        finally:
            stop = True
        for sweeper in sweepers:
            sweeper.result(10)
    assert storage.heads.ids() == ids
    assert strays_in(storage.directory) == []


def test_an_upload_waits_for_the_one_lock_that_orders_all_servers(storage):
    with open(storage.directory / ".last-id", "w") as file, ThreadPoolExecutor(1) as pool:
        fcntl.flock(file, fcntl.LOCK_EX)
        waiting = pool.submit(add, storage)
        time.sleep(0.05)
        assert not waiting.done()
        assert backups_in(storage.directory) == {}
        fcntl.flock(file, fcntl.LOCK_UN)
        assert waiting.result(10)


# --- keys -----------------------------------------------------------------------------------------


def test_a_key_whose_owner_died_before_its_backup_got_its_name_is_free(storage):
    key = "key-of-this-upload"
    (storage.directory / ".keys").mkdir()
    (storage.directory / ".keys" / key).symlink_to("../" + file_name("2026-02-01T10-54-27"))
    assert storage.find(key) is None
    first = add(storage, key)
    assert add(storage, key) == first == storage.find(key).id


@pytest.mark.parametrize("target", ["/etc/passwd", "../../secret.json", "nothing"])
def test_a_key_that_leads_elsewhere_leads_nowhere(storage, target):
    key = "key-of-this-upload"
    (storage.directory.parent / "secret.json").write_text("{}")
    (storage.directory / ".keys").mkdir()
    (storage.directory / ".keys" / key).symlink_to(target)
    assert storage.find(key) is None
    assert add(storage, key) == storage.find(key).id


def test_a_key_is_forgotten_with_its_file_however_that_went(storage):
    key = "key-of-this-upload"
    first = add(storage, key)
    (storage.directory / file_name(first)).unlink()
    assert storage.find(key) is None
    second = add(storage, key)
    storage.delete(second)
    assert storage.find(key) is None
    assert os.listdir(storage.directory / ".keys") == []
    assert len({first, second, add(storage, key)}) == 3


def test_deleting_another_backup_forgets_no_key(storage):
    first = add(storage, "key-of-this-upload")
    storage.delete(add(storage))
    storage.delete(add(storage, "key-of-another-one"))
    assert storage.find("key-of-this-upload").id == first


@pytest.mark.parametrize("moment", [signal.SIGKILL, signal.SIGTERM])
def test_a_key_holds_when_the_server_ends_before_it_answers(start_server, moment):
    """The client does not know whether it was stored, sends again, and it is stored once."""
    server = start_server()
    query = "?key=key-of-this-upload"
    body = {"atoms": ["x" * 3_000_000]}
    for _ in range(4):
        with ThreadPoolExecutor(1) as pool:
            attempt = pool.submit(server.upload, body, query)
            time.sleep(0.02)
            os.killpg(server.process.pid, moment)
            server.process.wait(30)
            attempt.exception()
        server.start()
    receipt = server.post(f"/api/backup{query}", body).json
    assert server.listed() == [receipt["id"]]
    assert strays_in(server.data_dir) == []


# --- what is whose --------------------------------------------------------------------------------


def test_files_and_directories_are_the_servers_users_alone(start_server, sample):
    server = start_server()
    server.upload(sample, "?key=0123456789abcdef")
    paths = [server.data_dir, *server.data_dir.iterdir()]
    modes = {path.name: path.stat().st_mode & 0o777 for path in paths}
    assert {modes.pop("data"), modes.pop(".keys")} == {0o700}
    assert set(modes.values()) == {0o600}


def test_what_exists_keeps_its_mode(tmp_path):
    (tmp_path / "data").mkdir(mode=0o755)
    Storage(tmp_path / "data").prepare()
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o755


def test_directories_that_are_made_are_synced_into_those_above(tmp_path):
    script = "import sys, pathlib; from backup_server.storage import Storage;"
    script += "Storage(pathlib.Path(sys.argv[1])).prepare()"
    log = tmp_path / "log"
    command = [require_tool("strace"), "-f", "-y", "-o", str(log), "-e", "trace=mkdir,fsync"]
    directory = tmp_path / "parent" / "data"
    subprocess.run([*command, sys.executable, "-c", script, str(directory)], check=True)
    calls = re.findall(r"(mkdir|fsync)\((?:\d+<|\")(.*?)[>\"]", log.read_text())
    assert [(name, path) for name, path in calls if str(tmp_path) in path] == [
        ("mkdir", str(directory.parent)),
        ("fsync", str(tmp_path)),
        ("mkdir", str(directory)),
        ("fsync", str(directory.parent)),
    ]
    assert directory.parent.stat().st_mode & 0o777 == 0o700
    # Whoever made it the last time may have been killed before that.
    subprocess.run([*command, sys.executable, "-c", script, str(directory)], check=True)
    assert f"<{directory.parent}>" in log.read_text()


@pytest.mark.parametrize("when", ["before the start"])
def test_new_ids_are_greater_than_those_of_files_that_were_copied_in(
    start_server, tmp_path, sample, when
):
    server = start_server()
    path = server.data_dir / file_name(server.upload(sample)["id"])
    if when == "before the start":
        server.stop()
    later = ahead(1)
    (server.data_dir / file_name(later)).write_bytes(path.read_bytes())
    if when == "before the start":
        server.start()
    else:
        assert server.listed()[0] == later
    newest = server.upload(sample)["id"]
    assert newest > later
    assert server.listed()[0] == newest
    assert "ahead of the clock" in server.log


def test_what_a_worker_left_that_was_killed_alone_is_swept_by_the_next(start_server):
    server = start_server(WEB_CONCURRENCY="1")
    stray = server.data_dir / ".upload-0123456789abcdef.tmp"
    stray.touch()
    os.kill(worker_of(server), signal.SIGKILL)
    wait_until(lambda: not stray.exists())


def test_what_is_in_the_way_of_a_key_is_passed_over(start_server, sample):
    server = start_server()
    server.upload(sample, "?key=0123456789abcdef")
    for place in ("file", "directory", "pipe"):
        way = server.data_dir / ".keys" / f"key-of-this-{place}"
        make(way, place)
        receipt = server.upload(sample, f"?key={way.name}")
        again = server.post(f"/api/backup?key={way.name}", sample)
        assert (again.status, again.json) == (200, receipt)
        assert [path for path in way.parent.glob(f"{way.name}.*")], "it was moved, not removed"


@pytest.mark.parametrize("place", ["file", "pipe", "dangling link"])
def test_what_is_in_the_way_of_the_keys_is_passed_over(start_server, sample, place):
    server = start_server()
    keys = server.data_dir / ".keys"
    receipt = server.upload(sample, "?key=0123456789abcdef")
    shutil.rmtree(keys)
    make(keys, place)
    assert server.request("DELETE", f"/api/backup/{receipt['id']}").status == 200
    receipt = server.upload(sample, "?key=0123456789abcdef")
    again = server.post("/api/backup?key=0123456789abcdef", sample)
    assert (again.status, again.json) == (200, receipt)
    for path in server.data_dir.glob(".keys.*"):  # which the fixture would take for a stray
        path.unlink()


def make(path: Path, kind: str) -> None:
    {
        "file": lambda: path.write_text("mine"),
        "directory": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "dangling link": lambda: path.symlink_to("nowhere"),
    }[kind]()


def test_a_disk_that_is_unmounted_is_a_503_until_it_is_back(start_server, tmp_path, sample):
    point = tmp_path / "mounted"
    with mounted(point, "-t", "tmpfs", "none"):
        server = start_server(point)
        server.upload(sample)
    assert_error(server.post("/api/backup", sample), 503, "unmounted")
    assert_error(server.get("/api/backup/list"), 503, "unmounted")
    assert server.get("/api/health").status == 503
    assert list(point.iterdir()) == []
    server.stop()
    assert server.start().upload(sample), "a restart takes what is there"


@pytest.mark.parametrize("kind", ["directory", "pipe", "dangling link", "link"])
def test_health_tells_of_a_last_id_that_cannot_be_written(start_server, tmp_path, kind):
    server = start_server()
    last_id, mine = server.data_dir / ".last-id", tmp_path / "mine.txt"
    mine.write_text("somebody's own")
    last_id.unlink()
    last_id.symlink_to(mine) if kind == "link" else make(last_id, kind)
    time.sleep(1.1)  # it looks once a second
    answer = server.get("/api/health")
    assert (answer.status, answer.json["status"]) == (503, "unavailable")
    assert ".last-id" in answer.json["error"]
    assert_error(server.post("/api/backup", {}), 503, ".last-id")
    assert mine.read_text() == "somebody's own"


def test_a_directory_that_is_made_anew_is_not_the_one_of_before(start_server, sample):
    """Even if the file system gives it the same number, as most do."""
    server = start_server()
    server.upload(sample)
    for _ in range(3):
        shutil.rmtree(server.data_dir)
        server.data_dir.mkdir()
        assert_error(server.post("/api/backup", sample), 503, "not the directory")
    assert server.get("/api/health").status == 503
    server.stop()
    assert server.start().upload(sample)


def test_a_file_system_without_hard_links_is_said_to_be_unfit_at_once(start_server, tmp_path):
    """As FAT and exFAT are, of which many disks to carry are made."""
    inject = ["-e", "trace=link,linkat", "-e", "inject=link,linkat:error=EPERM"]
    command = [require_tool("strace"), "-D", "-f", "-o", str(tmp_path / "calls"), *inject]
    server = start_server(command=[*command, sys.executable, "-m", "backup_server"])
    answer = server.get("/api/health")
    assert (answer.status, answer.json["status"]) == (503, "unavailable")
    assert "no hard links" in answer.json["error"]
    assert_error(server.post("/api/backup", {}), 503)
