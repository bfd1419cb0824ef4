"""Clients that load a server while something breaks, and a ledger of the answers they got.

The clients upload (24 KB to 50 MB; plain, chunked, gzipped; with and without a key; whole, or as a
change to a stored backup), read, list, retry and delete, on one directory that outlives all faults.
``inspect`` reads everything back after each fault and counts, in ``Ledger.counts``:

- lost: a client had read the 201, nobody asked for the deletion, and it is not there;
- partial: it is there, but not byte for byte what was sent;
- doubled: one upload is stored twice, though a client retries what has a key;
- risen: a client had read that it was deleted, or refused with a 507, and it is there;
- disordered: its id is not greater than the id of a backup acknowledged before it was sent;
- strays: temporary files that are there after the restart;
- errors: an answer, or none, that the fault does not explain.
"""

import gzip
import json
import random
import re
import secrets
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException

from support import Server, strays_in

#: Bytes of an upload, and how often it has so many.
SIZES = {24_000: 70, 300_000: 15, 2_000_000: 12, 52_000_000: 3}
#: Beyond so many the clients delete as much as they upload.
MOST_BACKUPS = 60

_PADDING = secrets.token_hex(max(SIZES) // 2).encode()
_MARKER = re.compile(rb'"marker":"([0-9a-f]{32})"')
_CHANGE = b'{"atoms":{"put":[{"slug":"it","marker":"%s"}]}}'
_BODY = b'{"deviceId": "phone", "snapshots": [1.0, 1e400], "later":"\\ud83d", "atoms": %s}'
_STORED = b'\n"data":{"atoms":%s,"compositions":[],"snapshots":[1.0, 1e400],"voiceNotes":[],'
_STORED += b'"configOverrides":[],"later":"\\ud83d"}}\n'


@dataclass
class Upload:
    """A state to store, of about ``size`` bytes; of one with a base only the marker is sent."""

    marker: str  # tells it from all others
    size: int
    key: str
    base: str  # the id of a stored backup of this size
    id: str = ""
    state: str = "sent"  # then refused, or stored, deleting, deleted

    @property
    def atoms(self) -> bytes:
        atoms = b'[{"slug":"it","marker":"%s"},{"slug":"pad","pad":"%s"}]'
        return atoms % (self.marker.encode(), _PADDING[: self.size])


class Ledger:
    """What the clients know, over all faults; ``sizes`` is like ``SIZES``."""

    def __init__(self, sizes: dict[int, int] = SIZES):
        self.sizes = sizes
        self.lock = threading.RLock()
        self.uploads: dict[str, Upload] = {}  # by marker
        self.deleted: set[str] = set()  # ids
        self.newest = ""
        self.counts = Counter()
        self.complaints: list[str] = []

    def there(self) -> dict[str, Upload]:
        """Return the uploads that every reader must find, by id."""
        with self.lock:
            return {one.id: one for one in self.uploads.values() if one.state == "stored"}

    def new_upload(self, base: Upload | None = None) -> Upload:
        (size,) = random.choices([*self.sizes], self.sizes.values())
        key = secrets.token_urlsafe(24) if random.random() < 0.5 else ""
        size, base_id = (base.size, base.id) if base else (size, "")
        upload = Upload(secrets.token_hex(16), size, key, base_id)
        with self.lock:
            self.uploads[upload.marker] = upload
        return upload

    def answered(self, upload: Upload, status: int, answer: bytes, newest: str) -> None:
        """Note the answer to an upload, sent when ``newest`` was the newest id acknowledged."""
        with self.lock:
            if status == 507 and upload.state == "sent":
                upload.state = "refused"
            if status not in (200, 201):
                return
            backup_id = json.loads(answer)["id"]
            if status == 201 and backup_id <= newest:
                self.complain("disordered", f"{backup_id} came after {newest}")
            if upload.state == "stored" and upload.id != backup_id:
                self.complain("doubled", f"{upload.id} is {backup_id}, too")
            if upload.id != backup_id:  # else it is a retry, and may have been deleted since
                upload.id, upload.state = backup_id, "stored"
                self.counts["acknowledged"] += 1
                self.counts["changes"] += bool(upload.base)
                self.newest = max(self.newest, backup_id)

    def check_missing(self, backup_id: str, where: str) -> None:
        if backup_id in self.there():
            self.complain("lost", f"{backup_id} is missing from {where}")

    def check(self, backup_id: str, text: bytes) -> Upload | None:
        """Compare a document with what was sent; return the upload that it is."""
        match = _MARKER.search(text, 0, 4000)
        upload = self.uploads.get(match[1].decode()) if match else None
        if not upload or not text.endswith(_STORED % upload.atoms):
            self.complain("partial", f"{backup_id} has {len(text)} bytes and is not what was sent")
        return upload

    def complain(self, what: str, why: str) -> None:
        self.counts[what] += 1
        self.complaints.append(f"{what}: {why}")

    def report(self) -> None:
        """Print the figures, and check that nothing failed, of a load that was one."""
        print(dict(self.counts), *self.complaints[:20], sep="\n")
        assert self.complaints == []
        assert self.counts["acknowledged"] > 10


class Client(threading.Thread):
    """One client of the first server, until ``over``.

    ``refusals``: the statuses that the fault explains. With any, so are broken connections.
    """

    def __init__(self, servers: list[Server], ledger: Ledger, over, refusals: Collection[int] = ()):
        super().__init__(daemon=True)
        self.servers, self.ledger, self.over, self.refusals = servers, ledger, over, refusals
        self.connection = servers[0].connect(timeout=60)

    def run(self) -> None:
        while not self.over.is_set():
            self._attempt(self._step)
        self.connection.close()

    def _attempt(self, do, *arguments) -> None:
        try:
            do(*arguments)
        except (OSError, HTTPException) as error:
            self.connection.close()
            if not self.over.is_set() and not self.refusals:
                self.ledger.complain("errors", f"a request failed without a fault: {error!r}")

    def _step(self) -> None:
        there, chance = self.ledger.there(), random.random()
        chosen = random.choice([*there.values()]) if there else None
        if not chosen or (chance < 0.6 and len(there) <= MOST_BACKUPS):
            upload = self.ledger.new_upload(chosen if random.random() < 0.3 else None)
            (self.send_at_once if upload.key and random.random() < 0.1 else self.send)(upload)
        elif chance < 0.8:
            self._read(chosen.id)
        elif chance < 0.85:
            self._list(there)
        else:
            self._remove(chosen)

    def send(self, upload: Upload) -> None:
        """Upload; send the whole state where a change is a 409."""
        newest, base = self.ledger.newest, upload.base
        queries = [f"{name}={text}" for name, text in (("base", base), ("key", upload.key)) if text]
        body = _CHANGE % upload.marker.encode() if base else _BODY % upload.atoms
        headers = {"Content-Type": "application/json"}
        if upload.size < 1_000_000 and random.random() < 0.3:
            body, headers["Content-Encoding"] = gzip.compress(body, 1), "gzip"
        path, body = "/api/backup?" + "&".join(queries), random.choice([body, iter([body])])
        status, answer = self.answer("POST", path, body, headers, {200, 201, 409 if base else 201})
        self.ledger.answered(upload, status, answer, newest)
        if status == 409:
            self.ledger.check_missing(base, "the bases")
            upload.base = ""
            self.send(upload)

    def send_at_once(self, upload: Upload) -> None:
        """Send an upload with a key to the first and the last server at the same moment."""

        def send(server: Server) -> None:
            one = Client([server], self.ledger, self.over, self.refusals)
            one._attempt(one.send, upload)
            one.connection.close()

        with ThreadPoolExecutor() as pool:
            list(pool.map(send, (self.servers[0], self.servers[-1])))

    def _read(self, backup_id: str) -> None:
        path, body = f"/api/backup/{backup_id}", None
        if random.random() < 0.3:
            path, body = "/api/restore", json.dumps({"backupId": backup_id})
        status, text = self.answer("POST" if body else "GET", path, body, expected={200, 404})
        if status == 200:
            self.ledger.check(backup_id, text)
        elif status == 404:
            self.ledger.check_missing(backup_id, "what can be read")

    def _list(self, expected: Collection[str]) -> None:
        status, text = self.answer("GET", "/api/backup/list")
        if status == 200:
            for backup_id in {*expected} - {one["id"] for one in json.loads(text)["backups"]}:
                self.ledger.check_missing(backup_id, "a listing")

    def _remove(self, upload: Upload) -> None:
        with self.ledger.lock:
            if upload.state != "stored":
                return
            backup_id, upload.state = upload.id, "deleting"
        status, _ = self.answer("DELETE", f"/api/backup/{backup_id}")
        if status == 200:
            with self.ledger.lock:
                self.ledger.deleted.add(backup_id)
                self.ledger.counts["deleted"] += 1
                if upload.id == backup_id:  # else a retry has stored it again
                    upload.state = "deleted"

    def answer(self, method, path, body=None, headers=None, expected=(200,)) -> tuple[int, bytes]:
        self.connection.request(method, path, body, headers or {})
        response = self.connection.getresponse()
        text = response.read()
        if self.over.is_set():
            raise ConnectionAbortedError("an answer that comes after the end counts for nothing")
        if response.status not in {*expected, *self.refusals}:
            self.ledger.complain("errors", f"{method} {path}: {response.status} {text[:200]}")
        return response.status, text


@contextmanager
def load(servers: list[Server], ledger: Ledger, refusals=(), clients=6, over=None) -> Iterator:
    """Let clients load the servers until the block ends, or until ``over``, which is yielded."""
    over = over or threading.Event()
    ends = [servers, servers[::-1]]
    running = [Client(ends[n % 2], ledger, over, refusals) for n in range(clients)]
    for client in running:
        client.start()
    try:
        yield over
    finally:
        over.set()
        for client in running:
            client.join(90)
    assert not any(client.is_alive() for client in running), "a request got no answer"


def inspect(servers: list[Server], ledger: Ledger, refusals: Collection[int] = ()) -> None:
    """Read back everything once the faults are over and the uploads with keys were retried."""
    for stray in strays_in(servers[0].data_dir):
        ledger.complain("strays", stray)
    client = Client(servers, ledger, threading.Event(), refusals)
    for upload in [*ledger.uploads.values()]:
        if upload.key and upload.state == "sent":
            ledger.counts["retried"] += 1
            client.send_at_once(upload)
    listed = servers[0].listed()
    for server in servers:
        if server.listed() != sorted(set(listed), reverse=True):
            ledger.complain("errors", "a listing is out of order, or is not the other server's")
    for upload in ledger.uploads.values():
        if upload.state == "stored" and upload.id not in listed:
            ledger.complain("lost", upload.id)
        if upload.state in ("stored", "deleting"):  # without an answer it may go either way
            upload.state = "stored" if upload.id in listed else "deleted"
    for backup_id in ledger.deleted & {*listed}:
        ledger.complain("risen", backup_id)
    ledger.deleted |= {one.id for one in ledger.uploads.values() if one.state == "deleted"}
    for backup_id in listed:
        upload = ledger.check(backup_id, client.answer("GET", f"/api/backup/{backup_id}")[1])
        if upload and upload.state == "refused":
            ledger.complain("risen", f"{backup_id} was refused with a 507")
        elif upload and upload.state == "sent":  # its answer was never read
            upload.id, upload.state = backup_id, "stored"
        elif upload and upload.id != backup_id:
            ledger.complain("doubled", f"{backup_id} is {upload.id}")
    client.connection.close()
