"""Sixteen clients that upload, list, read, restore and delete, for some minutes.

``python -m load.mixed --minutes 5`` in ``tests/`` is the long form; the tests run some seconds.
Prints the latency of each kind of request and the memory the server has for itself, over time.
"""

import argparse
import http.client
import json
import random
import secrets
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict, deque
from pathlib import Path
from typing import Any

from support import ROOT, Server, strays_in

CLIENTS = 16
#: What is stored stays about this many backups; the rest is deleted.
BACKUPS = 400
KINDS = {"upload": 30, "latest": 15, "read": 15, "restore": 15, "list": 10, "health": 5}


class Load:
    """A load on a server, and what was measured: seconds by kind of request, MiB over time."""

    def __init__(self, server: Server):
        self.server = server
        self.sample = (ROOT / "tests" / "samples" / "first-backup.json").read_bytes()
        self.latencies: dict[str, list[float]] = defaultdict(list)
        self.memory: list[float] = []
        self.errors: list[str] = []
        self._ids: deque[str] = deque()
        self._lock = threading.Lock()
        self._over = threading.Event()

    def run(self, seconds: float) -> "Load":
        threads = [threading.Thread(target=self._client) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.memory.append(anonymous_mib(self.server))
            time.sleep(0.1)
        self._over.set()
        for thread in threads:
            thread.join()
        return self

    def _client(self) -> None:
        connection = self.server.connect()
        while not self._over.is_set():
            (kind,) = random.choices([*KINDS], KINDS.values())
            with self._lock:
                crowded = len(self._ids) > BACKUPS
                some = random.choice(self._ids) if self._ids else None
                oldest = self._ids.popleft() if crowded else None
            if oldest:
                self._time(connection, "delete", "DELETE", f"/api/backup/{oldest}", (200,))
            elif kind == "upload" or some is None:
                receipt = self._time(
                    connection, "upload", "POST", self._upload_path(), (201,), self.sample
                )
                with self._lock:
                    self._ids.append(receipt["id"])
            else:
                asked = json.dumps({"backupId": some, "items": ["atoms"]})
                method, path, body = {
                    "latest": ("GET", "/api/backup/latest", None),
                    "read": ("GET", f"/api/backup/{some}", None),
                    "restore": ("POST", "/api/restore", asked),
                    "list": ("GET", "/api/backup/list?limit=50", None),
                    "health": ("GET", "/api/health", None),
                }[kind]
                # Another client may have deleted it just now.
                expected = (200, 404) if kind in ("read", "restore") else (200,)
                self._time(connection, kind, method, path, expected, body)
        connection.close()

    @staticmethod
    def _upload_path() -> str:
        return "/api/backup" + random.choice(["", f"?key={secrets.token_hex(16)}"])

    def _time(self, connection, kind, method, path, expected, body=None) -> Any:
        started = time.perf_counter()
        try:
            headers = {"Content-Type": "application/json"} if body else {}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.errors.append(f"{method} {path}: {error!r}")
            connection.close()
            return {"id": None}
        self.latencies[kind].append(time.perf_counter() - started)
        if response.status not in expected:
            self.errors.append(f"{method} {path}: {response.status} {text[:200]}")
        return json.loads(text)

    def growth(self) -> float:
        """By how many MiB the last quarter's median memory exceeds that of the second quarter."""
        quarter = len(self.memory) // 4
        return statistics.median(self.memory[-quarter:]) - statistics.median(
            self.memory[quarter : 2 * quarter]
        )


def anonymous_mib(server: Server) -> float:
    """Memory that all of the server's processes have for themselves, in MiB."""
    statuses = [Path(f"/proc/{pid}/status").read_text() for pid in server.pids()]
    return sum(int(text.partition("RssAnon:")[2].split()[0]) for text in statuses) / 1024


def table(load: Load, seconds: float) -> str:
    lines = ["| request  |  number | per second | p50 ms | p95 ms | p99 ms | max ms |"]
    for kind, values in sorted(load.latencies.items()):
        cuts = statistics.quantiles(values, n=100)
        shown = [f"{1000 * value:6.1f}" for value in (cuts[49], cuts[94], cuts[98], max(values))]
        rate = f"{len(values):7,} | {len(values) / seconds:10.1f}"
        lines.append(f"| {kind:<8} | {rate} | {' | '.join(shown)} |")
    memory = f"{load.memory[0]:.0f} MiB at the start, {max(load.memory):.0f} MiB at the most"
    lines.append(f"errors: {len(load.errors)}; memory: {memory}, growth {load.growth():+.1f} MiB")
    return "\n".join([*lines, *load.errors[:10]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5)
    seconds = parser.parse_args().minutes * 60
    with tempfile.TemporaryDirectory() as directory:
        server = Server(Path(directory) / "data").start()
        load = Load(server).run(seconds)
        server.stop()
        load.errors += strays_in(server.data_dir)
    print(table(load, seconds))
    sys.exit(bool(load.errors))


if __name__ == "__main__":
    main()
