"""What clients that stall, drip, vanish or send nonsense do to the server, and how it ends."""

import gzip
import http.client
import json
import os
import re
import select
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest
import raw
from support import Server, assert_error, backups_in, strays_in, wait_until

from backup_server import body, worker

BODY = b'{"atoms":["%s"]}' % (b"x" * 200_000)

IMPATIENT = """
import sys
from backup_server import body, worker
body.IDLE_SECONDS = worker.HEAD_SECONDS = worker.PACE_SECONDS = worker.TAKING_SECONDS = 0.7
from backup_server.__main__ import main
main()
"""


@pytest.fixture(scope="module")
def impatient(tmp_path_factory):
    """A server that is as shipped, but waits for 0.7 seconds where that one waits for 10 or 20."""
    directory = tmp_path_factory.mktemp("impatient") / "data"
    server = Server(directory, command=[sys.executable, "-c", IMPATIENT]).start()
    yield server
    server.stop()
    assert strays_in(directory) == []


def begin(server: Server, stack: ExitStack, query: str = "", sent: int = 1000) -> socket.socket:
    """Begin an upload and send only the first bytes of its body."""
    connection = stack.enter_context(raw.connect(server))
    head = raw.head(f"POST /api/backup{query}", f"Content-Length: {len(BODY)}")
    connection.sendall(head + BODY[:sent])
    return connection


def finish(connection: socket.socket, sent: int = 1000):
    connection.sendall(BODY[sent:])
    return raw.receive(connection)


def is_over(connection: socket.socket) -> bool:
    """Wait for the server to end a connection; tell whether it did."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


# --- clients that stall ---------------------------------------------------------------------------


def test_the_shipped_server_waits_long_enough_for_people_and_not_forever():
    assert 5 <= worker.HEAD_SECONDS <= 60
    assert 10 <= body.IDLE_SECONDS <= 60
    assert 60 <= worker.TAKING_SECONDS <= 300


@pytest.mark.parametrize("stalled", [8, 40])
def test_clients_that_stall_in_a_body_stop_neither_health_nor_an_upload(server, sample, stalled):
    with ExitStack() as stack:
        connections = [begin(server, stack) for _ in range(stalled)]
        for _ in range(3):
            assert server.get("/api/health").status == 200
            assert server.upload(sample)
            assert server.get("/api/backup/latest").status == 200
        for connection in connections[:8]:
            assert finish(connection).status == 201, "they were waited for"


@pytest.mark.parametrize("sent", [b"", b"P", b"POST /api/backup HTTP/1.1\r\nHost: local"])
def test_clients_that_never_finish_a_head_take_no_thread(server, sample, sent):
    with ExitStack() as stack:
        for _ in range(300):  # more than there are threads
            stack.enter_context(raw.connect(server)).sendall(sent)
        assert server.get("/api/health").status == 200
        assert server.upload(sample)


def test_a_client_that_stops_in_a_body_is_dropped_and_told_why(impatient):
    with ExitStack() as stack:
        connection = begin(impatient, stack)
        started = time.monotonic()
        assert_error(raw.receive(connection), 408, "again")
        assert is_over(connection)
        assert 0.5 < time.monotonic() - started < 15
    assert backups_in(impatient.data_dir) == {} or strays_in(impatient.data_dir) == []


@pytest.mark.parametrize("sent", [b"", b"GET /api/health HTTP/1.1\r\nHost"])
def test_a_client_that_stops_before_the_end_of_a_head_is_dropped(impatient, sent):
    with raw.connect(impatient) as connection:
        connection.sendall(sent)
        assert is_over(connection)


def test_a_client_that_drips_is_dropped(impatient):
    with ExitStack() as stack:
        connection = begin(impatient, stack)
        for at in range(1000, 3000, 2):
            connection.sendall(BODY[at : at + 2])
            if select.select([connection], [], [], 0.02)[0]:
                assert_error(raw.receive(connection), 408)
                return
    pytest.fail("it was waited for")


def test_a_client_that_does_not_read_its_answer_is_dropped(impatient):
    backup_id = impatient.upload({"atoms": ["x" * 40_000_000]})["id"]
    with raw.connect(impatient) as connection:
        connection.sendall(raw.head(f"GET /api/backup/{backup_id}"))
        wait_until(lambda: f"GET /api/backup/{backup_id} " in impatient.log)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            raw.receive(connection)
    impatient.request("DELETE", f"/api/backup/{backup_id}")


@pytest.mark.parametrize("asked", ["a document", "a range", "a category"])
def test_a_slow_client_that_keeps_taking_gets_all_of_it(impatient, asked):
    """At 80 KB/s: the kernel calls the socket writable only every two seconds or later."""
    backup_id = impatient.upload({"atoms": ["x" * 6_000_000], "snapshots": [1]})["id"]
    restore = b'{"backupId":"%s","items":["atoms","snapshots"]}' % backup_id.encode()
    request = {
        "a document": raw.head(f"GET /api/backup/{backup_id}"),
        "a range": raw.head(f"GET /api/backup/{backup_id}", "Range: bytes=100-"),
        "a category": raw.head("POST /api/restore", f"Content-Length: {len(restore)}") + restore,
    }[asked]
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", impatient.port))
        connection.sendall(request)
        received = b""
        for _ in range(40):
            time.sleep(0.1)
            received += connection.recv(8192)
        head, _, received = received.partition(b"\r\n\r\n")
        length = int(re.search(rb"Content-Length: (\d+)", head)[1])
        assert length > 5_999_000
        while len(received) < length:
            data = connection.recv(1_000_000)
            assert data, "it was cut"
            received += data
    impatient.request("DELETE", f"/api/backup/{backup_id}")


def test_a_slow_client_that_keeps_sending_is_waited_for(impatient):
    with ExitStack() as stack:
        connection = begin(impatient, stack)
        for at in range(1000, 100_000, 9_900):
            connection.sendall(BODY[at : at + 9_900])
            time.sleep(0.2)
        assert finish(connection, 100_000).status == 201


def test_a_client_that_goes_away_leaves_nothing(server):
    before = backups_in(server.data_dir)
    for query in ("", "?key=key-of-who-went-away"):
        for sent in (1000, 150_000):
            with ExitStack() as stack:
                begin(server, stack, query, sent)
    large = (
        raw.head("POST /api/backup", "Content-Length: 30000000") + b'{"atoms":["' + b"x" * 5_000_000
    )
    with raw.connect(server) as connection:
        connection.sendall(large)
    wait_until(lambda: server.log.count("POST /api/backup 400") >= 5)
    assert backups_in(server.data_dir) == before
    assert strays_in(server.data_dir) == []
    assert server.post("/api/backup?key=key-of-who-went-away", {}).status == 201


def test_trailers_without_end_are_not_read_on(server):
    with raw.connect(server) as connection:
        connection.sendall(raw.head("POST /api/x", "Transfer-Encoding: chunked") + b"0\r\n")
        with suppress(ConnectionError):
            connection.sendall(b"X: x\r\n" * 20_000)
        assert_error(raw.receive(connection), 404)
        assert is_over(connection)


def test_a_client_that_sends_without_pause_leaves_the_others_their_turn(server):
    """What has arrived already is received without waiting, and a refused body by one loop."""
    over = threading.Event()

    def send() -> None:
        with raw.connect(server) as connection:
            head = raw.head("POST /api/nothing", f"Content-Length: {10**12}")
            connection.sendall(head)
            while not over.is_set():
                connection.sendall(bytes(1_000_000))

    with ThreadPoolExecutor(2) as pool:
        sending = [pool.submit(send) for _ in range(2)]
        for _ in range(20):
            started = time.monotonic()
            assert server.get("/api/health").status == 200
            assert time.monotonic() - started < 2
        over.set()
        for one in sending:
            one.result()


# --- connections ----------------------------------------------------------------------------------


def test_a_connection_serves_one_request_after_another(server, sample):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for _ in range(5):
        connection.request("POST", "/api/backup", sample)
        assert connection.getresponse().read()
        connection.request("GET", "/api/backup/latest")
        assert json.loads(connection.getresponse().read())["version"] == 1
        connection.request("POST", "/api/backup", b"nonsense")
        response = connection.getresponse()
        assert response.read()
        assert response.status == 400
        assert not response.will_close
    connection.close()


def test_requests_sent_in_one_go_are_answered_in_order(server):
    upload = raw.head("POST /api/backup", "Content-Length: 2") + b"{}"
    with raw.connect(server) as connection:
        connection.sendall(raw.head("GET /api/health") + upload + raw.head("GET /api/nothing"))
        # Byte by byte, or an HTTPResponse would read ahead into the next answer.
        answers = b""
        while answers.count(b"HTTP/1.1") < 3 or not answers.endswith(b"}"):
            received = connection.recv(65536)
            assert received, answers
            answers += received
    assert re.findall(rb"HTTP/1\.1 (\d+)", answers) == [b"200", b"201", b"404"]


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_head_may_come_in_pieces(server, size):
    request = raw.head("POST /api/backup", "Content-Length: 2") + b"{}"
    with raw.connect(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(request), size):
            connection.sendall(request[at : at + size])
        assert raw.receive(connection).status == 201


# --- what gunicorn itself refuses -----------------------------------------------------------------

NONSENSE = {
    b"nonsense\r\n\r\n": 400,
    b"\r\n\r\n\r\n": 400,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n": 400,
    b"GET /api/health HTTP/9.9\r\nHost: localhost\r\n\r\n": 400,
    b"GET /api/health HTTP/1.1\r\nHost localhost\r\n\r\n": 400,
    b"GET /api/health HTTP/1.1\r\nHost: localhost\r\nA b: c\r\n\r\n": 400,
    b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n folded: x\r\n\r\n": 400,
    b"G@T /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n": 400,
    raw.head("GET /" + "x" * 10_000): 414,
    raw.head("GET /", "X: " + "x" * 20_000): 431,
    raw.head("GET /", *(f"X-{n}: x" for n in range(200))): 431,
    raw.head("POST /api/backup", "Content-Length: x"): 400,
    raw.head("POST /api/backup", "Content-Length: -1"): 400,
    raw.head("POST /api/backup", "Content-Length: 2", "Content-Length: 3") + b"{}": 400,
    raw.head("POST /api/backup", "Content-Length: 2", "Transfer-Encoding: chunked") + b"{}": 400,
    raw.head("POST /api/backup", "Transfer-Encoding: gzip") + b"{}": 400,
    raw.head("POST /api/backup", "Transfer-Encoding: chunked") + b"x\r\n{}\r\n0\r\n\r\n": 400,
    raw.head("POST /api/backup", "Transfer-Encoding: chunked") + b"2\r\n{}more\r\n0\r\n\r\n": 400,
}


@pytest.mark.parametrize("request_", NONSENSE, ids=range(len(NONSENSE)))
def test_what_is_no_request_is_refused_in_json(server, request_):
    before = backups_in(server.data_dir)
    with raw.connect(server) as connection:
        connection.sendall(request_)
        answer = raw.receive(connection)
        expected = {NONSENSE[request_]} | ({501, 505} if NONSENSE[request_] == 400 else set())
        assert answer.status in expected
        assert_error(answer, answer.status)
        assert is_over(connection)
    assert backups_in(server.data_dir) == before


# --- the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_finishes_uploads_in_flight_refuses_new_ones_and_exits_0(start_server, workers):
    server = start_server(WEB_CONCURRENCY=workers)
    with ExitStack() as stack:
        uploads = [begin(server, stack, f"?key=upload-in-flight-{n}") for n in range(4)]
        stack.enter_context(raw.connect(server))  # an idle connection keeps nobody waiting
        stack.enter_context(raw.connect(server)).sendall(b"GET /api/he")  # nor half a head
        # Each upload has its thread when the descriptors of its connection have been accepted and
        # its first bytes were read; a request behind them has been answered then.
        for _ in range(4):
            server.get("/api/health")
        server.process.terminate()
        wait_until(lambda: not accepts(server))
        assert server.process.poll() is None, "it waits for the uploads"
        answers = [finish(upload) for upload in uploads]
        assert [answer.status for answer in answers] == [201] * 4
        assert server.process.wait(20) == 0
    stored = {json.loads(text)["id"]: text for text in backups_in(server.data_dir).values()}
    assert stored.keys() == {answer.json["id"] for answer in answers}
    server.start()
    for n, answer in enumerate(answers):
        again = server.post(f"/api/backup?key=upload-in-flight-{n}", BODY)
        assert (again.status, again.json) == (200, answer.json)


def accepts(server: Server) -> bool:
    try:
        raw.connect(server).close()
        return True
    except ConnectionError:  # refused, or reset if it waited in the queue as that was closed
        return False


def test_sigterm_finishes_downloads_in_flight(start_server):
    server = start_server()
    receipt = server.upload({"atoms": ["x" * 30_000_000]})
    with raw.connect(server) as connection:
        connection.sendall(raw.head("GET /api/backup/latest"))
        connection.recv(1, socket.MSG_PEEK)
        server.process.terminate()
        wait_until(lambda: not accepts(server))
        assert len(raw.receive(connection).body) == receipt["size"]
    assert server.process.wait(20) == 0


def test_sigterm_ends_an_idle_server_at_once(start_server):
    server = start_server(WEB_CONCURRENCY="2")
    started = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - started < 10


def test_sigterm_ends_a_server_whose_workers_have_only_begun(tmp_path):
    """Which have no handler of their own yet; gunicorn's would wait for them for a minute."""
    slow = """
import time
from backup_server import worker
begin = worker.Worker.init_process
def begin_late(self):
    time.sleep(1)
    begin(self)
worker.Worker.init_process = begin_late
from backup_server.__main__ import main
main()
"""
    server = Server(tmp_path / "data", command=[sys.executable, "-c", slow], WEB_CONCURRENCY="2")
    server.launch()
    wait_until(lambda: server.log.count("Booting worker") == 2)
    assert server.stop() == 0


def test_a_worker_that_is_told_to_end_at_its_very_first_moment_ends(start_server):
    """When Python still forgets the signals that came, as being those of the parent."""
    at_once = """
import os, signal
fork = os.fork
def fork_and_stop():
    os.fork = fork
    pid = fork()
    if pid:
        os.kill(pid, signal.SIGTERM)
    return pid
os.fork = fork_and_stop
from backup_server.__main__ import main
main()
"""
    server = start_server(command=[sys.executable, "-c", at_once], WEB_CONCURRENCY="2")
    wait_until(lambda: server.log.count("Booting worker") == 3)
    assert server.stop() == 0


def test_an_upload_that_stalls_does_not_keep_the_server_from_ending(tmp_path):
    server = Server(tmp_path / "data", command=[sys.executable, "-c", IMPATIENT]).start()
    with ExitStack() as stack:
        connection = begin(server, stack)
        server.get("/api/health")
        server.process.terminate()
        assert_error(raw.receive(connection), 408)
        assert server.process.wait(20) == 0
    assert backups_in(server.data_dir) == {}
    assert strays_in(server.data_dir) == []


# --- the log --------------------------------------------------------------------------------------


@pytest.fixture
def on_stdout(start_server):
    """A server whose log has only what goes to standard output."""
    command = f"exec {sys.executable} -m backup_server 2>/dev/null"
    return start_server(command=["sh", "-c", command], BACKUP_TOKEN="s3cret-token")


def lines(server: Server, word: str) -> list[str]:
    wait_until(lambda: word in server.log)
    return [line for line in server.log.splitlines() if word in line]


def test_there_is_one_line_a_request_and_one_a_stored_or_deleted_backup(on_stdout, sample):
    server = on_stdout
    token = {"Authorization": "Bearer s3cret-token"}
    receipt = server.upload(sample, "?key=a-key-that-is-secret", **token)
    path = f"/api/backup/{receipt['id']}"
    answers = {
        f"GET {path} 200": server.get(path, **token),
        f"GET {path} 206": server.get(path, Range="bytes=0-99", **token),
        f"HEAD {path} 200": server.request("HEAD", path, **token),
        "GET /api/backup/list 200": server.get("/api/backup/list?limit=7", **token),
        f"DELETE {path} 200": server.request("DELETE", path, **token),
        f"GET {path} 404": server.get(path, **token),
        "GET /api/backup/latest 401": server.get("/api/backup/latest"),
        "POST /api/backup 400": server.post("/api/backup", b"nonsense", **token),
    }
    for start, answer in answers.items():
        (line,) = lines(server, start)
        assert re.fullmatch(rf"{start} {len(answer.body)} \d+\.\d", line)
    (line,) = lines(server, "POST /api/backup 201")
    assert re.fullmatch(r"POST /api/backup 201 \d+ \d+\.\d", line)
    (stored,) = lines(server, " stored ")
    assert re.search(rf"stored {receipt['id']} {receipt['size']} bytes$", stored)
    (deleted,) = lines(server, " deleted ")
    assert deleted.endswith(f"deleted {receipt['id']}")


def test_a_repeated_upload_is_a_request_but_no_stored_backup(on_stdout):
    for _ in range(2):
        on_stdout.post(
            "/api/backup?key=key-of-this-upload", {}, Authorization="Bearer s3cret-token"
        )
    lines(on_stdout, "POST /api/backup 200")
    assert len(lines(on_stdout, " stored ")) == 1


def test_no_token_or_key_is_ever_logged(start_server):
    server = start_server(BACKUP_TOKEN="s3cret-token", GUNICORN_CMD_ARGS="--log-level debug")
    bearer = {"Authorization": "Bearer s3cret-token"}
    basic = {"Authorization": "Basic dXNlcjpzM2NyZXQtdG9rZW4="}
    for headers in (bearer, basic):
        server.post("/api/backup?key=a-key-that-is-secret", {}, **headers)
        server.post("/api/backup?key=s3cret-token", {}, **headers)
        server.get("/api/backup/list?token=s3cret-token", **headers)
        server.get("/api/nothing?token=s3cret-token", **headers)
    server.get("/api/backup/list", Authorization="Bearer s3cret-tokem")
    for line in (
        "Authorization : Bearer s3cret-token",
        "Authorization Bearer s3cret-token",
        " Authorization: Bearer s3cret-token",
        "Authorization: Bearer\ts3cret-token\x00",
    ):
        assert_error(raw.exchange(server, raw.head("GET /api/backup/list", line)), 400)
    assert server.stop() == 0
    for secret in ("s3cret", "dXNlcjpz", "a-key-that-is-secret"):
        assert secret not in server.log


@pytest.mark.parametrize(
    "path",
    [
        b"/api/backup/x%0aGET%20/forged%20200%201%200.1",
        b"/api/backup/x%0d%0aforged",
        b"/api/backup/x%1b[2Jforged",
        b"/api/backup/x\x1b[2Jforged",
        b"/api/backup/x\x0bforged",
        b"/api/backup/x\x7fforged",
        b"/api/backup/x\xc2\x85forged",
        b"/api/backup/x\xe2\x80\xa8forged",
    ],
)
def test_nothing_in_an_address_forges_a_line_or_drives_a_terminal(server, path):
    before = len(server.log)
    answer = raw.exchange(server, b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert_error(answer, answer.status)
    assert answer.status in (400, 404)
    if answer.status == 404:
        wait_until(lambda: " 404 " in server.log[before:])
    written = server.log[before:]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]", written)
    assert not [line for line in written.splitlines() if line.startswith(("forged", "GET /forged"))]


# --- many at once ---------------------------------------------------------------------------------


def test_many_clients_at_once_all_get_their_answer(server, sample):
    zipped = gzip.compress(sample)

    def one(n: int) -> int:
        if n % 3:
            return server.get("/api/backup/latest").status
        return server.post("/api/backup", zipped, Content_Type="application/gzip").status

    server.upload(sample)
    with ThreadPoolExecutor(24) as pool:
        assert set(pool.map(one, range(150))) == {200, 201}
    assert len(os.listdir(f"/proc/{server.process.pid}/fd")) < 100


def test_connections_that_ask_for_nothing_end_no_download_that_is_slow(start_server):
    server = start_server(GUNICORN_CMD_ARGS="--worker-connections 20")
    backup_id = server.upload({"atoms": ["x" * 20_000_000]})["id"]
    with ExitStack() as stack:
        reader = stack.enter_context(raw.connect(server))
        reader.sendall(raw.head(f"GET /api/backup/{backup_id}"))
        wait_until(lambda: select.select([reader], [], [], 0)[0])
        for _ in range(4):
            crowd = [stack.enter_context(raw.connect(server)) for _ in range(18)]
            for connection in crowd:
                connection.sendall(b"GET /api/health HTTP/1.1\r\nHost: ")
            time.sleep(1.2)
        assert len(raw.receive(reader).body) > 20_000_000
