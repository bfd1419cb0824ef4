"""The server is killed at random moments under load, and nothing that was acknowledged is lost.

The kernel outlives the server: ``test_power.py`` shows what SIGKILL cannot, and
``test_syscalls.py`` what is synced in which order.
"""

import os
import random
import signal
import threading
import time

from support import Server, strays_in, wait_until

from .ledger import FAILURES, Client, Ledger, inspect, load
from .mounts import mounted


def test_no_kill_of_the_server_loses_halves_doubles_or_revives_a_backup(tmp_path, amount):
    ledger = Ledger()
    for done in range(amount.kills + 1):
        server = Server(tmp_path / "data", WEB_CONCURRENCY=str(1 + done % 2)).start()
        inspect([server], ledger)
        if done == amount.kills:
            server.stop()
            break
        errors = ledger.counts["errors"]
        with load([server], ledger) as over:
            time.sleep(random.uniform(0.01, 0.8))
            over.set()
            server.kill()
        if "Traceback" in server.log or ledger.counts["errors"] > errors:
            ledger.complain("errors", server.log[-4000:])
        server.log_path.unlink()
        ledger.counts["kills"] += 1
    ledger.report()
    assert all(ledger.counts[name] for name in ("changes", "deleted", "retried"))


def test_nothing_is_lost_on_a_full_disk_under_two_servers_whose_workers_are_killed(
    tmp_path, amount
):
    ledger, refusals = Ledger({2_000: 1, 60_000: 1, 1_500_000: 1}), (503, 507)
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=12m,mode=0700", "none") as disk:
        servers = [Server(disk / "data", WEB_CONCURRENCY="2") for _ in range(2)]
        for server in servers:
            server.log_path = tmp_path / f"log-{server.port}"
            server.start()
        with load(servers, ledger, refusals):
            deadline = time.monotonic() + amount.seconds
            while time.monotonic() < deadline:
                time.sleep(0.7)
                if workers := random.choice(servers).pids()[1:]:
                    os.kill(random.choice(workers), signal.SIGKILL)
                    ledger.counts["workers killed on a full disk"] += 1
        for server in servers:
            wait_until(lambda server=server: server.get("/api/backup/list").status == 200)
            server.stop()
            server.start()
        inspect(servers, ledger, refusals)
        for server in servers:
            server.kill()
    ledger.report()
    assert any(one.state == "refused" for one in ledger.uploads.values()), "it was never full"


def test_the_inspection_sees_each_of_the_faults_that_it_counts(start_server):
    server, ledger = start_server(), Ledger({1000: 1})
    client = Client([server], ledger, threading.Event())
    for _ in range(6):
        client.send(ledger.new_upload())
    client.connection.close()
    lost, partial, doubled, deleted, refused, newest = sorted(ledger.there())
    uploads = ledger.there()
    files = {name: server.data_dir / f"backup-{name}.json" for name in uploads}
    files[lost].unlink()
    files[partial].write_bytes(files[partial].read_bytes().replace(b'"later"', b'"LATER"'))
    copy = server.data_dir / "backup-2031-01-01T00-00-00.json"
    copy.write_bytes(files[doubled].read_bytes())
    uploads[deleted].state = "deleting"
    ledger.deleted.add(deleted)
    uploads[refused].state = "refused"
    ledger.answered(uploads[newest], 201, b'{"id":"%s"}' % newest.encode(), newest="2031")
    ledger.complain("errors", "as an answer of 500 does")
    stray = server.data_dir / ".upload-0123456789abcdef.tmp"
    stray.touch()
    inspect([server], ledger)
    stray.unlink()
    assert ledger.failures() == {**dict.fromkeys(FAILURES, 1), "risen": 2}
    assert strays_in(server.data_dir) == []
