"""What the world does to a running server: full disks, lost directories, failing reads, damage.

For each: the status and the sentence, the old bytes intact, no stray, what is still served, and
that it recovers without a restart when the fault has gone.
"""

import errno
import gzip
import http.client
import json
import os
import resource
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from support import Answer, Server, assert_error, backups_in, require_tool, strays_in

from .tracing import traced, worker_of

KEY = "?key=0123456789abcdef"


@pytest.fixture
def start_server(start_server):
    """Servers of one worker, whose system calls can be made to fail."""
    return partial(start_server, WEB_CONCURRENCY="1")


@contextmanager
def mounted(path: Path, *options: str) -> Iterator[None]:
    """Mount something on a directory while the block runs; only root can."""
    path.mkdir(exist_ok=True)
    run = subprocess.run(["mount", *options, str(path)], capture_output=True, text=True)
    if run.returncode:
        pytest.fail(f"a file system cannot be mounted: {run.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Make a directory unwritable: by its mode, or for root, who passes that, by a mount."""
    if os.geteuid():
        path.chmod(0o555)
        yield
        path.chmod(0o755)
    else:
        with mounted(path, "--bind", "-o", "ro", str(path)):
            yield


def fill(path: Path, leave: int) -> Path:
    """Fill a file system up to so many bytes; return the file to remove again."""
    filler = path / "filler"
    status = os.statvfs(path)
    with open(filler, "wb") as file:
        file.write(bytes(status.f_bavail * status.f_bsize - leave))
    return filler


def check_reads(server: Server, receipt: dict, body: bytes) -> None:
    """Check that all ways to read still give this backup, which must be the newest one."""
    assert receipt["id"] in server.listed()
    document = server.get("/api/backup/latest")
    assert document.status == 200
    assert document.json["id"] == receipt["id"]
    assert document.json["data"]["atoms"] == json.loads(body)["atoms"]
    assert server.get(f"/api/backup/{receipt['id']}").body == document.body
    part = server.post("/api/restore", {"backupId": receipt["id"], "items": ["atoms"]})
    assert part.json["data"] == {"atoms": json.loads(body)["atoms"]}


def check_refused(server: Server, answer: Answer, status: int, *words: str) -> None:
    """Check an answer to an upload while the directory is there but takes nothing."""
    kept = backups_in(server.data_dir)
    assert_error(answer, status, *words)
    assert backups_in(server.data_dir) == kept
    assert [name for name in strays_in(server.data_dir) if name != "filler"] == []


@pytest.fixture
def full(tmp_path, start_server, sample):
    """A server with one backup on a tmpfs of 4 MiB, all but full."""
    with mounted(tmp_path / "data", "-t", "tmpfs", "-o", "size=4m", "tmpfs"):
        server = start_server()
        receipt = server.upload(sample)
        yield server, receipt, fill(server.data_dir, 8192)
        server.stop()


@pytest.mark.parametrize("way", ["plain", "chunked", "gzip", "keyed"])
def test_on_a_full_disk_an_upload_is_a_507_and_all_else_goes_on(full, sample, way):
    server, receipt, filler = full
    kept = backups_in(server.data_dir)
    query = KEY if way == "keyed" else ""
    headers, body = {}, sample
    if way == "gzip":
        headers, body = {"Content_Encoding": "gzip"}, gzip.compress(sample)
    for _ in range(3):
        sent = iter([body]) if way == "chunked" else body
        answer = server.request("POST", "/api/backup" + query, sent, **headers)
        check_refused(server, answer, 507, "No space left on device")
    assert backups_in(server.data_dir) == kept
    check_reads(server, receipt, sample)
    filler.unlink()
    check_reads(server, server.upload(sample, query), sample)


def test_a_disk_that_fills_up_while_a_large_body_is_received_is_a_507_too(full, sample):
    server, receipt, filler = full
    filler.write_bytes(bytes(1_500_000))
    large = b'{"atoms":["%s"]}' % (b"x" * 3_000_000)
    check_refused(server, server.post("/api/backup", large), 507, "No space left on device")
    check_reads(server, receipt, sample)
    # It fits once, but not twice: as received, and as stored.
    large = b'{"atoms":["%s"]}' % (b"x" * 1_600_000)
    check_refused(server, server.post("/api/backup", large), 507, "No space left on device")
    filler.unlink()
    check_reads(server, server.upload(large), large)


@pytest.mark.parametrize("padding", [0, 1_300_000], ids=["in memory", "through a file"])
def test_a_change_whose_result_has_no_room_is_a_507_and_its_retry_stores_it_once(
    full, sample, padding
):
    server, _, filler = full
    filler.unlink()
    base = server.upload(sample.replace(b"{", b'{"pad":"%s",' % (b"x" * padding), 1))["id"]
    filler = fill(server.data_dir, 8192)
    change = {"atoms": {"put": [{"slug": "new"}]}, "clientTimestamp": "t"}
    path = f"/api/backup{KEY}&base={base}"
    for _ in range(3):
        check_refused(server, server.post(path, change), 507, "No space left on device")
    filler.unlink()
    receipt = server.post(path, change)
    assert receipt.status == 201
    assert server.post(path, change).body == receipt.body
    check_reads(
        server,
        receipt.json,
        json.dumps({"atoms": [*json.loads(sample)["atoms"], {"slug": "new"}]}).encode(),
    )


def test_a_disk_without_a_single_block_left_is_unhealthy_and_deleting_mends_it(full, sample):
    server, receipt, filler = full
    filler.unlink()
    fill(server.data_dir, 0)
    health = server.get("/api/health")
    assert (health.status, health.json["status"]) == (503, "unavailable")
    assert "no room" in health.json["error"]
    check_reads(server, receipt, sample)
    assert server.request("DELETE", f"/api/backup/{receipt['id']}").status == 200
    assert server.get("/api/health").status == 200
    assert server.upload({"atoms": ["small"]})["counts"]["atoms"] == 1


def test_a_disk_without_inodes_left_is_a_507(tmp_path, start_server, sample):
    with mounted(tmp_path / "data", "-t", "tmpfs", "-o", "size=4m,nr_inodes=12", "tmpfs"):
        server = start_server()
        receipt = server.upload(sample)
        answers = [server.post("/api/backup", sample) for _ in range(12)]
        assert {answer.status for answer in answers} == {201, 507}
        check_refused(server, answers[-1], 507, "No space left on device")
        assert receipt["id"] in server.listed()
        for answer in answers:
            if answer.status == 201:
                server.request("DELETE", answer.headers["Location"])
        check_reads(server, server.upload(sample), sample)
        server.stop()


def test_with_a_full_quota_health_tells_what_an_upload_meets(tmp_path, start_server):
    """A quota of btrfs, since the kernels of many machines have no others."""
    image, point = tmp_path / "image", tmp_path / "mounted"
    with open(image, "wb") as file:
        file.truncate(256 << 20)
    subprocess.run([require_tool("mkfs.btrfs"), "-q", str(image)], check=True)
    with mounted(point, "-o", "loop", str(image)):
        for command in (
            ("subvolume", "create", f"{point}/data"),
            ("quota", "enable", str(point)),
            ("qgroup", "limit", "2M", f"{point}/data"),
        ):
            subprocess.run(["btrfs", *command], check=True, capture_output=True)
        server = start_server(point / "data")
        answer = server.post("/api/backup", {})
        while answer.status == 201:
            answer = server.post("/api/backup", {"atoms": ["x" * 50_000]})
        while answer.status == 201 or (answer := server.post("/api/backup", {})).status == 201:
            answer = server.post("/api/backup", {})
        time.sleep(1.1)  # it looks once a second
        assert server.get("/api/health").status == 503
        check_refused(server, answer, 507, "quota")
        assert "quota" in server.get("/api/health").json["error"]
        for backup_id in server.listed()[:20]:
            assert server.request("DELETE", f"/api/backup/{backup_id}").status == 200
        subprocess.run(["sync"], check=True)  # what was deleted is counted off a little later
        assert server.upload({})
        assert server.get("/api/health").status == 200
        server.stop()


def test_keys_that_cannot_be_written_make_the_server_unhealthy(start_server, sample):
    """As when root brought them back: the front end sends a key with every upload."""
    server = start_server()
    server.upload(sample, KEY)
    with read_only(server.data_dir / ".keys"):
        health = server.get("/api/health")
        assert (health.status, health.json["status"]) == (503, "unavailable")
        assert ".keys" in health.json["error"]
        assert_error(server.post("/api/backup?key=another-key-of-16", sample), 503)
    assert server.get("/api/health").status == 200
    assert server.upload(sample, "?key=another-key-of-16")


@pytest.mark.parametrize("query", ["", KEY])
def test_a_directory_that_cannot_be_written_is_read_and_recovers(start_server, sample, query):
    server = start_server()
    receipt = server.upload(sample)
    large = b'{"atoms":["%s"]}' % (b"x" * 1_500_000)
    with read_only(server.data_dir):
        for body in (sample, large):
            answer = server.post("/api/backup" + query, body)
            check_refused(server, answer, 503)
            assert answer.headers["Retry-After"]
        assert_error(server.request("DELETE", f"/api/backup/{receipt['id']}"), 503)
        health = server.get("/api/health")
        assert (health.status, health.json["status"]) == (503, "unavailable")
        assert str(server.data_dir) in health.json["error"]
        assert os.geteuid() or "read-only" in health.json["error"]
        check_reads(server, receipt, sample)
    assert server.get("/api/health").status == 200
    check_reads(server, server.upload(sample, query), sample)


def test_a_server_starts_on_a_directory_that_cannot_be_written_and_serves_it(start_server, sample):
    first = start_server()
    receipt = first.upload(sample)
    first.stop()
    with read_only(first.data_dir):
        server = start_server()
        check_reads(server, receipt, sample)
        assert server.get("/api/health").status == 503
        server.stop()


def test_a_directory_removed_while_running_is_unavailable_until_it_is_back(start_server, sample):
    server = start_server()
    receipt = server.upload(sample)
    away = server.data_dir.with_name("away")
    server.data_dir.rename(away)
    for answer in (
        server.post("/api/backup", sample),
        server.post("/api/backup", b'{"atoms":["%s"]}' % (b"x" * 1_500_000)),
        server.get("/api/backup/list"),
        server.get("/api/backup/latest"),
        server.get(f"/api/backup/{receipt['id']}"),
        server.post("/api/restore", {"backupId": receipt["id"]}),
        server.request("DELETE", f"/api/backup/{receipt['id']}"),
    ):
        assert_error(answer, 503, os.strerror(errno.ENOENT))
    health = server.get("/api/health")
    assert (health.status, health.json["status"]) == (503, "unavailable")
    assert not server.data_dir.exists()
    away.rename(server.data_dir)
    check_reads(server, receipt, sample)
    check_reads(server, server.upload(sample), sample)


@contextmanager
def failing(
    server: Server, name: str, error: str = "EIO", when: str = "1", *options: str
) -> Iterator[None]:
    """Let system calls of this name fail in every thread of the server."""
    log = server.data_dir.with_name("strace.log")
    inject = ("-e", f"trace={name}", "-e", f"inject={name}:error={error}:when={when}")
    with traced(worker_of(server), log, *inject, *options):
        yield
    assert "(INJECTED)" in log.read_text()


def test_a_disk_that_cannot_sync_is_a_503_and_stores_nothing(start_server, sample):
    server = start_server()
    receipt = server.upload(sample)
    for number in "12":  # the bytes, the directory
        with failing(server, "fsync", when=number):
            answer = server.post("/api/backup", sample)
            check_refused(server, answer, 503, os.strerror(errno.EIO))
        check_reads(server, receipt, sample)
    check_reads(server, server.upload(sample), sample)


def test_a_file_that_cannot_be_read_is_a_503_and_never_a_short_answer(start_server, sample):
    server = start_server()
    receipt = server.upload(sample)
    path = f"/api/backup/{receipt['id']}"
    asked = {"backupId": receipt["id"], "items": ["atoms"]}
    with failing(server, "pread64", when="1+"):
        assert_error(server.get(path), 503, os.strerror(errno.EIO))
        assert_error(server.post("/api/restore", asked), 503, os.strerror(errno.EIO))
    file = server.data_dir / f"backup-{receipt['id']}.json"
    sending = failing(server, "sendfile,read", "EIO", "1+", "-P", str(file))
    with sending, pytest.raises(http.client.HTTPException):
        server.get(path)
    # The second read of any thread: with more reads than threads, one in the midst of the answer.
    large = b'{"atoms":["%s"]}' % (b"x" * 3_000_000)
    receipt = server.upload(large)
    asked = {"backupId": receipt["id"], "items": ["atoms"]}
    with failing(server, "pread64", when="2+"), pytest.raises(http.client.HTTPException):
        server.post("/api/restore", asked)
    check_reads(server, receipt, large)


@pytest.mark.parametrize(
    ("name", "error", "when"),
    [("getdents64", "EIO", "1"), ("openat", "EMFILE", "2"), ("pread64", "ENOMEM", "1")],
)
@pytest.mark.parametrize("path", ["/api/backup/list", "/api/backup/latest"])
def test_what_cannot_be_read_for_now_is_a_503_and_no_shorter_list_or_older_backup(
    start_server, sample, path, name, error, when
):
    first = start_server()
    first.upload(sample)
    receipt = first.upload(sample)
    first.stop()
    server = start_server(first.data_dir)  # which has not read any head yet
    with failing(server, name, error, when):
        assert_error(server.get(path), 503, os.strerror(getattr(errno, error)))
    assert len(server.listed()) == 2
    check_reads(server, receipt, sample)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        pytest.param("pread64", "EIO", id="a bad sector"),
        pytest.param("openat", "EACCES", id="another user's file"),
        pytest.param("openat", "EUCLEAN", id="a corrupt inode"),
        pytest.param("openat", "EBADMSG", id="a corrupt inode of another kind"),
    ],
)
def test_a_file_whose_head_cannot_be_read_is_left_out_of_the_list_until_it_can(
    start_server, sample, name, error
):
    first = start_server()
    older, newer = first.upload(sample), first.upload(sample)
    first.stop()
    server = start_server(first.data_dir)
    file = server.data_dir / f"backup-{newer['id']}.json"
    with failing(server, name, error, "1", "-P", str(file)):
        assert server.listed() == [older["id"]]
    assert f"backup-{newer['id']}.json is left out" in server.log
    check_reads(server, newer, sample)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        pytest.param("pread64", "EIO", id="a bad sector"),
        pytest.param("openat", "EACCES", id="another user's file"),
        pytest.param("openat", "EUCLEAN", id="a corrupt inode"),
    ],
)
def test_a_file_that_cannot_be_read_can_be_deleted_and_its_key_used_again(
    start_server, sample, name, error
):
    server = start_server()
    receipt = server.upload(sample, KEY)
    file = server.data_dir / f"backup-{receipt['id']}.json"
    with failing(server, name, error, "1+", "-P", str(file)):
        again = server.upload(sample, KEY)
        assert server.request("DELETE", f"/api/backup/{receipt['id']}").status == 200
    assert server.listed() == [again["id"]]
    assert server.post("/api/backup" + KEY, sample).json == again
    check_reads(server, again, sample)


DAMAGES = {
    "nothing left": lambda text: b"",
    "half of it": lambda text: text[: len(text) // 2],
    "only its head": lambda text: text[: text.index(b'"data"')],
    "no head": lambda text: text[100:],
    "more than it": lambda text: text + b"x",
    "zeros, as after a power cut": lambda text: bytes(len(text)),
    "another's": lambda text: b'{"some":"json"}',
    "not UTF-8": lambda text: b'{"id":"\xff"}',
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_told_apart_and_harms_no_other(start_server, sample, damage):
    server = start_server()
    whole = server.upload(sample)
    broken = server.upload(sample)
    path = server.data_dir / f"backup-{broken['id']}.json"
    path.write_bytes(damage(path.read_bytes()))
    server.stop()
    server = start_server()
    assert server.listed() == [whole["id"]]
    check_reads(server, whole, sample)
    for answer in (
        server.get(f"/api/backup/{broken['id']}"),
        server.post("/api/restore", {"backupId": broken["id"], "items": ["atoms"]}),
    ):
        assert_error(answer, 500)
    environ = {**server.environ, "PORT": "1"}
    command = [*server.command, "verify"]
    run = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert run.returncode == 1
    assert path.name in run.stdout
    newest = server.upload(sample)
    check_reads(server, newest, sample)
    assert server.request("DELETE", f"/api/backup/{broken['id']}").status == 200
    assert server.listed() == [newest["id"], whole["id"]]


def test_a_flipped_bit_is_found_by_verify(start_server, sample):
    server = start_server()
    receipt = server.upload(sample)
    path = server.data_dir / f"backup-{receipt['id']}.json"
    text = bytearray(path.read_bytes())
    text[len(text) // 2] ^= 1
    path.write_bytes(text)
    run = subprocess.run(
        [*server.command, "verify"], env=server.environ, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert path.name in run.stdout


def test_what_only_looks_like_a_backup_is_none(start_server, sample, tmp_path, monkeypatch):
    server = start_server()
    receipt = server.upload(sample)
    secret = tmp_path / "secret.json"
    secret.write_bytes((server.data_dir / f"backup-{receipt['id']}.json").read_bytes())
    names = [f"2031-01-01T00-00-00-000{number}" for number in range(5)]
    paths = [server.data_dir / f"backup-{name}.json" for name in names]
    paths[0].symlink_to(secret)
    paths[1].mkdir()
    os.mkfifo(paths[2])
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(server.data_dir)  # a socket's path may be 107 bytes long
        listener.bind(paths[3].name)
    paths[4].symlink_to("nowhere")
    assert server.listed() == [receipt["id"]]
    check_reads(server, receipt, sample)
    for name in names:
        for method in ("GET", "HEAD"):
            assert server.request(method, f"/api/backup/{name}").status == 404
        assert_error(server.post("/api/restore", {"backupId": name}), 404)


@contextmanager
def descriptors_left(server: Server, number: int) -> Iterator[None]:
    """Leave the server so many file descriptors to open."""
    worker = worker_of(server)
    limits = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    opened = {int(name) for name in os.listdir(f"/proc/{worker}/fd")}
    free = [name for name in range(len(opened) + number + 1) if name not in opened]
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (free[number], limits[1]))
    try:
        yield
    finally:
        resource.prlimit(worker, resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("left", range(4))
def test_without_file_descriptors_it_says_so_and_never_shows_less_than_there_is(
    start_server, sample, left
):
    first = start_server()
    receipt = first.upload(sample)
    first.stop()
    server = start_server(first.data_dir)  # which has not read any head yet
    connection = server.connect()

    def ask(method: str, path: str, body: bytes | None = None) -> Answer:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())

    assert ask("GET", "/api/health").status == 200
    large = b'{"atoms":["%s"]}' % (b"x" * 1_500_000)
    asked = json.dumps({"backupId": receipt["id"]}).encode()
    with descriptors_left(server, left):
        for path, body in (
            ("/api/backup/list", None),
            ("/api/backup/latest", None),
            (f"/api/backup/{receipt['id']}", None),
            ("/api/restore", asked),
            ("/api/backup", sample),
            ("/api/backup" + KEY, sample),
            ("/api/backup", large),
        ):
            answer = ask("POST" if body else "GET", path, body)
            if answer.status == 503:
                assert_error(answer, 503, os.strerror(errno.EMFILE))
            elif path.endswith("list"):
                assert [backup["id"] for backup in answer.json["backups"]] == [receipt["id"]]
            elif body in (None, asked):
                assert answer.json["id"] == receipt["id"]
            else:
                assert answer.status == 201
                ask("DELETE", answer.headers["Location"])
            assert left or answer.status == 503
        assert strays_in(server.data_dir) == []
    connection.close()
    assert server.listed() == [receipt["id"]]
    check_reads(server, server.upload(sample, KEY), sample)


def test_connections_beyond_the_file_descriptors_wait_and_are_served(start_server, sample):
    server = start_server()
    receipt = server.upload(sample)
    with descriptors_left(server, 8):
        waiting = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
        try:
            assert server.get("/api/health").status == 200
        finally:
            for connection in waiting:
                connection.close()
    check_reads(server, receipt, sample)
