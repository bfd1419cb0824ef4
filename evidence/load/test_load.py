"""Many clients at once, and clients that stall directly on the port."""

import os
import socket
import statistics
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import raw
from faults.ledger import Ledger, inspect, load
from support import Server


def test_sixteen_clients_get_no_error_and_memory_stays_flat(start_server, amount):
    server = start_server()
    ledger, memory = Ledger({24_000: 1}), []
    deadline = time.monotonic() + amount.seconds
    with load([server], ledger, clients=16):
        while time.monotonic() < deadline:
            statuses = [Path(f"/proc/{pid}/status").read_text() for pid in server.pids()]
            own = [int(text.partition("RssAnon:")[2].split()[0]) for text in statuses]
            memory.append(sum(own) / 1024)
            time.sleep(0.1)
    quarter = len(memory) // 4
    second, last = memory[quarter : 2 * quarter], memory[-quarter:]
    inspect([server], ledger)
    ledger.report()
    print(f"memory in MiB: {memory[0]:.0f} at the start, {max(memory):.0f} at the most")
    assert statistics.median(last) - statistics.median(second) < 16
    assert max(memory) < 150


STALLS = {
    "bodies": raw.head("POST /api/backup", "Content-Length: 9") + b"{",
    "refused bodies": raw.head("POST /api/x", "Content-Length: 9") + b"{",
    "readers": raw.head("GET /api/backup/latest"),
    "last answers": raw.head("GET /api/health", "Connection: close"),
    "heads": b"GET /api/health HTTP/1.1\r\nHost: ",
}


def sockets_of(server: Server) -> int:
    """Count the sockets that the workers hold."""
    found = 0
    for pid in server.pids()[1:]:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found += os.readlink(descriptor).startswith("socket:")
    return found


@pytest.mark.long  # of a minute each
@pytest.mark.parametrize("kind", ["TCP", "Unix"])
@pytest.mark.parametrize("stall", STALLS)
def test_eight_clients_that_stall_keep_the_others_waiting_for_a_moment(
    start_server, tmp_path, sample, stall, kind
):
    path = str(tmp_path / "socket")
    server = start_server()
    server.stop()
    server.environ["GUNICORN_CMD_ARGS"] = f"--bind unix:{path} --bind 127.0.0.1:{server.port}"
    server.start().upload(b'{"atoms":["%s"]}' % (b"x" * 20_000_000))
    before, waits, gone = sockets_of(server), [], None
    with ExitStack() as stack:
        for _ in range(8):
            client = stack.enter_context(
                socket.socket(socket.AF_UNIX if kind == "Unix" else socket.AF_INET)
            )
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(path if kind == "Unix" else ("127.0.0.1", server.port))
            client.sendall(STALLS[stall])
        began = time.monotonic()
        while time.monotonic() < began + 60:
            asked = time.monotonic()
            assert server.get("/api/health", Connection="close").status == 200
            stored = time.monotonic()
            assert server.upload(sample, Connection="close")
            waits += [stored - asked, time.monotonic() - stored]
            if gone is None and sockets_of(server) <= before + 1:  # that of the last sample
                gone = time.monotonic() - began
            time.sleep(0.25)
    print(f"at most {max(waits):.2f} s, gone after {gone and round(gone)} s")
    if stall == "heads":  # gunicorn lingers at each: docs/limits.md
        assert max(waits) < 8
    else:
        assert max(waits) < 1
        assert gone
        assert gone < 25
