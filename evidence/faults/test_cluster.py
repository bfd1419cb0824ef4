"""Two servers on two mounts of one replicated volume, while bricks and a mount are killed."""

import threading
import time
from contextlib import suppress

import pytest
from support import Server, wait_until

from .cluster import Cluster
from .ledger import Client, Ledger, inspect
from .test_kills import load

SIZES = {2_000: 70, 300_000: 20, 5_000_000: 10}


@pytest.fixture
def cluster(tmp_path):
    with Cluster(tmp_path / "cluster") as cluster:
        yield cluster


@pytest.fixture
def servers(cluster, tmp_path):
    servers = [Server(point / "data") for point in cluster.mounts]
    for number, server in enumerate(servers):
        server.log_path = tmp_path / f"log-{number}"
        server.start()
    yield servers
    for server in servers:
        server.kill()


def test_bricks_and_a_mount_that_die_under_load_lose_and_double_nothing(
    cluster, servers, amount, figures
):
    ledger = Ledger(SIZES)
    for brick in range(1 + amount.seconds // 60):
        kill_a_brick_under_load(cluster, servers, ledger, brick % 3)
        inspect(servers, ledger)
    figures(ledger.table("bricks killed"))
    assert ledger.failures() == {}, ledger.complaints
    assert ledger.counts["acknowledged"] > 20
    lose_a_mount_under_load(cluster, servers, ledger)
    assert ledger.failures() == {}, ledger.complaints


def kill_a_brick_under_load(cluster: Cluster, servers: list[Server], ledger, brick: int) -> None:
    """Kill a brick in the midst of a load, of which no request may fail; it comes back later."""
    over = threading.Event()
    with load(servers, ledger, over):
        time.sleep(3)
        cluster.kill_brick(brick)
        ledger.counts["bricks killed"] += 1
        time.sleep(8)  # longer than the volume waits for it
        over.set()
    cluster.heal()


def says_unavailable(server: Server) -> bool:
    with suppress(OSError):  # a body that was spooled there ended its worker
        return server.get("/api/health").status == 503
    return False


def lose_a_mount_under_load(cluster: Cluster, servers: list[Server], ledger: Ledger) -> None:
    """Kill the second server's mount; it has to say so, and the first one has to go on."""
    over = threading.Event()
    with load(servers, ledger, over, refusals=(503,)):
        time.sleep(2)
        cluster.kill_mount(cluster.mounts[1])
        wait_until(lambda: says_unavailable(servers[1]))
        time.sleep(1)
        over.set()
    servers[0].stop()
    servers[0].start()  # which removes what the other one was writing
    inspect(servers[:1], ledger)
    client = Client(servers[:1], ledger, threading.Event())
    assert client.send(ledger.new_upload()) == 201
    client.connection.close()
