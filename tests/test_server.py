"""What needs a real gunicorn: how it starts and ends, HTTP byte by byte, slow clients, the log."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import raw
from support import Server, assert_error, backups_in, wait_until

SCRIPTS = Path(sys.executable).parent
WAYS = {
    "python -m": f"exec {sys.executable} -m backup_server",
    "serve": f"exec {SCRIPTS}/portfolio-backup serve",
    "gunicorn with own flags": f"exec {SCRIPTS}/gunicorn --no-control-socket --threads 4"
    """ --bind "127.0.0.1:$PORT" 'backup_server:create_app()'""",
}
IMPATIENT = f"""exec {sys.executable} -c '
from backup_server import connection
connection.RECEIVE_SECONDS = connection.SEND_SECONDS = 1
from backup_server.cli import main
main()'"""
# As systemd starts it on a socket of its own.
ACTIVATED = f"""exec {sys.executable} -c '
import os, socket, sys
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= dict(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "-m", "backup_server"])'"""
STOPPED_AT_ONCE = f"""exec {sys.executable} -c '
import os, signal
fork = os.fork
def fork_and_stop():
    os.fork = fork
    pid = fork()
    if pid:
        os.kill(pid, signal.SIGTERM)
    return pid
os.fork = fork_and_stop
from backup_server.cli import main
main()'"""
REST = b"x" * 200_000 + b'"]}'
BEGIN = raw.head("POST /api/backup", f"Content-Length: {len(REST) + 11}") + b'{"atoms":["'


# --- start ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "environ", "workers"),
    [
        ("python -m", {"HOST": "localhost"}, min(2, len(os.sched_getaffinity(0)))),
        ("serve", {"HOST": "::", "WEB_CONCURRENCY": "3", "GUNICORN_CMD_ARGS": "-w1"}, 1),
        ("gunicorn with own flags", {}, 1),
    ],
)
def test_it_listens_with_as_many_workers_as_it_is_told_works_and_ends_with_0(
    start_server, sample, way, environ, workers
):
    server = start_server(command=WAYS[way], MAX_BODY_BYTES="1000000", **environ)
    receipt = server.upload(sample)
    document = server.get("/api/backup/latest")
    assert document.body == next(iter(backups_in(server.data_dir).values()))
    assert_error(server.post("/api/backup", b" " * 1_000_001), 413, "1000000")
    assert server.request("DELETE", f"/api/backup/{receipt['id']}").json == {"deleted": True}
    assert server.stop() == 0
    assert server.log.count("Booting worker") == workers


@pytest.mark.parametrize(
    ("way", "environ", "line"),
    [
        ("python -m", {"PORT": "{taken}"}, "HOST, PORT: "),
        ("serve", {"HOST": "2001:db8::1", "PORT": "1"}, "HOST, PORT: "),
        ("python -m", {"BACKUP_TOKEN": "pass word"}, "BACKUP_TOKEN is not a token: give "),
        ("gunicorn with own flags", {"BACKUP_TOKEN": ""}, "BACKUP_TOKEN is '': give "),
    ],
)
def test_a_wrong_setting_is_one_line(server, tmp_path, way, environ, line):
    environ = {name: value.format(taken=server.port) for name, value in environ.items()}
    wrong = Server(tmp_path / "data", command=WAYS[way], **environ)
    wrong.launch()
    assert wrong.process.wait(60) != 0
    (said,) = (line for line in wrong.log.splitlines() if line[0] != "[")  # gunicorn's own log
    assert said.startswith(line)
    assert not wrong.data_dir.exists()


def test_it_listens_on_a_unix_socket(tmp_path):
    path = tmp_path / "socket"
    server = Server(tmp_path / "data", GUNICORN_CMD_ARGS=f"--bind unix:{path}")
    server.launch()
    try:
        with socket.socket(socket.AF_UNIX) as client:
            wait_until(lambda: client.connect_ex(str(path)) == 0)
            client.sendall(raw.head("POST /api/backup", "Content-Length: 2") + b"{}")
            assert raw.receive(client).status == 201
    finally:
        assert server.stop() == 0


# --- signals --------------------------------------------------------------------------------------


@contextmanager
def uploading(server: Server) -> Iterator[Counter]:
    """Upload from four clients for the length of the block; each upload has to be answered."""
    ends: Counter = Counter()
    over = threading.Event()

    def upload() -> None:
        while not over.is_set():
            ends[server.post("/api/backup", {"atoms": ["x" * 1000]}).status] += 1

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(upload) for _ in range(4)]
        try:
            yield ends
        finally:
            over.set()
    assert [client.result() for client in clients] == [None] * 4
    assert ends.keys() == {201}


def wait_for_more(ends: Counter, number: int) -> None:
    least = ends.total() + number
    wait_until(lambda: ends.total() > least, 60)


def test_workers_that_are_replaced_leave_no_upload_without_an_answer(start_server):
    server = start_server(command=ACTIVATED, GUNICORN_CMD_ARGS="--max-requests 50")
    with uploading(server) as ends:
        wait_for_more(ends, 300)
        assert server.log.count("Booting worker") > 4
        for _ in range(2):
            server.process.send_signal(signal.SIGHUP)
            wait_for_more(ends, 60)


@pytest.mark.parametrize("way", ["python -m", "serve"])
def test_sigusr2_starts_a_second_server_and_leaves_no_upload_without_an_answer(start_server, way):
    server = start_server(command=WAYS[way], WEB_CONCURRENCY="1")
    with uploading(server) as ends:
        server.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: server.log.count("Booting worker") == 2)
        second = server.pids()[-1]
        assert server.stop() == 0
        wait_for_more(ends, 60)
    os.kill(second, signal.SIGTERM)
    wait_until(lambda: server.log.count("Shutting down") == 2)


@pytest.fixture
def connect() -> Iterator[Callable[..., socket.socket]]:
    """Return a function that connects to a server and sends bytes: the begin of an upload."""
    with ExitStack() as stack:
        yield lambda server, sent=BEGIN: stack.enter_context(raw.connect(server, sent, timeout=10))


def test_sigterm_finishes_uploads_and_downloads_in_flight_and_exits_0(start_server, connect):
    server = start_server(WEB_CONCURRENCY="2")
    large = server.upload({"atoms": ["x" * 20_000_000]})
    uploads = [connect(server) for _ in range(4)]
    reader = connect(server, raw.head("GET /api/backup/latest"))
    reader.recv(1, socket.MSG_PEEK)
    # A request behind the uploads was answered, so they have been accepted.
    assert server.get("/api/health", Connection="close").status == 200
    server.process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):  # it waits for them
        server.process.wait(1)
    for upload in uploads:
        upload.sendall(REST)
    answers = [raw.receive(upload) for upload in uploads]
    assert [answer.status for answer in answers] == [201] * 4
    assert len(raw.receive(reader).body) == large["size"]
    assert server.process.wait(20) == 0
    stored = {json.loads(text)["id"] for text in backups_in(server.data_dir).values()}
    assert stored == {large["id"], *(answer.json["id"] for answer in answers)}


def test_a_worker_that_is_told_to_end_at_its_first_moment_ends(start_server):
    """Python forgets the signals that come while it forks, as being those of the parent."""
    server = start_server(command=STOPPED_AT_ONCE, WEB_CONCURRENCY="2")
    wait_until(lambda: server.log.count("Booting worker") == 3)
    assert server.stop() == 0


# --- HTTP byte by byte ----------------------------------------------------------------------------

HOST = b"Host: localhost\r\n"
LENGTH, CODING = b"Content-Length: ", b"Transfer-Encoding: "
CHUNKS = b"2\r\n{}\r\n0\r\n\r\n"
LIST = b"GET /api/backup/list HTTP/1.1\r\n"
CHUNKED = CODING + b"chunked\r\n"
TWO = LENGTH + b"2\r\n"


def post(headers: bytes, body: bytes = b"{}", version: bytes = b"1.1") -> bytes:
    return b"POST /api/backup HTTP/%s\r\n%s%s\r\n%s" % (version, HOST, headers, body)


def get(headers: bytes = b"", line: bytes = LIST, host: bytes = HOST) -> bytes:
    return line + host + headers + b"\r\n"


def talk(server: Server, sent: bytes) -> tuple[list[int], bytes]:
    """Send bytes and no more; return the statuses of all answers, and these as they came."""
    received = b""
    with raw.connect(server) as connection, suppress(ConnectionError):
        with suppress(OSError):  # refused before all of it was sent
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        while more := connection.recv(65536):
            received += more
    statuses = re.findall(rb"HTTP/1\.1 ([2-5]\d\d) ", received)
    return [int(status) for status in statuses], received


# The status of the one answer, and what is sent.
ODD = [
    (200, get(line=b"GET http://localhost/api/health HTTP/1.1\r\n")),
    (200, get(TWO) + b"{}"),
    (201, post(CHUNKED, b"2;a=b\r\n{}\r\n0\r\n\r\n")),  # an extension
    (201, post(CHUNKED, b"2\r\n{}\r\n0\r\nX: y\r\n\r\n")),  # a trailer
    (201, post(b"Expect: 100-continue\r\n" + TWO)),
    (400, post(TWO + LENGTH + b"3\r\n")),
    (400, post(TWO + CHUNKED, CHUNKS)),
    (400, post(b"", b"")),
    (400, post(b"Transfer-Encoding : chunked\r\n", CHUNKS)),
    (400, post(CHUNKED, CHUNKS, b"1.0")),
    (400, post(CHUNKED, b"zz\r\n{}\r\n0\r\n\r\n")),  # no size
    (400, post(CHUNKED, CHUNKS[:-5])),  # no end
    (400, post(LENGTH + b"20\r\n")),
    (400, get(host=b"")),
    (400, get(b"Host: evil.example\r\n")),
    (404, get(line=b"OPTIONS * HTTP/1.1\r\n")),
    (413, post(LENGTH + b"9" * 30 + b"\r\n", b"")),
    (414, get(line=b"GET /%s HTTP/1.1\r\n" % (b"a" * 100_000))),
    (415, post(CODING + b"gzip, chunked\r\n", CHUNKS)),
    (431, LIST + HOST + b"X: a\r\n" * 200_000),
]


def test_odd_http_is_understood_or_refused_once(server):
    for status, sent in ODD:
        before = backups_in(server.data_dir)
        statuses, received = talk(server, sent)
        assert statuses == [status], sent
        # In JSON, if it is the application's; gunicorn's parser closes the connection.
        assert b'\r\n\r\n{"' in received or b"\r\nConnection: close\r\n" in received
        assert len(backups_in(server.data_dir)) == len(before) + (status == 201)


def test_a_connection_serves_requests_in_order_also_after_refusals(server):
    """And no request in a body that is refused."""
    inner = get() * 3
    refused = {403: b"Origin: https://evil.example\r\n", 415: b"Content-Type: x/y\r\n", 400: b""}
    requests = [
        (201, post(TWO)),
        (201, post(CHUNKED, CHUNKS)),
        (404, get(line=b"GET /x HTTP/1.1\r\n")),
    ]
    for status, headers in refused.items():
        requests.append((status, post(headers + LENGTH + b"%d\r\n" % len(inner), inner)))
        requests.append((status, post(headers + CHUNKED, raw.chunked([inner]))))
    requests.append((200, get()))
    statuses, _ = talk(server, b"".join(sent for _, sent in requests))
    assert statuses == [status for status, _ in requests]


@pytest.mark.parametrize(("line", "status"), [("X: y", 413), ("Origin: https://evil.example", 403)])
@pytest.mark.parametrize("framing", ["Content-Length: 60000000", "Transfer-Encoding: chunked"])
def test_a_refusal_is_read_by_a_client_that_is_still_sending(server, line, status, framing):
    pieces = [b"x" * 1_000_000] * 60
    with raw.connect(server, raw.head("POST /api/backup", line, framing)) as connection:
        # A reset would raise here, or below.
        connection.sendall(raw.chunked(pieces) if "chunked" in framing else b"".join(pieces))
        assert_error(raw.receive(connection), status)
        connection.sendall(raw.head("GET /api/health"))
        assert raw.receive(connection).status == 200, "the connection goes on"


# --- slow clients ---------------------------------------------------------------------------------


@pytest.fixture
def impatient(start_server) -> Server:
    """A server that waits for 1 s where the shipped one waits for 20, with 20 MB stored."""
    server = start_server(command=IMPATIENT, WEB_CONCURRENCY="1")
    server.upload({"atoms": ["x" * 20_000_000]})
    return server


def read_to_the_end(connection: socket.socket) -> None:
    """Wait for the server to end a connection; TimeoutError if it does not."""
    with suppress(ConnectionError):
        while connection.recv(65536):
            pass


def test_a_body_that_stalls_is_a_408_and_other_stalled_clients_are_dropped(impatient, connect):
    reader = connect(impatient, raw.head("GET /api/backup/latest"))
    chunk = raw.head("POST /api/restore", "Transfer-Encoding: chunked") + b"9\r\n{"
    for sent in (BEGIN, BEGIN + REST[:150_000], chunk):
        stalled = connect(impatient, sent)
        assert_error(raw.receive(stalled), 408, "send it again")
        read_to_the_end(stalled)
    for sent in (chunk[:20], raw.head("POST /api/nothing", "Content-Length: 9") + b"{"):
        read_to_the_end(connect(impatient, sent))
    wait_until(lambda: "GET /api/backup/latest 200" in impatient.log)
    read_to_the_end(reader)
    connect(impatient)  # keeps it from ending for no longer
    assert impatient.get("/api/health", Connection="close").status == 200
    assert impatient.stop() == 0
    assert len(backups_in(impatient.data_dir)) == 1
    assert "Traceback" not in impatient.log


def test_a_client_that_is_slow_but_never_stalls_is_served(impatient, connect):
    upload, reader = connect(impatient), connect(impatient, raw.head("GET /api/backup/latest"))
    received = 0
    for n in range(8):
        time.sleep(0.3)
        upload.sendall(REST[n : n + 1])
        received += len(reader.recv(1_000_000))
    upload.sendall(REST[8:])
    assert raw.receive(upload).status == 201
    while received < 20_000_000:
        received += len(reader.recv(1_000_000))


# --- the log --------------------------------------------------------------------------------------


def test_there_is_one_line_a_request_and_one_a_stored_or_deleted_backup(start_server, sample):
    command = f"{WAYS['python -m']} 2>/dev/null"  # so only what goes to standard output
    server = start_server(command=command, BACKUP_TOKEN="s3cret-token")
    token = {"Authorization": "Bearer s3cret-token"}
    receipt = server.upload(sample, **token)
    path = f"/api/backup/{receipt['id']}"
    answers = {
        f"GET {path} 206": server.get(path, Range="bytes=0-99", **token),
        f"HEAD {path} 200": server.request("HEAD", path, **token),
        f"DELETE {path} 200": server.request("DELETE", path, **token),
        "GET /api/backup/latest 401": server.get("/api/backup/latest"),
    }
    for start, answer in answers.items():
        wait_until(lambda start=start: start in server.log)
        (line,) = (line for line in server.log.splitlines() if line.startswith(start))
        assert re.fullmatch(rf"{re.escape(start)} {len(answer.body)} \d+", line)
    own = [line[24:] for line in server.log.splitlines() if line[:2] == "20"]
    assert own == [f"stored {receipt['id']} {receipt['size']} bytes", f"deleted {receipt['id']}"]
    assert "s3cret" not in server.log


def test_nothing_in_an_address_forges_a_line_or_drives_a_terminal(server):
    before = len(server.log)
    for path in (b"x%0d%0aGET%20/forged%20200", b"x%1b[2J", b"x\x0b", b"x\xe2\x80\xa8forged"):
        statuses, _ = talk(server, get(line=b"GET /api/backup/%s HTTP/1.1\r\n" % path))
        assert statuses in ([400], [404])
    server.get("/api/health?the-end")
    wait_until(lambda: "the-end" in server.log)
    written = server.log[before:]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]", written)
    assert not [line for line in written.splitlines() if line.startswith(("forged", "GET /forged"))]


def test_a_log_that_nobody_reads_stops_nothing(start_server, tmp_path):
    path = tmp_path / "log"
    os.mkfifo(path)
    unread = os.open(path, os.O_RDWR)
    try:
        server = start_server(command=f"{WAYS['python -m']} >{path} 2>&1")
        for _ in range(60):  # 180 KB of lines; a pipe holds 64
            assert server.get(f"/api/health?{'x' * 3000}").status == 200
        assert server.upload({})
        assert server.stop() in (0, 120)  # Python could not flush its output
    finally:
        os.close(unread)
