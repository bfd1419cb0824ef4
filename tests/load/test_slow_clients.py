"""More slow clients than there are threads, of every kind, and the others are served meanwhile."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from conftest import Server, strays_in

#: More than the 128 threads of the shipped settings.
CONNECTIONS = 300
LARGE = b'{"atoms":["%s"]}' % (b"x" * 20_000_000)

HEAD = b"POST /api/backup HTTP/1.1\r\nHost: localhost\r\n"
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


@contextmanager
def connections(server: Server, first: bytes, receive: int = 0) -> Iterator[list[socket.socket]]:
    """Hold many connections that have sent so much; ``receive`` bounds what they take in."""
    held = []
    try:
        for _ in range(CONNECTIONS):
            sock = socket.socket()
            if receive:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
            sock.settimeout(5)
            sock.connect(("127.0.0.1", server.port))
            sock.sendall(first)
            held.append(sock)
        yield held
    finally:
        for sock in held:
            sock.close()


def check_serving(server: Server, sample: bytes, seconds: float) -> None:
    """Check for some time that health and the reading endpoints answer, and promptly."""
    deadline = time.monotonic() + seconds
    slowest = 0.0
    while time.monotonic() < deadline:
        started = time.monotonic()
        assert server.get("/api/health").status == 200
        slowest = max(slowest, time.monotonic() - started)
        assert server.get("/api/backup/list?limit=1").status == 200
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
    request = f"GET /api/backup/{receipt['id']} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with connections(server, request, receive=4096):
        check_serving(server, sample, 3)
        assert server.upload(sample)["size"]
    check_serving(server, sample, 0.5)


def test_small_answers_that_pile_up_untaken_keep_nobody_waiting(start_server, sample):
    server = start_server()
    server.upload({"atoms": ["x" * 60_000]})
    request = b"GET /api/backup/latest HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connections(server, 110 * request, receive=4096):
        check_serving(server, sample, 10)


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
