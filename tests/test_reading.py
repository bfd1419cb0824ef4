"""GET and HEAD of a backup, by its id or as the latest: bytes, validators, ranges, ids."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import raw
from support import assert_error, strays_in

from backup_server.ids import file_name

SIZE = 3_000_000


@pytest.fixture(scope="module")
def backup(shared_server):
    """The path and the stored bytes of a backup that is larger than any buffer on the way."""
    receipt = shared_server.upload({"atoms": [{"text": "x" * SIZE}]})
    path = shared_server.data_dir / file_name(receipt["id"])
    return f"/api/backup/{receipt['id']}", path.read_bytes()


# --- the document ---------------------------------------------------------------------------------


def test_the_answer_is_the_file_as_it_lies_on_the_disk(server, backup):
    path, text = backup
    answer = server.get(path)
    assert (answer.status, answer.body) == (200, text)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Length"] == str(len(text))
    assert answer.headers["Accept-Ranges"] == "bytes"


def test_a_document_is_not_kept_by_caches_that_others_share(server, backup):
    assert "private" in server.get(backup[0]).headers["Cache-Control"]
    assert server.get("/api/backup/list").headers["Cache-Control"] == "no-store"


def test_head_is_get_without_the_body(server, backup):
    get, head = server.get(backup[0]), server.request("HEAD", backup[0])
    assert (head.status, head.body) == (200, b"")
    for name in ("Content-Length", "Content-Type", "ETag", "Accept-Ranges"):
        assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize("path", ["/api/backup/list", "/api/health", "/api/backup/latest"])
def test_head_works_wherever_get_does_and_leaves_the_connection_usable(server, backup, path):
    with raw.connect(server) as connection:
        connection.sendall(raw.head(f"HEAD {path}"))
        answer = raw.receive(connection, "HEAD")
        assert (answer.status, answer.body) == (200, b"")
        assert int(answer.headers["Content-Length"]) > 0
        connection.sendall(raw.head("GET /api/health"))
        assert raw.receive(connection).json["status"] == "ok"


def test_head_of_an_unknown_backup_is_a_404_without_a_body(server):
    answer = server.request("HEAD", "/api/backup/2020-01-01T00-00-00")
    assert (answer.status, answer.body) == (404, b"")
    assert answer.headers["Content-Type"] == "application/json"


# --- validators -----------------------------------------------------------------------------------


def test_the_etag_is_strong_stays_and_differs_by_backup(server, backup):
    tag = server.get(backup[0]).headers["ETag"]
    assert tag.startswith('"')
    assert tag.endswith('"')
    assert server.get(backup[0]).headers["ETag"] == tag
    other = server.upload({"atoms": [{"text": "x" * SIZE}]})["id"]
    assert server.get(f"/api/backup/{other}").headers["ETag"] != tag


def test_the_etag_is_the_same_after_a_restart_and_from_another_server(start_server):
    servers = [start_server(), start_server()]
    path = f"/api/backup/{servers[0].upload({})['id']}"
    tag = servers[0].get(path).headers["ETag"]
    assert servers[1].get(path).headers["ETag"] == tag
    servers[0].stop()
    assert servers[0].start().get(path).headers["ETag"] == tag


@pytest.mark.parametrize("pattern", ["{tag}", "*", "W/{tag}", '"other", {tag}'])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_the_client_has_already_is_a_304(server, backup, pattern, method):
    tag = server.get(backup[0]).headers["ETag"]
    answer = server.request(method, backup[0], If_None_Match=pattern.format(tag=tag))
    assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", tag)


def test_what_the_client_does_not_have_is_sent(server, backup):
    answer = server.get(backup[0], If_None_Match='"other"')
    assert (answer.status, answer.body) == (200, backup[1])


def test_the_latest_has_its_own_etag_until_there_is_a_newer_one(server, sample):
    receipt = server.upload(sample)
    tag = server.get("/api/backup/latest").headers["ETag"]
    assert tag == server.get(f"/api/backup/{receipt['id']}").headers["ETag"]
    assert server.get("/api/backup/latest", If_None_Match=tag).status == 304
    newer = server.upload(sample)
    answer = server.get("/api/backup/latest", If_None_Match=tag)
    assert (answer.status, answer.json["id"]) == (200, newer["id"])


# --- ranges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=0-99", slice(0, 100)),
        ("bytes=1000000-2000000", slice(1_000_000, 2_000_001)),
        ("bytes=2999000-", slice(2_999_000, None)),
        ("bytes=-5", slice(-5, None)),
        ("bytes=5-99999999", slice(5, None)),
        ("bytes=-99999999", slice(0, None)),
    ],
)
def test_a_range_is_a_206_of_exactly_these_bytes(server, backup, asked, part):
    path, text = backup
    answer = server.get(path, Range=asked)
    expected = text[part]
    assert (answer.status, answer.body) == (206, expected)
    first = part.indices(len(text))[0]
    last = first + len(expected) - 1
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(text)}"
    assert answer.headers["Content-Length"] == str(len(expected))
    assert answer.headers["ETag"] == server.get(path).headers["ETag"]


def test_an_interrupted_download_goes_on_where_it_broke_off(server, backup):
    path, text = backup
    with raw.connect(server) as connection:
        connection.sendall(raw.head(f"GET {path}"))
        begun = b""
        while len(begun) < 100_000:
            begun += connection.recv(10_000)
    head, _, got = begun.partition(b"\r\n\r\n")
    tag = server.get(path).headers["ETag"]
    assert tag.encode() in head
    rest = server.get(path, Range=f"bytes={len(got)}-", If_Range=tag)
    assert (rest.status, got + rest.body) == (206, text)


@pytest.mark.parametrize("validator", ['"other"', "W/{}", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_range_of_something_else_is_answered_with_the_whole(server, backup, validator):
    tag = server.get(backup[0]).headers["ETag"]
    answer = server.get(backup[0], Range="bytes=5-9", If_Range=validator.format(tag))
    assert (answer.status, answer.body) == (200, backup[1])


def test_a_backup_that_is_not_the_one_asked_for_is_an_error_without_it(server, backup):
    tag = server.get(backup[0]).headers["ETag"]
    for wanted in ('"other"', '"one", "two"', f"W/{tag}"):
        for more in ({}, {"Range": "bytes=0-9"}, {"If_None_Match": tag}):
            assert_error(server.get(backup[0], If_Match=wanted, **more), 412, "If-Match")
        head = server.request("HEAD", backup[0], If_Match=wanted)
        assert (head.status, head.body) == (412, b"")


def test_a_backup_that_is_the_one_asked_for_is_sent(server, backup):
    tag = server.get(backup[0]).headers["ETag"]
    for wanted in (tag, f'"one", {tag}', "*"):
        assert server.get(backup[0], If_Match=wanted).body == backup[1]
        assert server.get(backup[0], If_Match=wanted, Range="bytes=5-9").body == backup[1][5:10]
        head = server.request("HEAD", backup[0], If_Match=wanted)
        assert head.headers["Content-Length"] == str(len(backup[1]))
        # What comes after the first condition (RFC 9110, section 13.2.2).
        for more in ({}, {"Range": "bytes=5-9"}):
            answer = server.get(backup[0], If_Match=wanted, If_None_Match=tag, **more)
            assert (answer.status, answer.body) == (304, b"")


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0"])
def test_a_range_past_the_end_is_a_416_that_tells_the_size(server, backup, asked):
    answer = server.get(backup[0], Range=asked)
    assert_error(answer, 416, "range")
    assert answer.headers["Content-Range"] == f"bytes */{len(backup[1])}"


@pytest.mark.parametrize("asked", ["items=0-4", "bytes=0-1,4-5", "bytes=5-2", "nonsense", ""])
def test_a_range_that_is_not_understood_is_ignored(server, backup, asked):
    answer = server.get(backup[0], Range=asked)
    assert (answer.status, answer.body) == (200, backup[1])


def test_a_range_means_something_to_get_only(server, backup):
    answer = server.request("HEAD", backup[0], Range="bytes=0-4")
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(backup[1])))


# --- the latest -----------------------------------------------------------------------------------


def test_there_is_no_latest_of_nothing(start_server):
    assert_error(start_server().get("/api/backup/latest"), 404, "no backup yet")


def test_the_latest_is_the_newest_and_the_one_before_it_when_that_is_deleted(start_server):
    server = start_server()
    ids = [server.upload({"atoms": [n]})["id"] for n in range(3)]
    for backup_id in reversed(ids):
        document = server.get("/api/backup/latest").json
        assert document["id"] == backup_id
        assert server.request("DELETE", f"/api/backup/{backup_id}").status == 200
    assert_error(server.get("/api/backup/latest"), 404)


def test_the_latest_is_never_older_than_an_upload_that_was_answered(start_server):
    # Two servers, three processes: who asks has never been told by who stored.
    servers = [start_server(WEB_CONCURRENCY="2"), start_server()]

    def rounds(n):
        for turn in range(25):
            stored = servers[(n + turn) % 2].upload({})["id"]
            for reader in servers:
                latest = reader.get("/api/backup/latest", Range="bytes=0-60").body
                assert json.loads(latest.split(b",")[0] + b"}")["id"] >= stored
                assert reader.get("/api/backup/list?limit=1").json["backups"][0]["id"] >= stored

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(rounds, range(3)))


def test_a_latest_that_is_damaged_gives_way_to_the_one_before(start_server, tmp_path):
    server = start_server()
    whole, damaged = server.upload({})["id"], server.upload({})["id"]
    (tmp_path / "data" / file_name(damaged)).write_bytes(b"{")
    server.stop()
    assert server.start().get("/api/backup/latest").json["id"] == whole


# --- ids ------------------------------------------------------------------------------------------

NO_IDS = [
    "2020-01-01T00-00-00",
    "2026-02-01T10-54-27-0001",
    "2026-02-01T10-54-27-123Z-ab12",
    "9999-99-99T99-99-99",
    "x",
    "%00",
    "2020-01-01T00-00-00%00",
    "2020-01-01T00-00-00%0a",
    "2020-01-01T00-00-00.json",
    "backup-2020-01-01T00-00-00.json",
    "%D9%A2020-01-01T00-00-00",
    "%ff",
    ".",
    "..",
    "%2e%2e",
    "../secret",
    "..%2fsecret",
    "x%2f..%2f..%2fsecret",
    "x/../../secret",
    "%2e%2e%2fsecret.json",
    "%252e%252e%252fsecret",
    "..%5csecret",
    "%2fetc%2fpasswd",
    "2020-01-01T00-00-00%2f..%2f..%2fsecret",
    ".last-id",
    ".keys",
    "*",
    "a" * 3000,
]


@pytest.fixture(scope="module")
def secret(shared_server):
    """A file beside the storage directory, in the very form of a backup, that no id may reach."""
    path = shared_server.data_dir.parent / "secret.json"
    path.write_text('{"id":"secret","timestamp":"t","data":{"atoms":["SECRET"]}}')
    twin = path.with_name("backup-secret.json")
    twin.write_text(path.read_text())
    return path


@pytest.mark.parametrize("no_id", NO_IDS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_an_unknown_malformed_or_path_like_id_is_a_404(server, secret, method, no_id):
    answer = raw.exchange(server, raw.head(f"{method} /api/backup/{no_id}"), method=method)
    if method == "HEAD":
        assert answer.status == 404
    else:
        assert_error(answer, 404)
    assert secret.exists()


@pytest.mark.parametrize("no_id", [*NO_IDS, "", "latest", "x/../../secret", "../secret", "\ud800"])
def test_restore_knows_no_other_ids_either(server, secret, no_id):
    for items in ({}, {"items": ["atoms"]}):
        assert_error(server.post("/api/restore", {"backupId": no_id, **items}), 404, "backup")


@pytest.mark.parametrize("kind", ["link", "directory", "pipe"])
def test_what_only_bears_a_backups_name_is_none(start_server, tmp_path, kind):
    server = start_server()
    path = tmp_path / "data" / file_name("2026-01-01T00-00-00")
    if kind == "link":
        outside = tmp_path / "secret.json"
        outside.write_text('{"id":"2026-01-01T00-00-00","timestamp":"t","data":{}}')
        path.symlink_to(outside)
    elif kind == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)
    assert server.listed() == []
    for method in ("GET", "DELETE"):
        assert_error(server.request(method, "/api/backup/2026-01-01T00-00-00"), 404)
    assert_error(server.post("/api/restore", {"backupId": "2026-01-01T00-00-00"}), 404)
    assert_error(server.get("/api/backup/latest"), 404)
    assert strays_in(server.data_dir) == []
    assert path.exists()
