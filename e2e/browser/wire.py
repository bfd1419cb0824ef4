"""The wire between a browser and nginx: watched, slowed, cut and answered in its place."""

import contextlib
import gzip
import json
import socket
import threading
import time
import urllib.parse
from dataclasses import dataclass, field

from support import free_port

CHUNK = 2048


@dataclass
class Exchange:
    """One request that arrived, and what became of it. Times are ``time.monotonic()``."""

    method: str
    path: str
    headers: dict
    started: float
    body: bytearray = field(default_factory=bytearray)
    status: int | None = None  # None: the browser was sent no answer
    ended: float | None = None

    @property
    def key(self):
        return self._parameters.get("key")

    @property
    def base(self):
        """The id of the backup that this upload changes; None: it is everything."""
        return self._parameters.get("base")

    @property
    def is_plain_beacon(self):
        """Whether nobody reads the answer: so are beacons of plain text sent, and no fetch here."""
        return self.headers["sec-fetch-mode"] == "no-cors"

    @property
    def _parameters(self):
        return dict(urllib.parse.parse_qsl(self.path.partition("?")[2]))

    @property
    def document(self):
        """The JSON that was sent."""
        gzipped = self.headers["content-type"] == "application/gzip"
        return json.loads(gzip.decompress(bytes(self.body)) if gzipped else self.body)


class Wire:
    """A proxy for HTTP/1.1 with ``Content-Length`` bodies, in front of ``127.0.0.1:port``.

    The faults are attributes that a test sets at any time; they concern uploads only.
    """

    def __init__(self, port):
        self._target = ("127.0.0.1", port)
        self._changed = threading.Condition()
        self._listener = None
        self._exchanges = []
        self._open = set()
        self._closed = False
        self.upload_rate = None  # bytes per second
        self.answers = []  # (status, headers, text), each given in the server's place once
        self.lost_replies = 0  # so many uploads reach the server, their answers nobody
        self.gate = threading.Event()  # cleared: uploads have arrived whole, and wait here
        self.gate.set()

    def __enter__(self):
        self.port = free_port()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def __exit__(self, *_):
        # What is on its way arrives before the next test; what a closing page sends does not.
        self.gate.set()
        self.upload_rate = None
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: all(e.ended for e in self._exchanges), 10)
        self.cut()

    @property
    def url(self):
        return f"http://localhost:{self.port}"

    @property
    def uploads(self):
        """The uploads so far, in the order in which they began."""
        with self._changed:
            return [e for e in self._exchanges if e.path.startswith("/api/backup?")]

    def wait(self, condition, seconds=20):
        """Wait until ``condition(uploads)`` holds, and return the uploads.

        Raises AssertionError with what was there instead.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self.uploads), seconds):
                seen = [(e.method, e.path, e.status, len(e.body)) for e in self.uploads]
                raise AssertionError(f"waited {seconds} s for the uploads; there are {seen}")
            return self.uploads

    def wait_answered(self, count, seconds=20):
        """Wait until so many uploads have got an answer; return all uploads."""
        return self.wait(lambda all: sum(e.status is not None for e in all) >= count, seconds)

    def cut(self):
        """Refuse connections from now on, and reset those there are."""
        listener, self._listener = self._listener, None
        if listener:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._changed:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def mend(self):
        """Accept connections again, at the same address."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener):
        # Small, so that an upload can't vanish in the kernel's buffers at once.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with self._changed:
            self._open.add(client)
        try:
            # A closed tab or a cut wire is what the tests are about.
            with client, contextlib.suppress(ConnectionError):
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with client.makefile("rb") as reader:
                    while self._exchange(client, reader):
                        pass
        finally:
            with self._changed:
                self._open.discard(client)

    def _exchange(self, client, reader):
        head = _read_head(reader)
        if not head:
            return False
        exchange, length = _parse(head)
        with self._changed:
            if self._closed:
                return False
            self._exchanges.append(exchange)
            self._changed.notify_all()
        try:
            answer = self._answer(exchange, head, length, reader)
        finally:
            with self._changed:
                exchange.ended = time.monotonic()
                self._changed.notify_all()
        if answer is None:
            return False
        client.sendall(answer)
        with self._changed:
            exchange.status = int(answer.split(b" ", 2)[1])
            self._changed.notify_all()
        return True

    def _answer(self, exchange, head, length, reader):
        upload = exchange.path.startswith("/api/backup?")
        if upload and self.answers:
            self._pump(exchange, length, reader, lambda chunk: None, upload)
            return _render(*self.answers.pop(0))
        with socket.create_connection(self._target) as server:
            server.sendall(_closing(head))
            self._pump(exchange, length, reader, server.sendall, upload)
            answer = b"".join(iter(lambda: server.recv(65536), b""))
        if not answer:
            return None
        if upload and self.lost_replies:
            self.lost_replies -= 1
            return None
        return _persistent(answer)

    def _pump(self, exchange, length, reader, send, upload):
        left = length
        while left:
            chunk = reader.read1(min(left, CHUNK if self.upload_rate and upload else 65536))
            if not chunk:
                raise ConnectionResetError("the browser went away")
            left -= len(chunk)
            if upload and not left:
                self.gate.wait()
            send(chunk)
            with self._changed:
                exchange.body += chunk
                self._changed.notify_all()
            if upload and self.upload_rate:
                time.sleep(len(chunk) / self.upload_rate)


def _read_head(reader):
    lines = []
    while line := reader.readline():
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)
    return b""


def _parse(head):
    request_line, *lines = head.decode("latin-1").strip().split("\r\n")
    method, path, _ = request_line.split(" ")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    exchange = Exchange(method, path, headers, time.monotonic())
    return exchange, int(headers.get("content-length", 0))


def _closing(head):
    """The head with its ``Connection`` replaced: one exchange a connection to nginx."""
    lines = head.split(b"\r\n")
    kept = [line for line in lines[:-2] if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*kept, b"Connection: close", b"", b""])


def _persistent(answer):
    """The whole answer, its length said, so that the browser's connection can stay open."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    names = (b"connection:", b"transfer-encoding:", b"content-length:")
    chunked = any(line.lower() == b"transfer-encoding: chunked" for line in lines)
    kept = [line for line in lines if not line.lower().startswith(names)]
    body = _dechunked(body) if chunked else body
    if status.split(b" ")[1] not in (b"204", b"304"):
        kept.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([status, *kept, b"", body])


def _dechunked(body):
    parts = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        parts.append(rest[:length])
        body = rest[length + 2 :]
        if not length:
            break
    return b"".join(parts)


def _render(status, headers, value):
    body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
    lines = [f"HTTP/1.1 {status} Injected", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {text}" for name, text in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
