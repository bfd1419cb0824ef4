"""GET /api/health: whether backups can be stored, asked once a second and by anyone."""

import os
import shutil
import sys
import time
from datetime import UTC, datetime
from statistics import median

import pytest
from support import assert_error, backups_in, require_tool


def test_a_healthy_server_says_so_and_when(server):
    answer = server.get("/api/health")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert list(answer.json) == ["status", "timestamp"]
    assert answer.json["status"] == "ok"
    assert answer.json["timestamp"].endswith("Z")
    age = datetime.now(UTC) - datetime.fromisoformat(answer.json["timestamp"])
    assert abs(age.total_seconds()) < 10


def test_it_needs_no_token_and_no_trusted_host_name(start_server):
    server = start_server(BACKUP_TOKEN="t0ken", TRUSTED_HOSTS="portfolio.example")
    for host in ("evil.example", "127.0.0.1", "", "a b"):
        assert server.get("/api/health", Host=host).status == 200
    assert_error(server.get("/api/backup/list", Host="portfolio.example"), 401)


def unavailable(server) -> str:
    answer = server.get("/api/health")
    assert answer.status == 503
    assert answer.headers["Content-Type"] == "application/json"
    assert list(answer.json) == ["status", "timestamp", "error"]
    assert answer.json["status"] == "unavailable"
    assert answer.json["error"].endswith(".")
    return answer.json["error"]


def test_a_directory_that_is_gone_is_a_503_until_it_is_back(start_server, tmp_path, sample):
    server = start_server()
    server.upload(sample)
    before = backups_in(server.data_dir)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    assert "storage directory" in unavailable(server)
    for method, path, body in (
        ("POST", "/api/backup", sample),
        ("GET", "/api/backup/list", None),
        ("GET", "/api/backup/latest", None),
        ("GET", f"/api/backup/{next(iter(before))[7:-5]}", None),
        ("DELETE", f"/api/backup/{next(iter(before))[7:-5]}", None),
    ):
        assert_error(server.request(method, path, body), 503)
    (tmp_path / "elsewhere").rename(tmp_path / "data")
    assert server.get("/api/health").json["status"] == "ok"
    assert server.upload(sample)
    assert before.items() <= backups_in(server.data_dir).items()


def test_a_file_in_the_directorys_place_is_a_503(start_server, tmp_path):
    server = start_server()
    shutil.rmtree(tmp_path / "data")
    for mode in (0o644, 0o755):
        (tmp_path / "data").write_bytes(b"")
        os.chmod(tmp_path / "data", mode)
        unavailable(server)
    os.unlink(tmp_path / "data")


def test_a_directory_that_may_not_be_written_is_a_503(start_server, tmp_path):
    """Whom root's rights do not stop, a read-only mount does: a server in a namespace with one."""
    if os.geteuid() == 0:
        require_tool("unshare")
        script = 'mount --bind "$DATA_DIR" "$DATA_DIR" && mount -o remount,ro,bind "$DATA_DIR" && '
        command = ["unshare", "--mount", "sh", "-c", script + "exec python -m backup_server"]
        (tmp_path / "data").mkdir()
        python = os.path.dirname(sys.executable)
        server = start_server(command=command, PATH=f"{python}:{os.environ['PATH']}")
    else:
        server = start_server()
        os.chmod(tmp_path / "data", 0o555)
    try:
        assert "cannot be written" in unavailable(server)
        assert_error(server.post("/api/backup", {}), 503)
        assert server.listed() == []
    finally:
        os.chmod(tmp_path / "data", 0o755)


def test_it_costs_no_more_with_many_backups_than_with_none(start_server, tmp_path):
    few, many = start_server(tmp_path / "few"), start_server(tmp_path / "many")
    for n in range(20_000):
        time_of_day = f"{n // 3600:02}-{n // 60 % 60:02}-{n % 60:02}"
        (many.data_dir / f"backup-2001-01-01T{time_of_day}.json").touch()

    def seconds(server) -> float:
        started = time.perf_counter()
        assert server.get("/api/health").status == 200
        return time.perf_counter() - started

    pairs = [(seconds(few), seconds(many)) for _ in range(31)]
    assert median(more - less for less, more in pairs) < 0.003


def test_it_writes_nothing(start_server, tmp_path):
    server = start_server()
    before = os.stat(tmp_path / "data").st_mtime_ns, sorted(os.listdir(tmp_path / "data"))
    for _ in range(20):
        assert server.get("/api/health").status == 200
    assert (os.stat(tmp_path / "data").st_mtime_ns, sorted(os.listdir(tmp_path / "data"))) == before


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_it_can_only_be_read(server, method):
    answer = server.request(method, "/api/health")
    assert_error(answer, 405)
    assert {"GET", "HEAD"} <= set(answer.headers["Allow"].split(", "))
