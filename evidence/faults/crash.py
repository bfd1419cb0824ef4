"""Kill the server at random moments under load, restart it, and count what was lost.

``python -m faults.crash --kills 1000`` in ``evidence/`` is the long form; the
tests run a short one.

Every process of the server is killed at once (SIGKILL to the process group) while clients upload
24 KB to 50 MB, plain, chunked and gzipped, with and without a key, whole or as a change to what is
stored, read and delete, all on one directory that lives through all the kills. After every restart
everything that is stored is read back and compared with what was sent:

- lost: a client had read the 201 for it, and not asked for its deletion, but it is not there;
- partial: it is listed, but is not byte for byte what was sent;
- doubled: one upload is stored twice, though a client retries what has a key;
- risen: a client had read that it was deleted, but it is there;
- strays: temporary files that are there after the restart.

What this cannot show is that the bytes survive a loss of power, since the kernel outlives the
server: that is a matter of what is synced in which order, and is shown in ``test_syscalls.py``.
"""

import argparse
import gzip
import hashlib
import http.client
import json
import os
import random
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from support import Server, strays_in

CLIENTS = 6
#: Bytes, and how often an upload has so many.
SIZES = {24_000: 70, 300_000: 15, 2_000_000: 12, 52_000_000: 3}
#: The clients delete as much as they upload from here on.
MOST_BACKUPS = 60
MOST_BYTES = 250_000_000
MOST_COMPLAINTS = 20

_PADDING = secrets.token_hex(max(SIZES) // 2).encode()
_MARKER = re.compile(rb'\{"atoms":\[\{"slug":"it","marker":"([0-9a-f]{32})"')
_CHUNK = 64 * 1024


class Upload(NamedTuple):
    """One state to store: ``marker`` tells it from all others, ``size`` is about its bytes.

    With a ``base``, a stored one of this size, only the marker is sent, as a change.
    """

    marker: str
    size: int
    key: str | None
    base: str | None = None

    @property
    def marked(self) -> bytes:
        return b'{"slug":"it","marker":"%s"}' % self.marker.encode()

    @property
    def atoms(self) -> bytes:
        return b'[%s,{"slug":"pad","pad":"%s"}]' % (self.marked, _PADDING[: self.size])

    @property
    def path(self) -> str:
        given = {"base": self.base, "key": self.key}
        return "/api/backup?" + urlencode({name: text for name, text in given.items() if text})

    @property
    def body(self) -> bytes:
        if self.base:
            return b'{"atoms":{"put":[%s]}}' % self.marked
        return b'{ "snapshots": [1.0, 1e400], "later": "\\ud83d", "atoms": %s }' % self.atoms

    @property
    def data(self) -> bytes:
        """What of it a stored document has after ``"data":``, every value as it was sent."""
        others = b'"voiceNotes":[],"configOverrides":[],"later":"\\ud83d"'
        return b'{"atoms":%s,"compositions":[],"snapshots":[1.0, 1e400],%s}' % (self.atoms, others)


def new_upload() -> Upload:
    (size,) = random.choices([*SIZES], SIZES.values())
    key = secrets.token_urlsafe(24) if random.random() < 0.5 else None
    return Upload(secrets.token_hex(16), size, key)


class Ledger:
    """What the clients know, over all the kills."""

    def __init__(self):
        self.lock = threading.Lock()
        self.digests: dict[str, bytes] = {}  # of what was sent, by marker
        self.stored: dict[str, str] = {}  # markers by id, of what was acknowledged
        self.sizes: dict[str, int] = {}
        self.paddings: dict[str, int] = {}  # the size of an upload, by marker
        self.deleting: set[str] = set()  # asked for, no answer yet
        self.deleted: set[str] = set()
        self.unanswered: dict[str, Upload] = {}  # with a key, by marker
        self.counts = Counter()
        self.complaints: list[str] = []

    def sending(self, upload: Upload) -> None:
        digest = hashlib.sha256(upload.data).digest()
        with self.lock:
            self.digests[upload.marker] = digest
            self.paddings[upload.marker] = upload.size
            if upload.key:
                self.unanswered[upload.marker] = upload

    def acknowledged(self, upload: Upload, backup_id: str) -> None:
        with self.lock:
            self.unanswered.pop(upload.marker, None)
            if self.stored.get(backup_id, upload.marker) != upload.marker:
                self.complain("doubled", f"{backup_id} was given to two uploads")
            self.counts["acknowledged"] += backup_id not in self.stored
            self.stored[backup_id] = upload.marker
            self.sizes[backup_id] = upload.size

    def choose(self) -> str | None:
        """Return the id of some backup that should be there, if any."""
        with self.lock:
            there = self.stored.keys() - self.deleting
            return random.choice(sorted(there)) if there else None

    def choose_change(self, upload: Upload) -> Upload:
        """Make a change of an upload, to some backup that should be there, if any."""
        base = self.choose()
        with self.lock:
            if base not in self.stored:
                return upload
            return upload._replace(base=base, size=self.paddings[self.stored[base]])

    def is_full(self) -> bool:
        with self.lock:
            there = self.stored.keys() - self.deleting
            total = sum(self.sizes[backup_id] for backup_id in there)
            return len(there) > MOST_BACKUPS or total > MOST_BYTES

    def check_is_gone(self, base: str) -> None:
        with self.lock:
            if base in self.stored.keys() - self.deleting:
                self.complain("lost", f"{base} is a 409 to a change")

    def was_deleted(self, backup_id: str) -> None:
        with self.lock:
            self._forget(backup_id)
            self.deleted.add(backup_id)
            self.counts["deleted"] += 1

    def settle_deletions(self, listed: set[str]) -> None:
        """Learn what became of the deletions whose answer was never read: either is right."""
        for backup_id in [*self.deleting]:
            if backup_id in listed:
                self.deleting.discard(backup_id)
            else:
                self._forget(backup_id)

    def _forget(self, backup_id: str) -> None:
        self.deleting.discard(backup_id)
        del self.stored[backup_id], self.sizes[backup_id]

    def complain(self, what: str, why: str) -> None:
        self.counts[what] += 1
        self.complaints.append(f"{what}: {why}")
        print(f"\n{self.complaints[-1]}", file=sys.stderr)

    def check(self, backup_id: str, text: bytes) -> str | None:
        """Compare a document with what was sent; return the marker of its upload."""
        data = text.partition(b'\n"data":')[2].removesuffix(b"}\n")
        match = _MARKER.match(data)
        marker = match[1].decode() if match else None
        if self.digests.get(marker) != hashlib.sha256(data).digest():
            self.complain("partial", f"{backup_id} has {len(text)} bytes and is not what was sent")
        elif self.stored.get(backup_id, marker) != marker:
            self.complain("partial", f"{backup_id} is another upload than was acknowledged")
        return marker


class Client(threading.Thread):
    """Uploads, reads and deletes until the server is killed under it."""

    def __init__(self, server: Server, ledger: Ledger, killing: threading.Event):
        super().__init__(daemon=True)
        self.server, self.ledger, self.killing = server, ledger, killing
        self.connection = server.connect(timeout=60)

    def run(self) -> None:
        try:
            while not self.killing.is_set():
                self._step()
        except (OSError, http.client.HTTPException) as error:
            if not self.killing.is_set():
                self.ledger.complain("errors", f"a request failed with nobody killed: {error!r}")
        finally:
            self.connection.close()

    def _step(self) -> None:
        chance = random.random()
        backup_id = self.ledger.choose()
        if backup_id is None or (chance < 0.6 and not self.ledger.is_full()):
            upload = new_upload()
            self.send(self.ledger.choose_change(upload) if random.random() < 0.3 else upload)
        elif chance < 0.75:
            self._read(backup_id)
        elif chance < 0.8:
            self._answer("GET", "/api/backup/list")
        else:
            self._remove(backup_id)

    def send(self, upload: Upload) -> int:
        self.ledger.sending(upload)
        body, headers = upload.body, {"Content-Type": "application/json"}
        way = random.choice(["plain", "chunked", "gzip" if upload.size < 1_000_000 else "plain"])
        if way == "gzip":
            body, headers["Content-Encoding"] = gzip.compress(body, 1), "gzip"
        sent = _in_chunks(body) if way == "chunked" else body
        expected = (200, 201, 409) if upload.base else (200, 201)
        status, answer = self._answer("POST", upload.path, sent, headers, expected)
        if status in (200, 201):
            self.ledger.acknowledged(upload, json.loads(answer)["id"])
            self.ledger.counts["changes"] += bool(upload.base)
        elif status == 409:
            self.ledger.check_is_gone(upload.base)
            return self.send(upload._replace(base=None))
        return status

    def _read(self, backup_id: str) -> None:
        path, body = f"/api/backup/{backup_id}", None
        if random.random() < 0.3:
            path, body = "/api/restore", json.dumps({"backupId": backup_id})
        status, text = self._answer("POST" if body else "GET", path, body, {}, (200, 404))
        if status == 200:
            self.ledger.check(backup_id, text)
        elif backup_id in self.ledger.stored.keys() - self.ledger.deleting:
            self.ledger.complain("lost", f"{backup_id} is a 404 to a reader")

    def _remove(self, backup_id: str) -> None:
        with self.ledger.lock:
            if backup_id in self.ledger.deleting or backup_id not in self.ledger.stored:
                return
            self.ledger.deleting.add(backup_id)
        status, _ = self._answer("DELETE", f"/api/backup/{backup_id}")
        if status == 200:
            self.ledger.was_deleted(backup_id)

    def _answer(self, method, path, body=None, headers=None, expected=(200,)) -> tuple[int, bytes]:
        self.connection.request(method, path, body, headers or {})
        response = self.connection.getresponse()
        text = response.read()
        if self.killing.is_set():
            raise ConnectionAbortedError("an answer that comes after the end counts for nothing")
        if response.status not in expected:
            self.ledger.complain("errors", f"{method} {path}: {response.status} {text[:200]}")
        return response.status, text


def _in_chunks(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), _CHUNK):
        yield body[start : start + _CHUNK]


def inspect(server: Server, ledger: Ledger) -> None:
    """Read back everything after a restart, once the clients have retried what has a key."""
    ledger.counts["strays"] += len(strays_in(server.data_dir))
    client = Client(server, ledger, threading.Event())
    for upload in [*ledger.unanswered.values()]:
        _retry(server, ledger, upload)
    listed = server.listed()
    ledger.settle_deletions(set(listed))
    if len(set(listed)) != len(listed) or listed != sorted(listed, reverse=True):
        ledger.complain("errors", "the listing is out of order")
    for backup_id in ledger.stored.keys() - set(listed):
        ledger.complain("lost", backup_id)
        ledger._forget(backup_id)
    for backup_id in ledger.deleted & set(listed):
        ledger.complain("risen", backup_id)
    markers = Counter()
    for backup_id in listed:
        _, text = client._answer("GET", f"/api/backup/{backup_id}")
        marker = ledger.check(backup_id, text)
        markers[marker] += 1
        if backup_id not in ledger.stored:
            _adopt(ledger, backup_id, marker, len(text))
    for times in markers.values():
        if times > 1:
            ledger.complain("doubled", f"an upload is stored {times} times")
    client.connection.close()


def _retry(server: Server, ledger: Ledger, upload: Upload) -> None:
    """Send an upload that was not answered once more, from two clients at the same moment."""
    statuses = []

    def send() -> None:
        client = Client(server, ledger, threading.Event())
        statuses.append(client.send(upload))
        client.connection.close()

    both = [threading.Thread(target=send) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    ledger.counts["retried"] += 1
    ledger.counts["retries answered 200 twice"] += statuses == [200, 200]


def _adopt(ledger: Ledger, backup_id: str, marker: str, size: int) -> None:
    """Count what was stored without its 201 having been read as stored from now on."""
    ledger.counts["stored, not acknowledged"] += 1
    ledger.stored[backup_id], ledger.sizes[backup_id] = marker, size


def torment(data_dir: Path, kills: int, longest: float = 0.8, progress=None) -> Ledger:
    """Kill a server on this directory so many times, each within ``longest`` seconds of load."""
    ledger = Ledger()
    for done in range(kills):
        server = Server(data_dir, WEB_CONCURRENCY=str(1 + done % 2)).start()
        try:
            inspect(server, ledger)
            killing = threading.Event()
            clients = [Client(server, ledger, killing) for _ in range(CLIENTS)]
            for client in clients:
                client.start()
            time.sleep(random.uniform(0.01, longest))
        finally:
            killing.set()
            server.kill()
        for client in clients:
            client.join()
        if "Traceback" in server.log:
            ledger.complain("errors", server.log[server.log.index("Traceback") :][:4000])
        server.log_path.unlink()
        ledger.counts["kills"] += 1
        ledger.counts["temporary files left by the kills"] += len(strays_in(data_dir))
        if progress:
            progress(ledger)
    server = Server(data_dir).start()
    inspect(server, ledger)
    server.stop()
    verify(data_dir, ledger)
    return ledger


def verify(data_dir: Path, ledger: Ledger) -> None:
    command = [sys.executable, "-m", "backup_server", "verify"]
    environ = {**os.environ, "DATA_DIR": str(data_dir)}
    run = subprocess.run(command, env=environ, capture_output=True, text=True)
    if run.returncode:
        ledger.complain("partial", run.stdout)


FAILURES = ("lost", "partial", "doubled", "risen", "strays", "errors")


def table(ledger: Ledger) -> str:
    rows = (
        "kills" if ledger.counts["kills"] else "cuts",
        "acknowledged",
        "deleted",
        "changes",
        "stored, not acknowledged",
        "retried",
        "retries answered 200 twice",
        "temporary files left by the kills",
        *FAILURES,
    )
    names = {
        "strays": "strays after restart",
        "changes": "of those acknowledged, changes",
        "retried": "unanswered, retried with their key",
        "retries answered 200 twice": "of those, had been stored",
    }
    lines = [f"| {names.get(row, row):<35} | {ledger.counts[row]:>9,} |" for row in rows]
    head = f"| {'after the last one':<35} | {'number':>9} |"
    return "\n".join([head, *lines, *ledger.complaints[:MOST_COMPLAINTS]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--directory", type=Path, help="where to work; default: a temporary one")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))

    def progress(ledger: Ledger) -> None:
        bad = sum(ledger.counts[name] for name in FAILURES)
        line = f"\r{ledger.counts['kills']} kills, {ledger.counts['acknowledged']} acknowledged"
        print(f"{line}, {bad} failures", end="", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        ledger = torment(Path(directory) / "data", options.kills, progress=progress)
    print(file=sys.stderr)
    print(table(ledger))
    sys.exit(any(ledger.counts[name] for name in FAILURES))


if __name__ == "__main__":
    main()
