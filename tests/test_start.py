"""Both ways of starting the server, and what each prints for a wrong setting."""

import os
import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import pytest
import raw
from support import SETTINGS, Server, assert_error, backups_in

# As an operator would type them, with the port the test was given.
MODULE = f"exec {sys.executable} -m backup_server"
GUNICORN = f"exec {sys.executable} -m gunicorn --no-control-socket"
APPLICATION = "'backup_server:create_app()'"
BIND = '--bind "127.0.0.1:$PORT"'
GRACE = "--graceful-timeout 5"  # of gunicorn's own worker, which may need all of it
WAYS = {
    "python -m": MODULE,
    "portfolio-backup": f"exec {Path(sys.executable).with_name('portfolio-backup')}",
    "portfolio-backup serve": f"exec {Path(sys.executable).with_name('portfolio-backup')} serve",
    "gunicorn": f"{GUNICORN} {APPLICATION}",
    "gunicorn with threads": f"{GUNICORN} -w 2 --threads 4 {GRACE} {BIND} {APPLICATION}",
    "gunicorn preloaded": f"{GUNICORN} --preload --timeout 60 {BIND} {APPLICATION}",
    "gunicorn as shipped": f"{GUNICORN} -c python:backup_server.gunicorn_conf {APPLICATION}",
}


@pytest.fixture(params=WAYS.values(), ids=WAYS.keys())
def running(request, start_server) -> Server:
    return start_server(command=["sh", "-c", request.param], MAX_BODY_BYTES="1000000")


def run(command: str, cwd, **environ: str) -> subprocess.CompletedProcess:
    """Run a command that is to end by itself, in an environment without settings but these."""
    inherited = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    return subprocess.run(
        ["sh", "-c", command],
        env=inherited | environ,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_however_it_is_started_it_works_and_ends_with_0(running, sample):
    server = running
    receipt = server.upload(sample, "?key=key-of-this-upload")
    again = server.post("/api/backup?key=key-of-this-upload", sample)
    assert (again.status, again.json) == (200, receipt)
    document = server.get("/api/backup/latest")
    assert document.body == next(iter(backups_in(server.data_dir).values()))
    assert server.get("/api/backup/latest", Range="bytes=5-9").body == document.body[5:10]
    assert server.request("HEAD", "/api/backup/latest").headers["Content-Length"]
    assert server.listed() == [receipt["id"]]
    chosen = server.post("/api/restore", {"backupId": receipt["id"], "items": ["atoms"]})
    assert list(chosen.json["data"]) == ["atoms"]
    assert server.request("DELETE", f"/api/backup/{receipt['id']}").json == {"deleted": True}
    assert server.get("/api/health").json["status"] == "ok"
    assert server.stop() == 0


def test_however_it_is_started_every_error_is_json(running):
    server = running
    assert_error(server.get("/api/nothing"), 404)
    assert_error(server.request("PUT", "/api/backup"), 405)
    assert_error(server.post("/api/backup", b"x", Content_Type="a/b"), 415)
    assert_error(server.post("/api/backup", b"nonsense"), 400)
    assert_error(server.get("/api/health", Origin="https://evil.example"), 403)


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_however_it_is_started_a_413_is_read_by_a_client_that_is_still_sending(running, framing):
    piece = b"x" * 1_000_000
    with raw.connect(running) as connection:
        if framing == "length":
            line = f"Content-Length: {10 * len(piece)}"
            connection.sendall(raw.head("POST /api/backup", line) + piece * 10)
        else:
            line = "Transfer-Encoding: chunked"
            connection.sendall(raw.head("POST /api/backup", line) + raw.chunked([piece] * 10))
        assert_error(raw.receive(connection), 413, "1000000")


# --- where it listens, and with how many ----------------------------------------------------------


def test_by_default_it_listens_on_port_3081_of_this_machine_only(tmp_path):
    show = "import backup_server.gunicorn_conf as c; print(c.bind)"
    assert run(f"{sys.executable} -c '{show}'", tmp_path).stdout == "127.0.0.1:3081\n"


def test_by_default_the_backups_are_in_data_where_it_was_started(tmp_path, start_server):
    elsewhere = tmp_path / "somewhere"
    elsewhere.mkdir()
    command = f"cd {elsewhere} && unset DATA_DIR && {MODULE}"
    server = start_server(elsewhere / "data", command=["sh", "-c", command])
    server.upload({})
    assert len(backups_in(elsewhere / "data")) == 1


def test_a_storage_directory_is_made_with_its_parents(tmp_path, start_server):
    directory = tmp_path / "not" / "yet" / "there"
    server = start_server(command=["sh", "-c", f"DATA_DIR={directory} {MODULE}"])
    server.upload({})
    assert len(backups_in(directory)) == 1


@pytest.mark.parametrize("host", ["localhost", "0.0.0.0"])
def test_it_listens_where_it_is_told_to(host, start_server):
    assert start_server(HOST=host).get("/api/health").status == 200


@pytest.mark.parametrize("host", ["::1", "[::1]", "::"])
def test_it_listens_on_an_address_of_ipv6(host, tmp_path):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.fail("this machine has no IPv6")
    server = Server(tmp_path / "data", HOST=host)
    server.address = "::1"
    server.start()
    try:
        answer = server.get("/api/backup/list", Host=f"[::1]:{server.port}")
        assert answer.json == {"backups": []}
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("environ", "workers"),
    [
        ({}, min(2, len(os.sched_getaffinity(0)))),
        ({"WEB_CONCURRENCY": "1"}, 1),
        ({"WEB_CONCURRENCY": "3"}, 3),
        ({"GUNICORN_CMD_ARGS": "--workers 2"}, 2),
        ({"WEB_CONCURRENCY": "3", "GUNICORN_CMD_ARGS": "--workers=2"}, 2),
    ],
)
def test_there_are_as_many_workers_as_it_is_told(environ, workers, start_server):
    server = start_server(**environ)
    server.stop()
    assert len(re.findall("Booting worker", server.log)) == workers


def test_arguments_of_gunicorn_in_the_environment_come_on_top(start_server):
    server = start_server(GUNICORN_CMD_ARGS="--log-level debug --limit-request-line 200")
    assert server.get("/api/" + "x" * 300).status == 414
    assert "[DEBUG]" in server.log


def test_a_port_in_use_is_one_line_at_once(start_server, tmp_path):
    server = start_server()
    ended = run(MODULE, tmp_path, PORT=str(server.port), DATA_DIR="other")
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()  # gunicorn would write eleven, in five seconds
    assert line == (
        f"Cannot listen on 127.0.0.1 port {server.port} (HOST, PORT): Address already in use."
    )
    assert not (tmp_path / "other").exists()
    assert server.get("/api/health").status == 200


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "nowhere.invalid"])
def test_an_address_of_another_machine_is_one_line(tmp_path, host):
    ended = run(MODULE, tmp_path, HOST=host, PORT="3081")
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"Cannot listen on {host} port 3081 (HOST, PORT): ")


# --- wrong settings -------------------------------------------------------------------------------

WRONG = {
    "PORT": "http",
    "HOST": "localhost:3081",
    "DATA_DIR": "",
    "MAX_BODY_BYTES": "50MB",
    "CORS_ORIGINS": "portfolio.example",
    "TRUSTED_HOSTS": "https://portfolio.example",
    "BACKUP_TOKEN": "",
    "WEB_CONCURRENCY": "many",
}


PLAIN_GUNICORN = f"{GUNICORN} --bind 127.0.0.1:0 {APPLICATION}"
COMMANDS = {
    "python -m": MODULE,
    "python -m verify": f"{MODULE} verify",
    "flask list": f"exec {sys.executable} -m flask --app backup_server list",
    "gunicorn": PLAIN_GUNICORN,
}
# gunicorn itself reads WEB_CONCURRENCY, before there is anything of ours.
STOPS = [stop for stop in product(COMMANDS, WRONG) if stop != ("gunicorn", "WEB_CONCURRENCY")]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """How every start with one wrong setting ended, all tried at once."""

    def start(stop: tuple[str, str]) -> subprocess.CompletedProcess:
        name, variable = stop
        directory = tmp_path_factory.mktemp("stopped")
        ended = run(COMMANDS[name], directory, **{variable: WRONG[variable]})
        assert list(directory.iterdir()) == [], "nothing was made before it stopped"
        return ended

    with ThreadPoolExecutor(4) as pool:
        return dict(zip(STOPS, pool.map(start, STOPS), strict=True))


@pytest.mark.parametrize(("command", "variable"), STOPS)
def test_a_wrong_setting_stops_the_start_with_one_line(stopped, command, variable):
    ended = stopped[command, variable]
    assert ended.returncode != 0
    output = (ended.stdout + ended.stderr).splitlines()
    if command == "gunicorn":  # whose own log is around the line
        output = [line for line in output if not line.startswith("[")]
    (line,) = output
    line = line.removeprefix("Error: ")  # by which flask's command starts it
    assert line.startswith(variable)
    assert "give" in line
    if variable != "BACKUP_TOKEN":
        assert repr(WRONG[variable]) in line


@pytest.mark.parametrize("command", [MODULE, PLAIN_GUNICORN])
@pytest.mark.parametrize("data_dir", ["file", "file/data"])
def test_a_storage_directory_that_cannot_be_made_stops_the_start(tmp_path, command, data_dir):
    (tmp_path / "file").write_text("not a directory")
    ended = run(command, tmp_path, DATA_DIR=data_dir, PORT="1")
    assert ended.returncode != 0
    output = (ended.stdout + ended.stderr).splitlines()
    assert "Traceback" not in str(output)
    (line,) = (line for line in output if not line.startswith("["))
    assert line.startswith(f"DATA_DIR is '{data_dir}': ")
    assert (tmp_path / "file").read_text() == "not a directory"


def test_a_wrong_token_is_not_shown(tmp_path):
    ended = run(MODULE, tmp_path, BACKUP_TOKEN="pass word")
    assert ended.returncode == 2
    assert "pass" not in ended.stderr
    assert "BACKUP_TOKEN is not a token" in ended.stderr
