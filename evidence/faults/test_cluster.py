"""Two servers on two mounts of one replicated volume, while a brick and a mount are killed."""

import os
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import Server, require_tool

from .cluster import TOOLS, Cluster


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin:/sbin")
    for tool in TOOLS:
        require_tool(tool)
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


def upload_to_both(servers: list[Server]) -> str:
    """Send one upload under one key to both servers at once; return the id they agree on."""
    path = f"/api/backup?key={secrets.token_hex(16)}"
    body = {"atoms": [{"slug": secrets.token_hex(500)}]}
    with ThreadPoolExecutor(2) as pool:
        answers = [*pool.map(lambda server: server.post(path, body), servers)]
    assert sorted(answer.status for answer in answers) == [200, 201], answers
    first, second = (answer.json for answer in answers)
    assert first == second
    return first["id"]


def upload_and_look_elsewhere(here: Server, there: Server) -> str:
    receipt = here.upload({"atoms": [{"slug": secrets.token_hex(500)}]})
    assert there.listed()[0] == receipt["id"], "the other server shows it at once"
    assert there.get("/api/backup/latest").json["id"] == receipt["id"]
    return receipt["id"]


def test_nothing_is_lost_or_doubled_when_a_brick_and_a_mount_die_under_load(cluster, servers):
    one, two = servers
    stored = []
    for number in range(24):
        if number == 8:
            threading.Thread(target=cluster.kill_brick).start()
        stored.append(upload_to_both(servers))
        stored.append(upload_and_look_elsewhere(one, two))
        stored.append(upload_and_look_elsewhere(two, one))
    assert stored == sorted(stored), "ids are in the order of their uploads"
    statuses = lose_a_mount_in_mid_upload(cluster, two, stored)
    assert 201 in statuses, "uploads that are spooled go through as well"
    assert statuses[-1] == 503, "the server whose mount is gone says so"
    assert two.get("/api/health").status == 503
    stored.append(one.upload({})["id"])
    listed = one.listed()
    assert set(stored) <= set(listed)
    assert len(listed) - len(stored) <= 1, "one upload at the most went unanswered"
    for backup_id in listed:
        assert one.get(f"/api/backup/{backup_id}").json["id"] == backup_id


def lose_a_mount_in_mid_upload(cluster: Cluster, server: Server, stored: list[str]) -> list[int]:
    """Upload until the mount has been killed, once one upload went through; return the statuses."""
    body = {"atoms": ["x" * 5_000_000]}
    statuses = []
    killer = threading.Timer(0.5, cluster.kill_mount, [cluster.mounts[1]])
    deadline = time.monotonic() + 90
    while 503 not in statuses and time.monotonic() < deadline:
        try:
            answer = server.post("/api/backup", body)
        except OSError:
            continue  # the upload's spooled body went with the mount, and with it the worker
        statuses.append(answer.status)
        if answer.status == 201:
            stored.append(answer.json["id"])
            if len(statuses) == 1:
                killer.start()
    killer.join()
    return statuses
