"""Faults that come together: a full disk, deletions, listings and killed workers at one moment."""

import http.client
import json
import os
import random
import secrets
import signal
import subprocess
import threading
import time

import pytest
from support import Server, strays_in, wait_until

#: Bytes of the disk. The uploads fill it many times over.
DISK = 12_000_000
SIZES = (2_000, 60_000, 1_500_000)
SECONDS = 8


@pytest.fixture
def small_disk(tmp_path):
    point = tmp_path / "disk"
    point.mkdir()
    options = f"size={DISK},mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "small", str(point)], check=True)
    yield point
    subprocess.run(["umount", "--lazy", str(point)], check=True)


@pytest.fixture
def servers(small_disk, tmp_path):
    """Two servers of two workers each, on one directory."""
    servers = [Server(small_disk / "data", WEB_CONCURRENCY="2") for _ in range(2)]
    for number, server in enumerate(servers):
        server.log_path = tmp_path / f"log-{number}"
        server.start()
    yield servers
    for server in servers:
        if server.process.poll() is None:
            server.kill()


class Clients:
    """Clients that upload, retry, delete and list, and what they were told."""

    def __init__(self, servers: list[Server]):
        self.servers = servers
        self.stored: dict[str, str] = {}  # the slug of what was acknowledged, by id
        self.deleting: set[str] = set()
        self.deleted: set[str] = set()
        self.receipts: dict[str, dict] = {}  # by key
        self.statuses: set[int] = set()
        self.complaints: list[str] = []
        self._lock = threading.Lock()

    def run(self, over: threading.Event) -> list[threading.Thread]:
        work = [self._upload, self._upload, self._upload, self._delete, self._list]
        threads = [threading.Thread(target=self._repeat, args=(each, over)) for each in work]
        for thread in threads:
            thread.start()
        return threads

    def _repeat(self, work, over: threading.Event) -> None:
        while not over.is_set():
            try:
                work(random.choice(self.servers))
            except (OSError, http.client.HTTPException):
                continue  # its worker was killed

    def _upload(self, server: Server) -> None:
        slug, key = secrets.token_hex(16), secrets.token_hex(16)
        body = {"atoms": [{"slug": slug, "code": "x" * random.choice(SIZES)}]}
        for each in (server, random.choice(self.servers)):  # the second is a retry
            answer = each.post(f"/api/backup?key={key}", body)
            with self._lock:
                self.statuses.add(answer.status)
                if answer.status in (200, 201):
                    receipt = self.receipts.setdefault(key, answer.json)
                    deleted = receipt["id"] in self.deleting
                    if receipt != answer.json and not deleted:
                        self.complaints.append(f"{key} has two receipts")
                    self.stored[answer.json["id"]] = slug
                elif answer.status not in (503, 507):
                    self.complaints.append(f"{answer.status}: {answer.body[:200]}")

    def _delete(self, server: Server) -> None:
        with self._lock:
            there = sorted(self.stored.keys() - self.deleting)
            chosen = random.choice(there) if len(there) > 3 else None
            if chosen:
                self.deleting.add(chosen)
        if chosen is None:
            time.sleep(0.01)
        elif server.request("DELETE", f"/api/backup/{chosen}").status == 200:
            self.deleted.add(chosen)

    def _list(self, server: Server) -> None:
        with self._lock:
            expected = self.stored.keys() - self.deleting
        answer = server.get("/api/backup/list")
        missing = expected - {backup["id"] for backup in answer.json["backups"]} - self.deleting
        if missing:
            self.complaints.append(f"not listed: {missing}")


def kill_a_worker(server: Server) -> None:
    if workers := server.pids()[1:]:
        os.kill(random.choice(workers), signal.SIGKILL)


def test_nothing_is_lost_on_a_full_disk_while_workers_are_killed(servers):
    clients, over = Clients(servers), threading.Event()
    threads = clients.run(over)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        time.sleep(0.7)
        kill_a_worker(random.choice(servers))
    over.set()
    for thread in threads:
        thread.join()
    assert clients.complaints == []
    assert {201, 200, 507} <= clients.statuses
    assert clients.deleted

    survivor = servers[0]
    servers[1].kill()
    wait_until(lambda: survivor.get("/api/backup/list").status == 200)
    survivor.stop()
    survivor.start()
    assert strays_in(survivor.data_dir) == []
    listed = set(survivor.listed())
    assert clients.stored.keys() - clients.deleting <= listed
    assert not clients.deleted & listed
    for backup_id in listed & clients.stored.keys():
        (atom,) = json.loads(survivor.get(f"/api/backup/{backup_id}").body)["data"]["atoms"]
        assert atom["slug"] == clients.stored[backup_id]
