"""Eight clients that stall directly on the port, and what the others notice of it in a minute."""

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import raw
from support import Server

pytestmark = pytest.mark.long  # of a minute each

CLIENTS = 8
SECONDS, PAUSE = 60, 0.25
#: What the others may wait, and when the last of the eight must be gone, in seconds.
LONGEST_WAIT, GONE_AFTER = 1, 25
LARGE = b'{"atoms":["%s"]}' % (b"x" * 20_000_000)
STALLS = {
    "bodies": raw.head("POST /api/backup", "Content-Length: 9") + b"{",
    "refused bodies": raw.head("POST /api/x", "Content-Length: 9") + b"{",
    "readers": raw.head("GET /api/backup/latest"),
    "last answers": raw.head("GET /api/health", "Connection: close"),
    "heads": b"GET /api/health HTTP/1.1\r\nHost: ",
}


@pytest.fixture(params=["TCP", "Unix"])
def stalling(request, start_server, tmp_path):
    """A server, and a function that connects to it by one of two kinds of sockets."""
    path = str(tmp_path / "socket")
    server = start_server()
    server.stop()
    server.environ["GUNICORN_CMD_ARGS"] = f"--bind unix:{path} --bind 127.0.0.1:{server.port}"
    server.start()
    family = socket.AF_UNIX if request.param == "Unix" else socket.AF_INET

    def connect(first: bytes) -> socket.socket:
        client = socket.socket(family)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(path if request.param == "Unix" else ("127.0.0.1", server.port))
        client.sendall(first)
        return client

    return server, connect


@pytest.mark.parametrize("stall", STALLS)
def test_eight_clients_that_stall_keep_the_others_waiting_for_a_moment(stalling, sample, stall):
    server, connect = stalling
    server.upload(LARGE)
    before = sockets_of(server)
    waits, gone = [], None
    with ExitStack() as stack:
        for _ in range(CLIENTS):
            stack.enter_context(connect(STALLS[stall]))
        began = time.monotonic()
        while time.monotonic() < began + SECONDS:
            asked = time.monotonic()
            assert server.get("/api/health", Connection="close").status == 200
            stored = time.monotonic()
            assert server.upload(sample, Connection="close")
            waits += [stored - asked, time.monotonic() - stored]
            if gone is None and sockets_of(server) <= before + 1:  # that of the last sample
                gone = time.monotonic() - began
            time.sleep(PAUSE)
    print(f"{stall}: at most {max(waits):.2f} s, gone after {gone and round(gone)} s")
    if stall == "heads":  # gunicorn lingers at each: docs/limits.md
        assert max(waits) < CLIENTS
        return
    assert max(waits) < LONGEST_WAIT
    assert gone
    assert gone < GONE_AFTER


def sockets_of(server: Server) -> int:
    """Count the sockets that the workers hold."""
    found = 0
    for pid in server.pids()[1:]:
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with suppress(FileNotFoundError):
                found += os.readlink(f"/proc/{pid}/fd/{descriptor}").startswith("socket:")
    return found


def test_eight_uploads_of_50_mb_at_once_take_little_memory(start_server):
    server = start_server()
    server.get("/api/health")
    body, peak = b'{"atoms":["%s"]}' % (b"x" * (50 * 1024 * 1024 - 14)), 0.0
    with ThreadPoolExecutor(CLIENTS) as pool:
        uploads = [pool.submit(server.upload, body) for _ in range(CLIENTS)]
        while not all(upload.done() for upload in uploads):
            peak = max(peak, memory_of(server))
            time.sleep(0.01)
        assert all(upload.result()["size"] > len(body) for upload in uploads)
    print(f"eight uploads of 50 MB: {peak:.0f} MiB")
    assert peak <= 200


def memory_of(server: Server) -> float:
    """Return the memory that the server's processes have for themselves, in MiB."""
    statuses = [Path(f"/proc/{pid}/status").read_text() for pid in server.pids()]
    return sum(int(text.partition("RssAnon:")[2].split()[0]) for text in statuses) / 1024
