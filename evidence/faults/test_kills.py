"""The server is killed at random moments under load, and nothing that was acknowledged is lost.

The kernel outlives the server: ``test_power.py`` shows what SIGKILL cannot, and
``test_syscalls.py`` what is synced in which order.
"""

import os
import random
import signal
import time

from support import Server, wait_until

from .ledger import Ledger, inspect, load
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
    tmp_path, start_server, amount
):
    ledger, refusals = Ledger({2_000: 1, 60_000: 1, 1_500_000: 1}), (503, 507)
    with mounted(tmp_path / "data", "-t", "tmpfs", "-o", "size=12m,mode=0700", "none"):
        servers = [start_server(WEB_CONCURRENCY="2") for _ in range(2)]
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
            server.stop()
    ledger.report()
    assert any(one.state == "refused" for one in ledger.uploads.values()), "it was never full"
