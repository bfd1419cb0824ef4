"""Clients that load a server while something breaks, and a ledger of what they were told.

The clients upload (24 KB to 50 MB; plain, chunked, gzipped; with and without a key; whole, or as a
change to a stored backup), read, list, retry and delete, on one directory that outlives all faults.
``inspect`` reads everything back after each fault and counts, in ``Ledger.counts``:

- lost: a client had read the 201, nobody asked for the deletion, and it is not there;
- partial: it is there, but not byte for byte what was sent;
- doubled: one upload is stored twice, though a client retries what has a key;
- risen: a client had read that it was deleted, or refused with a 507, and it is there;
- disordered: its id is not greater than one that was acknowledged before it was sent;
- strays: temporary files that are there after the restart;
- errors: an answer, or none, that the fault does not explain.
"""

import gzip
import hashlib
import http.client
import json
import random
import re
import secrets
import threading
from collections import Counter
from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import urlencode

from support import Server, strays_in

FAILURES = ("lost", "partial", "doubled", "risen", "disordered", "strays", "errors")
#: Bytes of an upload, and how often it has so many.
SIZES = {24_000: 70, 300_000: 15, 2_000_000: 12, 52_000_000: 3}
#: Beyond these the clients delete as much as they upload.
MOST_BACKUPS = 60
MOST_BYTES = 250_000_000

_PADDING = secrets.token_hex(max(SIZES) // 2).encode()
_MARKER = re.compile(rb'\{"atoms":\[\{"slug":"it","marker":"([0-9a-f]{32})"')
_CHUNK = 64 * 1024


class Upload(NamedTuple):
    """One state to store: ``marker`` tells it from all others, ``size`` is about its bytes.

    With a ``base``, a stored backup of this size, only the marker is sent, as a change.
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
        others = b'"deviceId": "phone", "snapshots": [1.0, 1e400], "later": "\\ud83d"'
        return b'{ %s, "atoms": %s }' % (others, self.atoms)

    @property
    def data(self) -> bytes:
        """What a stored document has after ``"data":``, every value as it was sent."""
        others = b'"voiceNotes":[],"configOverrides":[],"later":"\\ud83d"'
        return b'{"atoms":%s,"compositions":[],"snapshots":[1.0, 1e400],%s}' % (self.atoms, others)


class Ledger:
    """What the clients know, over all faults; ``sizes`` is like ``SIZES``."""

    def __init__(self, sizes: dict[int, int] = SIZES):
        self.sizes = sizes
        self.lock = threading.Lock()
        self.uploads: dict[str, tuple[Upload, bytes]] = {}  # with the SHA-256, by marker
        self.stored: dict[str, str] = {}  # markers of what was acknowledged, by id
        self.deleting: set[str] = set()  # asked for, no answer yet
        self.deleted: set[str] = set()
        self.unanswered: dict[str, Upload] = {}  # with a key, by marker
        self.refused: set[str] = set()  # markers
        self.newest = ""
        self.counts = Counter()
        self.complaints: list[str] = []

    def there(self) -> set[str]:
        """Return the ids that every reader must find."""
        return self.stored.keys() - self.deleting

    def new_upload(self, change: bool = False) -> Upload:
        (size,) = random.choices([*self.sizes], self.sizes.values())
        key = secrets.token_urlsafe(24) if random.random() < 0.5 else None
        upload = Upload(secrets.token_hex(16), size, key)
        with self.lock:
            if not change or not (bases := sorted(self.there())):
                return upload
            base = random.choice(bases)
            return upload._replace(base=base, size=self.uploads[self.stored[base]][0].size)

    def choose(self) -> str | None:
        with self.lock:
            there = sorted(self.there())
            return random.choice(there) if there else None

    def is_full(self) -> bool:
        with self.lock:
            sizes = [self.uploads[self.stored[backup_id]][0].size for backup_id in self.there()]
            return len(sizes) > MOST_BACKUPS or sum(sizes) > MOST_BYTES

    def sending(self, upload: Upload) -> str:
        """Note an upload that is about to be sent; return the newest id acknowledged so far."""
        digest = hashlib.sha256(upload.data).digest()
        with self.lock:
            self.uploads[upload.marker] = upload, digest
            if upload.key:
                self.unanswered[upload.marker] = upload
            return self.newest

    def answered(self, upload: Upload, status: int, answer: bytes, newest: str) -> None:
        """Note the answer to an upload, sent when ``newest`` was the newest id acknowledged."""
        with self.lock:
            if status == 507:
                self.unanswered.pop(upload.marker, None)
                self.refused.add(upload.marker)
            if status not in (200, 201):
                return
            self.unanswered.pop(upload.marker, None)
            self.refused.discard(upload.marker)
            backup_id = json.loads(answer)["id"]
            if status == 201 and backup_id <= newest:
                self.complain("disordered", f"{backup_id} came after {newest}")
            if self.stored.get(backup_id, upload.marker) != upload.marker:
                self.complain("doubled", f"{backup_id} was given to two uploads")
            if status == 200 and backup_id in self.deleted:
                return  # a retry that was answered before the deletion
            self.counts["acknowledged"] += backup_id not in self.stored
            self.counts["changes"] += bool(upload.base) and backup_id not in self.stored
            self.stored[backup_id] = upload.marker
            self.newest = max(self.newest, backup_id)

    def start_deleting(self, backup_id: str) -> bool:
        """Note that a deletion will be asked for; tell whether nobody else has."""
        with self.lock:
            if backup_id not in self.there():
                return False
            self.deleting.add(backup_id)
            return True

    def was_deleted(self, backup_id: str) -> None:
        with self.lock:
            self._forget(backup_id)
            self.deleted.add(backup_id)
            self.counts["deleted"] += 1

    def settle(self, listed: Collection[str]) -> None:
        """Compare the ids with a listing; a deletion that got no answer may go either way."""
        for backup_id in [*self.deleting]:
            if backup_id in listed:
                self.deleting.discard(backup_id)
            else:
                self._forget(backup_id)
        for backup_id in self.stored.keys() - set(listed):
            self.complain("lost", backup_id)
            self._forget(backup_id)
        for backup_id in self.deleted & set(listed):
            self.complain("risen", backup_id)

    def _forget(self, backup_id: str) -> None:
        self.deleting.discard(backup_id)
        del self.stored[backup_id]

    def check_missing(self, backup_id: str, where: str) -> None:
        with self.lock:
            if backup_id in self.there():
                self.complain("lost", f"{backup_id} is missing from {where}")

    def check(self, backup_id: str, text: bytes) -> str | None:
        """Compare a document with what was sent; return the marker of its upload."""
        data = text.partition(b'\n"data":')[2].removesuffix(b"}\n")
        match = _MARKER.match(data)
        marker = match[1].decode() if match else None
        if self.uploads.get(marker, ("", b""))[1] != hashlib.sha256(data).digest():
            self.complain("partial", f"{backup_id} has {len(text)} bytes and is not what was sent")
        elif self.stored.get(backup_id, marker) != marker:
            self.complain("partial", f"{backup_id} is another upload than was acknowledged")
        return marker

    def complain(self, what: str, why: str) -> None:
        self.counts[what] += 1
        self.complaints.append(f"{what}: {why}")

    def failures(self) -> dict[str, int]:
        return {name: self.counts[name] for name in FAILURES if self.counts[name]}

    def table(self, fault: str) -> str:
        rows = [fault, "acknowledged", "changes", "deleted", "adopted", "retried", *FAILURES]
        lines = [f"| {row} | {self.counts[row]:,} |" for row in rows]
        return "\n".join(["| | number |", "| --- | ---: |", *lines, *self.complaints[:20]])


class Client(threading.Thread):
    """One client of the first server, until ``over.is_set()``.

    ``refusals``: the statuses that the fault explains. With any, so are broken connections.
    """

    def __init__(self, servers: list[Server], ledger: Ledger, over, refusals: Collection[int] = ()):
        super().__init__(daemon=True)
        self.servers, self.ledger, self.over, self.refusals = servers, ledger, over, refusals
        self.connection = servers[0].connect(timeout=60)

    def run(self) -> None:
        while not self.over.is_set():
            try:
                self._step()
            except (OSError, http.client.HTTPException) as error:
                self.connection.close()
                self.explain(error)
        self.connection.close()

    def explain(self, error: Exception) -> None:
        if not self.over.is_set() and not self.refusals:
            self.ledger.complain("errors", f"a request failed without a fault: {error!r}")

    def _step(self) -> None:
        chance = random.random()
        backup_id = self.ledger.choose()
        if backup_id is None or (chance < 0.6 and not self.ledger.is_full()):
            upload = self.ledger.new_upload(change=random.random() < 0.3)
            if upload.key and random.random() < 0.1:
                send_at_once(self, upload)
            else:
                self.send(upload)
        elif chance < 0.75:
            self._read(backup_id)
        elif chance < 0.85:
            random.choice([self._list, self._read_latest])()
        elif self.ledger.start_deleting(backup_id):
            status, _ = self._answer("DELETE", f"/api/backup/{backup_id}")
            if status == 200:
                self.ledger.was_deleted(backup_id)

    def send(self, upload: Upload) -> int:
        """Upload; send the whole state where a change is a 409; return the status."""
        newest = self.ledger.sending(upload)
        body, headers = upload.body, {"Content-Type": "application/json"}
        way = random.choice(["plain", "chunked", "gzip" if upload.size < 1_000_000 else "plain"])
        if way == "gzip":
            body, headers["Content-Encoding"] = gzip.compress(body, 1), "gzip"
        chunks = (body[start : start + _CHUNK] for start in range(0, len(body), _CHUNK))
        expected = (200, 201, 409) if upload.base else (200, 201)
        status, answer = self._answer(
            "POST", upload.path, chunks if way == "chunked" else body, headers, expected
        )
        self.ledger.answered(upload, status, answer, newest)
        if status == 409:
            self.ledger.check_missing(upload.base, "the bases")
            return self.send(upload._replace(base=None))
        return status

    def _read(self, backup_id: str) -> None:
        path, body = f"/api/backup/{backup_id}", None
        if random.random() < 0.3:
            path, body = "/api/restore", json.dumps({"backupId": backup_id})
        status, text = self._answer("POST" if body else "GET", path, body, {}, (200, 404))
        if status == 200:
            self.ledger.check(backup_id, text)
        elif status == 404:
            self.ledger.check_missing(backup_id, "what can be read")

    def _list(self) -> None:
        with self.ledger.lock:
            expected = self.ledger.there()
        status, text = self._answer("GET", "/api/backup/list")
        if status == 200:
            listed = {backup["id"] for backup in json.loads(text)["backups"]}
            for backup_id in expected - listed:
                self.ledger.check_missing(backup_id, "a listing")

    def _read_latest(self) -> None:
        with self.ledger.lock:
            newest = max(self.ledger.there(), default="")
        status, text = self._answer("GET", "/api/backup/latest", expected=(200, 404))
        if newest and (status == 404 or (status == 200 and json.loads(text)["id"] < newest)):
            self.ledger.check_missing(newest, "what is the latest")

    def _answer(self, method, path, body=None, headers=None, expected=(200,)) -> tuple[int, bytes]:
        self.connection.request(method, path, body, headers or {})
        response = self.connection.getresponse()
        text = response.read()
        if self.over.is_set():
            raise ConnectionAbortedError("an answer that comes after the end counts for nothing")
        if response.status not in {*expected, *self.refusals}:
            self.ledger.complain("errors", f"{method} {path}: {response.status} {text[:200]}")
        return response.status, text


def send_at_once(client: Client, upload: Upload) -> list[int]:
    """Send an upload with a key to the client's first and last server at the same moment."""
    statuses = []

    def send(server: Server) -> None:
        one = Client([server], client.ledger, client.over, client.refusals)
        try:
            statuses.append(one.send(upload))
        except (OSError, http.client.HTTPException) as error:
            one.explain(error)
        finally:
            one.connection.close()

    ends = client.servers[0], client.servers[-1]
    both = [threading.Thread(target=send, args=(server,)) for server in ends]
    for one in both:
        one.start()
    for one in both:
        one.join()
    return statuses


def inspect(servers: list[Server], ledger: Ledger, refusals: Collection[int] = ()) -> None:
    """Read back everything once the faults are over and the uploads with keys were retried."""
    ledger.counts["strays"] += len(strays_in(servers[0].data_dir))
    client = Client(servers, ledger, threading.Event(), refusals)
    for upload in [*ledger.unanswered.values()]:
        ledger.counts["retried"] += 1
        send_at_once(client, upload)
    listed = servers[0].listed()
    for server in servers:
        if server.listed() != sorted(set(listed), reverse=True):
            ledger.complain("errors", "a listing is out of order, or is not the other server's")
    ledger.settle(listed)
    markers = Counter()
    for backup_id in listed:
        _, text = client._answer("GET", f"/api/backup/{backup_id}")
        marker = ledger.check(backup_id, text)
        markers[marker] += 1
        if marker in ledger.refused:
            ledger.complain("risen", f"{backup_id} was refused with a 507")
        if backup_id not in ledger.stored and marker in ledger.uploads:
            ledger.counts["adopted"] += 1
            ledger.stored[backup_id] = marker
    for times in markers.values():
        if times > 1:
            ledger.complain("doubled", f"an upload is stored {times} times")
    client.connection.close()
