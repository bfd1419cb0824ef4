"""Hundreds of slow clients, of every kind and of all kinds, and the others are served meanwhile."""

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from support import Server, strays_in

from .mixed import anonymous_mib

CONNECTIONS = 300
LARGE = b'{"atoms":["%s"]}' % (b"x" * 20_000_000)

HEAD = b"POST /api/backup HTTP/1.1\r\nHost: localhost\r\n"
AUTHORIZATION = {"Authorization": "Bearer the-token"}
STALLS = {
    "nothing": b"",
    "half a head": HEAD + b"Content-Le",
    "no body": HEAD + b"Content-Length: 1000\r\n\r\n",
    "half a body": HEAD + b'Content-Length: 1000\r\n\r\n{"atoms":[',
    "half a chunk": HEAD + b'Transfer-Encoding: chunked\r\n\r\nff\r\n{"atoms":[',
    "half a restore": HEAD.replace(b"backup", b"restore") + b"Content-Length: 100\r\n\r\n{",
    "half a head behind a request": b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\nG",
    "half a refused body": HEAD + b"Content-Type: a/b\r\nContent-Length: 1000\r\n\r\n{",
}


def get(path: str, head: bytes = HEAD) -> bytes:
    return head.replace(b"POST /api/backup", f"GET {path}".encode()) + b"\r\n"


def post(path: str, body: bytes, head: bytes = HEAD) -> bytes:
    head = head.replace(b"/api/backup", path.encode())
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def wait_until_idle(server: Server) -> None:
    """Wait until the server has seen that the others have gone."""
    deadline = time.monotonic() + 20
    while max(len(os.listdir(f"/proc/{pid}/fd")) for pid in server.pids()) > 50:
        assert time.monotonic() < deadline, "it holds connections that are over"
        time.sleep(0.1)


@contextmanager
def connections(
    server: Server, first: bytes, receive: int = 0, number: int = CONNECTIONS
) -> Iterator[list[socket.socket]]:
    """Hold many connections that have sent so much; ``receive`` bounds what they take in."""
    held = []
    try:
        for _ in range(number):
            sock = socket.socket()
            if receive:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
            sock.settimeout(5)
            sock.connect(("127.0.0.1", server.port))
            with suppress(OSError):  # who sends too much may be told so, and dropped, by then
                sock.sendall(first)
            held.append(sock)
        yield held
    finally:
        for sock in held:
            sock.close()


@contextmanager
def dripping(held: list[socket.socket], drop: bytes, seconds: float) -> Iterator[None]:
    """Let every connection send a drop, again and again; those that were dropped cannot."""
    over = threading.Event()
    for sock in held:
        sock.setblocking(False)

    def drip() -> None:
        while not over.wait(seconds):
            for sock in held:
                with suppress(OSError):
                    sock.send(drop)

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def check_serving(server: Server, sample: bytes, seconds: float) -> None:
    """Check for some time that health and the listing answer, and uploads are stored, promptly."""
    server.get("/api/health")  # by then what all of them asked for at once has been done
    deadline = time.monotonic() + seconds
    slowest = 0.0
    while time.monotonic() < deadline:
        for method, path, body in (
            ("GET", "/api/health", None),
            ("GET", "/api/backup/list?limit=1", None),
            ("POST", "/api/backup", sample),
        ):
            started = time.monotonic()
            assert server.request(method, path, body, **AUTHORIZATION).status in (200, 201)
            slowest = max(slowest, time.monotonic() - started)
        time.sleep(0.02)
    assert slowest < 2


@pytest.mark.parametrize("first", STALLS.values(), ids=STALLS)
def test_clients_that_stall_while_they_send_keep_nobody_waiting(start_server, sample, first):
    server = start_server()
    receipt = server.upload(sample)
    with connections(server, first):
        check_serving(server, sample, 2)
        assert server.get(f"/api/backup/{receipt['id']}").status == 200
        assert server.upload(sample)
    assert strays_in(server.data_dir) == []


def test_stalled_uploads_are_given_up_and_told_why(start_server, sample):
    server = start_server()
    with connections(server, STALLS["half a body"]) as held:
        # Without the others going away: it is the server that drops them.
        check_serving(server, sample, 1)
        assert server.upload(sample)
        held[0].settimeout(60)
        assert b" 408 " in held[0].recv(4096)[:20]
    assert strays_in(server.data_dir) == []


def test_clients_that_do_not_take_their_answers_keep_nobody_waiting(start_server, sample):
    server = start_server()
    receipt = server.upload(LARGE)
    with connections(server, get(f"/api/backup/{receipt['id']}"), receive=4096):
        check_serving(server, sample, 3)
        assert server.upload(sample)["size"]
    check_serving(server, sample, 0.5)


def test_small_answers_that_pile_up_untaken_keep_nobody_waiting(start_server, sample):
    server = start_server()
    server.upload({"atoms": ["x" * 60_000]})
    with connections(server, 110 * get("/api/backup/latest"), receive=4096):
        check_serving(server, sample, 5)


def test_health_that_is_asked_for_and_not_taken_without_a_token_keeps_nobody_waiting(
    start_server, sample
):
    server = start_server(BACKUP_TOKEN="the-token")
    requests = 500 * get("/api/health")
    with connections(server, b"", receive=4096) as held, dripping(held, requests, 0.1):
        time.sleep(2)
        check_serving(server, sample, 5)


def test_large_heads_that_drip_keep_nobody_waiting_and_take_little_memory(start_server, sample):
    server = start_server(WEB_CONCURRENCY="1")  # each worker's allocator keeps some
    before = anonymous_mib(server)
    with connections(server, HEAD + b"X: " + b"x" * 30_000, number=590) as held:
        with dripping(held, b"x", 0.1):
            check_serving(server, sample, 3)
        assert anonymous_mib(server) < before + 100
    with connections(server, HEAD + b"X: x\r\n" * 160_000, number=150) as held:
        with dripping(held, b"x", 0.02):
            check_serving(server, sample, 3)
        assert anonymous_mib(server) < before + 100
    time.sleep(1)
    assert anonymous_mib(server) < before + 50, "it was given back"


def test_uploads_that_drip_keep_nobody_from_uploading(start_server, sample):
    server = start_server()
    first = HEAD + b'Content-Length: 1000000\r\n\r\n{"atoms":["'
    with connections(server, first) as held, dripping(held, b"x" * 100, 0.1):
        check_serving(server, sample, 5)
        for sock in held:
            with pytest.raises(BlockingIOError):  # it was neither answered nor dropped
                sock.recv(1)
    wait_until_idle(server)


def test_every_one_of_many_refused_uploads_gets_to_read_why(start_server):
    server = start_server(MAX_BODY_BYTES="1000")
    piece = b"x" * 50_000
    with connections(server, HEAD + b"Content-Length: 2000000\r\n\r\n", number=60) as held:
        for _ in range(40):
            for sock in held:
                sock.sendall(piece)  # a reset would raise here, or below
        assert {sock.recv(4096)[:12] for sock in held} == {b"HTTP/1.1 413"}
        for sock in held:
            sock.sendall(get("/api/health"))
        assert {sock.recv(4096)[:12] for sock in held} == {b"HTTP/1.1 200"}


@pytest.mark.parametrize("kind", ["half a body", "half a refused body", "no request"])
def test_more_connections_than_there_are_descriptors_make_the_oldest_go(tmp_path, sample, kind):
    command = f"ulimit -n 300; exec {sys.executable} -m backup_server"
    server = Server(tmp_path / "data", command=["sh", "-c", command]).start()
    first = {**STALLS, "no request": b"x" * 10 + b"\r\n\r\n"}[kind]
    with connections(server, first, number=600) as held:
        check_serving(server, sample, 1)
        assert max(len(os.listdir(f"/proc/{pid}/fd")) for pid in server.pids()) < 300
        held[0].settimeout(5)
        with suppress(ConnectionError):
            while held[0].recv(4096):
                pass
    assert server.stop() == 0
    assert "could not be accepted" not in server.log
    assert strays_in(server.data_dir) == []


def test_all_kinds_of_stalls_at_once_keep_nobody_waiting(start_server, sample):
    server = start_server(BACKUP_TOKEN="the-token")
    large = server.upload(LARGE, **AUTHORIZATION)["id"]
    head = HEAD.removesuffix(b"\r\n") + b"\r\nAuthorization: Bearer the-token\r\n"
    restore = b'{"backupId":"%s","items":["atoms"]}' % large.encode()
    untaken = {
        "a document": get(f"/api/backup/{large}", head),
        "a range": get(f"/api/backup/{large}", head + b"Range: bytes=1-\r\n"),
        "a category": post("/api/restore", restore, head),
        "many answers": 100 * get("/api/backup/latest", head),
        "health": 2000 * get("/api/health"),
        "errors": 2000 * get("/api/backup/latest"),
    }
    with ExitStack() as stack:
        for first in untaken.values():
            stack.enter_context(connections(server, first, receive=4096, number=40))
        for first in STALLS.values():
            stack.enter_context(connections(server, first, number=20))
            first = first.replace(HEAD, head)
            stack.enter_context(connections(server, first, number=20))
        for drop, first in (
            (b"x", HEAD + b"X: " + b"x" * 30_000),
            (b"x" * 100, head + b'Content-Length: 1000000\r\n\r\n{"atoms":["'),
        ):
            held = stack.enter_context(connections(server, first, number=40))
            stack.enter_context(dripping(held, drop, 0.1))
        check_serving(server, sample, 5)
    wait_until_idle(server)
    assert strays_in(server.data_dir) == []


def test_a_client_that_takes_its_answer_slowly_gets_all_of_it(start_server):
    server = start_server()
    server.upload(LARGE)
    connection = server.connect()
    connection.request("GET", "/api/backup/latest")
    response = connection.getresponse()
    received = 0
    for _ in range(10):
        time.sleep(0.2)
        received += len(response.read(2_000_000))
    assert received + len(response.read()) == int(response.headers["Content-Length"])
    connection.close()
