"""The wire between a browser and nginx: watched, slowed, cut and answered in its place."""

import contextlib
import gzip
import http.client
import json
import socket
import threading
import time
import urllib.parse
from dataclasses import dataclass, field

CHUNK = 2048


@dataclass
class Exchange:
    """One request that arrived, and what became of it. Times are ``time.monotonic()``."""

    method: str
    path: str
    headers: http.client.HTTPMessage
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
        gzipped = self.headers["Content-Type"] == "application/gzip"
        return json.loads(gzip.decompress(bytes(self.body)) if gzipped else self.body)


class Wire:
    """A proxy for HTTP/1.1 with ``Content-Length`` bodies, in front of ``127.0.0.1:port``.

    The faults are attributes that a test sets at any time; they concern uploads only.
    """

    def __init__(self, port):
        self._target = port
        self.port = 0
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
        self.mend()
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
        self.port = self._listener.getsockname()[1]
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
            with client, contextlib.suppress(ConnectionError, http.client.HTTPException):
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with client.makefile("rb") as reader:
                    while self._exchange(client, reader):
                        pass
        finally:
            with self._changed:
                self._open.discard(client)

    def _exchange(self, client, reader):
        request_line = reader.readline().decode()
        if not request_line.endswith("\r\n"):
            return False
        method, path, _ = request_line.split(" ")
        headers = http.client.parse_headers(reader)
        exchange = Exchange(method, path, headers, time.monotonic())
        with self._changed:
            if self._closed:
                return False
            self._exchanges.append(exchange)
            self._changed.notify_all()
        try:
            status, answer = self._answer(exchange, reader)
        finally:
            with self._changed:
                exchange.ended = time.monotonic()
                self._changed.notify_all()
        if not answer:
            return False
        client.sendall(answer)
        with self._changed:
            exchange.status = status
            self._changed.notify_all()
        return True

    def _answer(self, exchange, reader):
        upload = exchange.path.startswith("/api/backup?")
        if upload and self.answers:
            self._pump(exchange, reader, lambda chunk: None)
            return _render(*self.answers.pop(0))
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._target)) as server:
            server.putrequest(exchange.method, exchange.path, True, True)
            for name, value in exchange.headers.items():
                if name.lower() != "connection":
                    server.putheader(name, value)
            server.putheader("Connection", "close")
            server.endheaders()
            self._pump(exchange, reader, server.send)
            response = server.getresponse()
            body = response.read()
        if upload and self.lost_replies:
            self.lost_replies -= 1
            return None, None
        hop = ("connection", "transfer-encoding", "content-length")
        kept = {name: text for name, text in response.getheaders() if name.lower() not in hop}
        return _render(response.status, kept, body)

    def _pump(self, exchange, reader, send):
        left = int(exchange.headers.get("Content-Length", 0))
        upload = exchange.path.startswith("/api/backup?")
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


def _render(status, headers, value):
    """The status, and an answer that says its length, so that the connection can stay open."""
    text = value if isinstance(value, (str, bytes)) else json.dumps(value)
    body = text.encode() if isinstance(text, str) else text
    lines = [f"HTTP/1.1 {status} {http.client.responses[status]}"]
    lines += [f"{name}: {text}" for name, text in headers.items()]
    if status not in (204, 304):
        lines.append(f"Content-Length: {len(body)}")
    return status, "\r\n".join([*lines, "", ""]).encode("latin-1") + body
