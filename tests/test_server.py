"""What needs a real gunicorn: signals, sockets, slow clients and its log."""

import os
import signal
import socket
import sys
import threading
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import raw
from support import Server, wait_until

BODY = b'{"atoms":["%s"]}' % (b"x" * 200_000)
GUNICORN = f"exec {sys.executable} -m gunicorn -c python:backup_server.gunicorn_conf"
APPLICATION = "'backup_server:create_app()'"
WAYS = {
    "python -m": f"exec {sys.executable} -m backup_server",
    "serve": f"exec {Path(sys.executable).with_name('portfolio-backup')} serve",
    "gunicorn": f"exec {Path(sys.executable).with_name('gunicorn')}"
    f" -c python:backup_server.gunicorn_conf {APPLICATION}",
}


def begin(server: Server, stack: ExitStack, query: str = "", sent: int = 1000) -> socket.socket:
    """Begin an upload and send only the first bytes of its body."""
    connection = stack.enter_context(raw.connect(server))
    head = raw.head(f"POST /api/backup{query}", f"Content-Length: {len(BODY)}")
    connection.sendall(head + BODY[:sent])
    return connection


@contextmanager
def uploading(server: Server, clients: int = 4):
    """Upload from several clients for the length of the block; yield how each upload ended."""
    ends: Counter = Counter()
    over = threading.Event()

    def upload() -> None:
        while not over.is_set():
            try:
                ends[server.post("/api/backup", {"atoms": ["x" * 1000]}).status] += 1
            except OSError as error:
                ends[repr(error)] += 1

    threads = [threading.Thread(target=upload) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield ends
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_workers_that_end_after_so_many_requests_leave_no_upload_without_an_answer(start_server):
    server = start_server(GUNICORN_CMD_ARGS="--max-requests 50")
    with uploading(server) as ends:
        wait_until(lambda: ends.total() > 300, 60)
    assert ends.keys() == {201}
    assert server.log.count("Booting worker") > 4


def test_sighup_leaves_no_upload_without_an_answer(start_server):
    server = start_server()
    with uploading(server) as ends:
        for _ in range(3):
            before = ends.total()
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda before=before: ends.total() > before + 60, 60)
    assert ends.keys() == {201}
    assert server.log.count("Booting worker") >= 4


@pytest.mark.parametrize("command", WAYS.values(), ids=WAYS)
def test_sigusr2_starts_a_second_server_and_leaves_no_upload_without_an_answer(
    start_server, command
):
    server = start_server(command=["sh", "-c", command], WEB_CONCURRENCY="1")
    with uploading(server) as ends:
        server.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: server.log.count("Booting worker") == 2)
        second = server.pids()[-1]
        assert server.stop() == 0
        before = ends.total()
        wait_until(lambda: ends.total() > before + 60, 60)
    assert ends.keys() == {201}
    os.kill(second, signal.SIGTERM)
    wait_until(lambda: server.log.count("Shutting down") == 2)
