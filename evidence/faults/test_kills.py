"""The server is killed at random moments under load, and nothing that was acknowledged is lost.

What SIGKILL cannot show is that the bytes survive a loss of power, since the kernel outlives the
server: ``test_power.py`` does, and ``test_syscalls.py`` what is synced in which order.
"""

import os
import random
import signal
import threading
import time
from contextlib import contextmanager

import pytest
from support import Server, strays_in, wait_until

from .ledger import FAILURES, Client, Ledger, inspect
from .mounts import mounted

CLIENTS = 6


@contextmanager
def load(servers: list[Server], ledger: Ledger, over, refusals=(), clients=CLIENTS):
    """Let clients load the servers while the block runs, which has to end with ``over`` set."""
    ends = [servers, servers[::-1]]
    running = [Client(ends[n % 2], ledger, over, refusals) for n in range(clients)]
    for client in running:
        client.start()
    try:
        yield
    finally:
        for client in running:
            client.join(90)
    assert not any(client.is_alive() for client in running), "a request got no answer"


def kill_under_load(server: Server, ledger: Ledger) -> None:
    over, errors = threading.Event(), ledger.counts["errors"]
    with load([server], ledger, over):
        time.sleep(random.uniform(0.01, 0.8))
        over.set()
        server.kill()
    if "Traceback" in server.log or ledger.counts["errors"] > errors:
        ledger.complain("errors", server.log[-4000:])
    server.log_path.unlink()
    ledger.counts["kills"] += 1


def test_no_kill_of_the_server_loses_halves_doubles_or_revives_a_backup(tmp_path, amount, figures):
    ledger = Ledger()
    for done in range(amount.kills):
        server = Server(tmp_path / "data", WEB_CONCURRENCY=str(1 + done % 2)).start()
        inspect([server], ledger)
        kill_under_load(server, ledger)
    server = Server(tmp_path / "data").start()
    inspect([server], ledger)
    server.stop()
    figures(ledger.table("kills"))
    assert ledger.failures() == {}, ledger.complaints
    assert ledger.counts["acknowledged"] > 20
    assert ledger.counts["changes"] > 0
    assert ledger.counts["deleted"] > 2
    assert ledger.counts["retried"] > 0


@pytest.fixture
def two_servers(tmp_path):
    """Two servers of two workers each on one directory, on a disk of 12 MB."""
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=12m,mode=0700", "none"):
        servers = [Server(tmp_path / "disk" / "data", WEB_CONCURRENCY="2") for _ in range(2)]
        for number, server in enumerate(servers):
            server.log_path = tmp_path / f"log-{number}"
            server.start()
        yield servers
        for server in servers:
            server.kill()


def test_nothing_is_lost_on_a_full_disk_under_two_servers_whose_workers_are_killed(
    two_servers, amount, figures
):
    ledger, over = Ledger({2_000: 1, 60_000: 1, 1_500_000: 1}), threading.Event()
    refusals = (503, 507)
    with load(two_servers, ledger, over, refusals):
        deadline = time.monotonic() + amount.seconds
        while time.monotonic() < deadline:
            time.sleep(0.7)
            if workers := random.choice(two_servers).pids()[1:]:
                os.kill(random.choice(workers), signal.SIGKILL)
                ledger.counts["workers killed on a full disk"] += 1
        over.set()
    for server in two_servers:
        wait_until(lambda server=server: server.get("/api/backup/list").status == 200)
        server.stop()
        server.start()
    inspect(two_servers, ledger, refusals)
    figures(ledger.table("workers killed on a full disk"))
    assert ledger.failures() == {}, ledger.complaints
    assert ledger.counts["acknowledged"] > 20
    assert ledger.counts["deleted"] > 2
    assert ledger.refused, "the disk was never full"


def test_the_inspection_sees_each_of_the_faults_that_it_counts(start_server):
    server, ledger = start_server(), Ledger({1000: 1})
    client = Client([server], ledger, threading.Event())
    for _ in range(6):
        client.send(ledger.new_upload())
    client.connection.close()
    lost, partial, doubled, deleted, refused, newest = sorted(ledger.stored)
    files = {name: server.data_dir / f"backup-{name}.json" for name in ledger.stored}
    files[lost].unlink()
    files[partial].write_bytes(files[partial].read_bytes().replace(b'"later"', b'"LATER"'))
    copy = server.data_dir / "backup-2031-01-01T00-00-00.json"
    copy.write_bytes(files[doubled].read_bytes())
    ledger.was_deleted(deleted)
    ledger.refused.add(ledger.stored[refused])
    late = ledger.uploads[ledger.stored[newest]][0]
    ledger.answered(late, 201, b'{"id":"%s"}' % newest.encode(), newest="2031")
    ledger.complain("errors", "as an answer of 500 does")
    stray = server.data_dir / ".upload-0123456789abcdef.tmp"
    stray.touch()
    inspect([server], ledger)
    stray.unlink()
    assert ledger.failures() == {**dict.fromkeys(FAILURES, 1), "risen": 2}
    assert strays_in(server.data_dir) == []
