"""GET /api/backup/list: what it says of each backup, pages, and what it costs."""

import json
import os
import re
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import pytest
from faults.test_environment import mounted
from faults.tracing import worker_of
from support import CATEGORIES, ROOT, Server, assert_error, backups_in, require_tool

from backup_server.ids import file_name

EXPRESS = ROOT / "tests" / "samples" / "express-data"
MIB = 1024 * 1024
EXPRESS_IDS = [
    "2026-11-23T02-25-16-030Z-6d86",
    "2026-11-23T02-25-15-019Z-dwcn",
    "2026-11-23T02-25-14-004Z-8t44",
]


@pytest.fixture
def server(shared_server):
    """A running server with nothing stored."""
    for path in shared_server.data_dir.glob("backup-*"):
        path.unlink()
    return shared_server


def page(server, query: str = "") -> dict:
    answer = server.get(f"/api/backup/list{query}")
    assert answer.status == 200, answer
    assert answer.headers["Content-Type"] == "application/json"
    return answer.json


def test_a_new_directory_lists_nothing(server):
    assert page(server) == {"backups": []}
    assert page(server, "?limit=5") == {"backups": []}


def test_an_entry_says_what_the_receipt_said_and_the_clients_time(server, sample):
    receipt = server.upload(sample)
    (entry,) = page(server)["backups"]
    assert list(entry) == ["id", "timestamp", "clientTimestamp", "size", "counts"]
    assert entry == receipt | {"clientTimestamp": json.loads(sample)["clientTimestamp"]}


def test_all_are_listed_newest_first(server):
    ids = [server.upload({})["id"] for _ in range(60)]
    assert ids == sorted(ids)
    assert server.listed() == ids[::-1]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 100])
def test_pages_put_together_are_the_whole(server, limit):
    ids = [server.upload({})["id"] for _ in range(7)]
    seen, query = [], f"?limit={limit}"
    while query:
        answer = page(server, query)
        assert len(answer["backups"]) <= limit
        seen += [backup["id"] for backup in answer["backups"]]
        query = f"?limit={limit}&before={answer['next']}" if "next" in answer else ""
    assert seen == ids[::-1]


def test_there_is_a_next_only_where_there_are_more(server):
    ids = [server.upload({})["id"] for _ in range(3)]
    assert "next" not in page(server)
    assert "next" not in page(server, "?limit=3")
    assert page(server, "?limit=2")["next"] == ids[1]
    assert "next" not in page(server, f"?limit=1&before={ids[1]}")
    assert page(server, f"?before={ids[0]}") == {"backups": []}
    assert [backup["id"] for backup in page(server, f"?before={ids[2]}")["backups"]] == ids[1::-1]


def test_a_page_goes_on_though_its_last_backup_was_deleted_and_newer_ones_came(server):
    ids = [server.upload({})["id"] for _ in range(4)]
    following = page(server, "?limit=2")["next"]
    server.request("DELETE", f"/api/backup/{following}")
    server.upload({})
    rest = page(server, f"?limit=2&before={following}")
    assert [backup["id"] for backup in rest["backups"]] == ids[1::-1]


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=x", "limit=", "limit=1.5"])
def test_a_limit_that_is_no_number_is_a_400(server, query):
    assert_error(server.get(f"/api/backup/list?{query}"), 400, "limit")


@pytest.mark.parametrize("before", ["", "x", "..%2fsecret", "2026"])
def test_a_before_that_is_no_id_is_a_400(server, before):
    assert_error(server.get(f"/api/backup/list?before={before}"), 400, "before")


# --- files of others ------------------------------------------------------------------------------


@pytest.fixture
def express(tmp_path, start_server):
    """A server on a data directory that the Express server wrote."""
    shutil.copytree(EXPRESS, tmp_path / "data")
    return start_server()


def test_files_of_the_express_server_are_listed_and_counted(express):
    backups = page(express)["backups"]
    assert [backup["id"] for backup in backups] == EXPRESS_IDS
    for backup in backups:
        text = (EXPRESS / file_name(backup["id"])).read_bytes()
        document = json.loads(text)
        assert backup == {
            "id": document["id"],
            "timestamp": document["timestamp"],
            "clientTimestamp": document["clientTimestamp"],
            "size": len(text),
            "counts": {name: len(document["data"][name]) for name in CATEGORIES},
        }


def test_files_of_the_express_server_are_read_restored_and_deleted(express):
    for backup_id in EXPRESS_IDS:
        text = (EXPRESS / file_name(backup_id)).read_bytes()
        data = json.loads(text)["data"]
        assert express.get("/api/backup/latest").body == text
        answer = express.get(f"/api/backup/{backup_id}")
        assert answer.body == text
        assert express.get(f"/api/backup/{backup_id}", Range="bytes=3-9").body == text[3:10]
        tag = answer.headers["ETag"]
        assert express.get(f"/api/backup/{backup_id}", If_None_Match=tag).status == 304
        assert express.post("/api/restore", {"backupId": backup_id}).body == text
        chosen = express.post("/api/restore", {"backupId": backup_id, "items": ["compositions"]})
        assert chosen.json["data"] == {"compositions": data["compositions"]}
        assert chosen.json["id"] == backup_id
        assert express.request("DELETE", f"/api/backup/{backup_id}").json == {"deleted": True}
        assert_error(express.get(f"/api/backup/{backup_id}"), 404)
    assert page(express) == {"backups": []}


def test_a_file_of_the_express_server_that_was_edited_is_read_as_it_is_now(express):
    page(express)
    path = express.data_dir / file_name(EXPRESS_IDS[0])
    document = json.loads(path.read_text())
    document["data"]["atoms"].insert(0, "edited by hand")
    path.write_text(json.dumps(document))
    read = f"/api/backup/{EXPRESS_IDS[0]}"
    assert express.get(read).json == document
    asked = {"backupId": EXPRESS_IDS[0], "items": ["compositions"]}
    part = express.post("/api/restore", asked).json
    assert part["data"] == {"compositions": document["data"]["compositions"]}
    path.write_bytes(path.read_bytes()[:-100])
    assert_error(express.get(read), 500)


def test_new_backups_sort_among_those_of_the_express_server_by_time(express):
    newer = express.upload({})["id"]
    assert newer > EXPRESS_IDS[0]
    assert express.listed() == [newer, *EXPRESS_IDS]
    assert express.get("/api/backup/latest").json["id"] == newer


def test_a_file_of_the_express_server_with_half_a_surrogate_pair_is_one_too(express):
    text = EXPRESS.joinpath(file_name(EXPRESS_IDS[0])).read_text().replace("Étude", r"\ud83d")
    backup_id = "2026-11-23T02-25-17-000Z-0000"
    text = text.replace(EXPRESS_IDS[0], backup_id)
    (express.data_dir / file_name(backup_id)).write_text(text)
    assert page(express, "?limit=1")["backups"][0]["counts"]["compositions"] == 1
    chosen = express.post("/api/restore", {"backupId": backup_id, "items": ["compositions"]})
    assert rb'"\ud83d' in chosen.body


OTHERS = [
    "notes.txt",
    "backup.json",
    "backup-.json",
    "backup-2026-02-01T10-54-27.json.bak",
    "backup-2026-02-01T10-54-27.jsonx",
    "backup-2026-02-01T10-54-27.txt",
    "backup-2026-02-01.json",
    "xbackup-2026-02-01T10-54-27.json",
    "backup-2026-02-01T10-54-27-.json",
    "backup-2026-02-01T10:54:27.json",
    "2026-02-01T10-54-27.json",
    ".hidden",
    ".upload-notes",
    "upload-0123456789abcdef.tmp",
    "backup-2026-02-01T10-54-27.json\n",
]


def test_anything_else_in_the_directory_is_left_alone_and_listed_nowhere(tmp_path, start_server):
    directory = tmp_path / "shared with others"
    directory.mkdir()
    for name in OTHERS:
        (directory / name).write_text('{"id":"2026-02-01T10-54-27","timestamp":"","data":{}}')
    (directory / "folder").mkdir()
    (directory / os.fsdecode(b"caf\xe9")).write_bytes(b"")
    before = {path: path.stat().st_mtime_ns for path in directory.iterdir()}
    server = start_server(directory)
    backup_id = server.upload({})["id"]
    assert server.listed() == [backup_id]
    assert server.request("DELETE", f"/api/backup/{backup_id}").status == 200
    server.stop()
    assert before.items() <= {path: path.stat().st_mtime_ns for path in directory.iterdir()}.items()
    for path in before:  # which the fixture would take for strays
        path.rmdir() if path.is_dir() else path.unlink()


DAMAGE = {
    "empty": lambda text: b"",
    "cut in the head": lambda text: text[:40],
    "cut in the data": lambda text: text[: len(text) // 2],
    "without its last byte": lambda text: text[:-1],
    "longer": lambda text: text + b" ",
    "garbage": lambda text: b"\xff\x00" * 500,
    "zeros": lambda text: bytes(len(text)),
    "no object": lambda text: b"[]",
    "nested deep": lambda text: b'{"id":"x","timestamp":"","data":' + b"[" * 50_000,
    "another's": lambda text: b'{"name":"package","version":"1.0.0"}',
    "counts of another kind": lambda text: text.replace(b'"counts":{', b'"counts":[{', 1),
    "a layout that leads outside": lambda text: re.sub(rb'"data":\[0,\d', b'"data":[0,9', text),
    "data of another kind": lambda text: b'{"id":"x","timestamp":"t","data":[]}',
    "an id of another kind": lambda text: b'{"id":5,"timestamp":"t","data":{}}',
}


# A blank at its end is no damage to an Express file, and what it does not have cannot be damaged.
OWN_ONLY = ("longer", "counts of another kind", "a layout that leads outside")
DAMAGED = [(kind, name) for kind in ("own", "express") for name in DAMAGE]
DAMAGED = [(kind, name) for kind, name in DAMAGED if kind == "own" or name not in OWN_ONLY]


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A server that has two whole backups, and the ids of damaged ones by kind and name."""
    server = Server(tmp_path_factory.mktemp("damaged") / "data").start()
    sample = (ROOT / "tests" / "samples" / "first-backup.json").read_bytes()
    own = server.data_dir / file_name(server.upload(sample)["id"])
    express = EXPRESS / file_name(EXPRESS_IDS[1])
    ids = {}
    for n, (kind, name) in enumerate(DAMAGED):
        source, form = (own, "{}") if kind == "own" else (express, "{}-000Z-ab12")
        ids[kind, name] = form.format(f"2031-01-01T00-00-{n:02}")
        text = source.read_bytes()
        harmed = DAMAGE[name](text)
        assert harmed != text
        (server.data_dir / file_name(ids[kind, name])).write_bytes(harmed)
    server.upload(sample)
    yield server, ids
    server.stop()


def test_a_damaged_file_never_breaks_the_listing_of_the_others(damaged):
    server, ids = damaged
    assert len(server.listed()) == 2
    assert not set(server.listed()) & set(ids.values())
    assert len(page(server, "?limit=1")["backups"]) == 1
    assert server.get("/api/backup/latest").json["id"] == server.listed()[0]


@pytest.mark.parametrize(("kind", "name"), DAMAGED)
def test_a_damaged_file_is_a_500_that_says_so_and_can_be_deleted(damaged, kind, name):
    server, ids = damaged
    backup_id = ids[kind, name]
    assert_error(server.get(f"/api/backup/{backup_id}"), 500)
    for items in ({}, {"items": ["atoms"]}):
        assert_error(server.post("/api/restore", {"backupId": backup_id, **items}), 500)
    assert server.request("DELETE", f"/api/backup/{backup_id}").status == 200
    assert_error(server.get(f"/api/backup/{backup_id}"), 404)


# --- changes from outside -------------------------------------------------------------------------


def test_what_is_copied_in_or_removed_by_hand_is_noticed_at_once(server, sample):
    ids = [server.upload(sample)["id"] for _ in range(3)]
    files = backups_in(server.data_dir)
    for _ in range(20):
        assert server.listed() == ids[::-1]
        (server.data_dir / file_name(ids[1])).unlink()
        assert server.listed() == [ids[2], ids[0]]
        # As cp or rsync do it: the name first, then the bytes.
        (server.data_dir / file_name(ids[1])).write_bytes(files[file_name(ids[1])])


def test_a_file_that_was_half_copied_when_it_was_listed_is_listed_once_it_is_whole(server, sample):
    backup_id = server.upload(sample)["id"]
    path = server.data_dir / file_name(backup_id)
    text = path.read_bytes()
    path.unlink()
    path.write_bytes(text[:1000])
    assert server.listed() == []
    path.write_bytes(text)
    assert server.listed() == [backup_id]
    assert server.get("/api/backup/latest").body == text


# --- cost -----------------------------------------------------------------------------------------


def test_a_listing_does_not_read_the_data(start_server, tmp_path):
    """Three files of 200 GB each, sparse: reading any of them would take minutes."""
    server = start_server()
    ids = [server.upload({"atoms": ["x" * 100]})["id"] for _ in range(3)]
    server.stop()
    for backup_id in ids:
        path = tmp_path / "data" / file_name(backup_id)
        # The head is made to tell the new size: the end of atoms and of data, both far away.
        head, _, _ = path.read_bytes().partition(b'\n"data":')
        grown = re.sub(rb'"data":\[0,\d+\]', b'"data":[0,%d]' % 200_000_000_000, head)
        path.write_bytes(grown + b'\n"data":')
        os.truncate(path, len(grown) + len(b'\n"data":') + 200_000_000_000 + len(b"}\n"))
    server.start()
    started = time.monotonic()
    assert server.listed() == ids[::-1]
    assert time.monotonic() - started < 5


def test_an_upload_does_not_look_through_the_directory(start_server, tmp_path):
    """Ids in O(1): with 20,000 backups an upload takes no longer than with none."""
    few, many = start_server(tmp_path / "few"), start_server(tmp_path / "many")
    backup_id = many.upload({})["id"]
    for n in range(20_000):
        other = f"2001-{n % 12 + 1:02}-{n // 12 % 28 + 1:02}T{n // 336:02}-00-00"
        os.link(many.data_dir / file_name(backup_id), many.data_dir / file_name(other))

    def seconds(server) -> float:
        started = time.perf_counter()
        server.upload({})
        return time.perf_counter() - started

    pairs = [(seconds(few), seconds(many)) for _ in range(31)]
    # A scan of 20,000 names takes 10 ms and more; an upload, 1 or 2.
    assert median(more - less for less, more in pairs) < 0.005


# --- what is listed is what is there --------------------------------------------------------------


def test_a_directory_whose_times_are_set_to_the_past_is_listed_as_it_is(server, sample):
    """As ``cp -a``, ``tar x`` and ``rsync -a`` do with a copy that they bring back."""
    receipt = server.upload(sample)
    path = server.data_dir / file_name(receipt["id"])
    status = server.data_dir.stat()
    time.sleep(0.1)  # longer than a clock stands still
    assert server.listed() == [receipt["id"]]
    text = path.read_bytes()
    path.unlink()
    os.utime(server.data_dir, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert server.listed() == []
    path.write_bytes(text)
    os.utime(server.data_dir, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert server.listed() == [receipt["id"]]


def test_a_file_that_is_edited_or_replaced_is_listed_as_it_is_served(server):
    receipt = server.upload({"atoms": [1, 2]})
    other = server.upload({"atoms": [1, 2, 3]})
    path = server.data_dir / file_name(receipt["id"])
    assert page(server)["backups"][1]["counts"]["atoms"] == 2
    path.write_bytes((server.data_dir / file_name(other["id"])).read_bytes())
    entry = page(server)["backups"][1]
    assert (entry["id"], entry["counts"]["atoms"]) == (receipt["id"], 3)
    assert server.get(f"/api/backup/{receipt['id']}").json["data"]["atoms"] == [1, 2, 3]


@pytest.mark.parametrize("size", [8 << 40, 500 << 20])
def test_a_file_of_a_wrong_huge_size_hides_and_stops_nothing(start_server, sample, size):
    server = start_server(WEB_CONCURRENCY="1")
    receipt = server.upload(sample)
    own = server.data_dir / file_name("2025-01-01T00-00-00")
    own.write_bytes((server.data_dir / file_name(receipt["id"])).read_bytes())
    express = server.data_dir / file_name("2025-01-01T00-00-01")
    express.write_bytes(b'{ "id": "x" }')
    for path in (own, express):
        os.truncate(path, size)
    assert server.listed() == [receipt["id"]]
    assert peak_of(server) < 100 * MIB
    for path in (own, express):
        address = f"/api/backup/{path.stem.removeprefix('backup-')}"
        assert_error(server.get(address), 500, "It")
        assert server.request("DELETE", address).status == 200
    assert server.listed() == [receipt["id"]]


def test_many_listings_at_once_parse_an_express_file_once(start_server, tmp_path):
    directory = tmp_path / "data"
    shutil.copytree(EXPRESS, directory)
    data = {"atoms": [{"code": "x" * 1000}] * 20_000}
    text = json.dumps({"id": "x", "timestamp": "2026-11-23T02:25:14.004Z", "data": data}, indent=2)
    (directory / file_name("2026-11-23T02-25-18-004Z-8t44")).write_text(text)
    (directory / file_name("2026-11-23T02-25-19-004Z-8t44")).write_text(text[:-1])  # damaged
    server = start_server(directory, WEB_CONCURRENCY="1")
    with ThreadPoolExecutor(20) as pool:
        listings = [*pool.map(lambda _: server.listed(), range(40))]
    assert {len(listing) for listing in listings} == {4}
    assert peak_of(server) < 200 * MIB, "one file of 20 MB at a time"


def peak_of(server: Server) -> int:
    """Return the most memory that the worker has had, in bytes."""
    status = Path(f"/proc/{worker_of(server)}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024


@pytest.fixture
def whole_seconds(tmp_path):
    """A file system whose times are whole seconds: ext4 with inodes of 128 bytes."""
    require_tool("mkfs.ext4")
    image, point = tmp_path / "image", tmp_path / "mounted"
    image.touch()
    os.truncate(image, 64 << 20)
    make = ["mkfs.ext4", "-q", "-I", "128", str(image)]
    subprocess.run(make, check=True, capture_output=True)
    with mounted(point, "-o", "loop", str(image)):
        yield point


@pytest.fixture(params=["this file system", "whole seconds"])
def any_times(request, tmp_path):
    """A directory where a clock stands still for milliseconds, and one where for a second."""
    if request.param == "whole seconds":
        return request.getfixturevalue("whole_seconds")
    return tmp_path


def test_a_file_edited_again_before_the_clock_moves_is_listed_as_it_is_served(
    any_times, start_server
):
    server = start_server(any_times / "data")
    receipt = server.upload({"atoms": [1, 2]})
    path = server.data_dir / file_name(receipt["id"])
    text = path.read_bytes()
    for number in range(40):
        count = number % 10
        path.write_bytes(text.replace(b'"atoms":2', b'"atoms":%d' % count))  # of the same size
        assert page(server)["backups"][0]["counts"]["atoms"] == count
        assert server.get("/api/backup/latest").json["counts"]["atoms"] == count


def test_an_express_file_edited_again_before_the_clock_moves_is_read_as_it_is(
    any_times, start_server
):
    server = start_server(any_times / "data")
    backup_id = "2026-11-23T02-25-18-004Z-8t44"
    path = server.data_dir / file_name(backup_id)
    asked = {"backupId": backup_id, "items": ["snapshots"]}
    for number in range(20):
        # Of one size, but what is where differs.
        atoms, snapshots = [1] * (number % 10), [number % 10] * (9 - number % 10)
        data = {"atoms": atoms, "snapshots": snapshots, "x": "y" * (not (atoms and snapshots))}
        document = json.dumps({"id": backup_id, "timestamp": "t", "data": data})
        path.write_text(document.ljust(120))
        counts = page(server)["backups"][0]["counts"]
        assert (counts["atoms"], counts["snapshots"]) == (len(atoms), len(snapshots))
        assert server.post("/api/restore", asked).json["data"] == {"snapshots": snapshots}


def test_what_was_acknowledged_is_listed_where_times_are_whole_seconds(whole_seconds, start_server):
    servers = [start_server(whole_seconds / "data") for _ in range(2)]
    for number in range(24):
        # Two in one second, the directory looked at in between.
        backup_id = servers[number % 2].upload({})["id"]
        for server in servers:
            assert server.listed()[0] == backup_id
            assert server.get("/api/backup/latest").json["id"] == backup_id
        time.sleep(0.07)
