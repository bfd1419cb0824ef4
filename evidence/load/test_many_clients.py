"""Sixteen clients that upload, change, list, read, restore and delete at once."""

import statistics
import threading
import time
from pathlib import Path

from faults.ledger import Ledger, inspect
from faults.test_kills import load
from support import Server

CLIENTS = 16


def test_sixteen_clients_get_no_error_and_memory_stays_flat(start_server, amount, figures):
    server = start_server()
    ledger, over, memory = Ledger({24_000: 1}), threading.Event(), []
    with load([server], ledger, over, clients=CLIENTS):
        deadline = time.monotonic() + amount.seconds
        while time.monotonic() < deadline:
            memory.append(own_memory(server))
            time.sleep(0.1)
        over.set()
    quarter = len(memory) // 4
    second, last = memory[quarter : 2 * quarter], memory[-quarter:]
    figures(ledger.table("load of sixteen clients"))
    figures(f"memory in MiB: {memory[0]:.0f} at the start, {max(memory):.0f} at the most")
    inspect([server], ledger)
    assert ledger.failures() == {}, ledger.complaints
    assert ledger.counts["acknowledged"] > 50
    assert statistics.median(last) - statistics.median(second) < 16
    assert max(memory) < 150


def own_memory(server: Server) -> float:
    """Return the MiB that all of the server's processes have for themselves."""
    statuses = [Path(f"/proc/{pid}/status").read_text() for pid in server.pids()]
    return sum(int(text.partition("RssAnon:")[2].split()[0]) for text in statuses) / 1024
