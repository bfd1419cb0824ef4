"""The wire between a browser and nginx: watched, slowed, cut and answered in its place."""

import contextlib
import gzip
import http.client
import http.server
import json
import socket
import socketserver
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit


@dataclass
class Exchange:
    """One request that arrived, and what became of it."""

    method: str
    path: str
    headers: http.client.HTTPMessage
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    status: int | None = None  # None: the browser was sent no answer

    @property
    def is_upload(self):
        return self.path.startswith("/api/backup?")

    @property
    def key(self):
        return parse_qs(urlsplit(self.path).query)["key"][0]

    @property
    def base(self):
        """The id of the backup that this upload changes; None: it is everything."""
        return parse_qs(urlsplit(self.path).query).get("base", [None])[0]

    @property
    def is_plain_beacon(self):
        """Whether nobody reads the answer: so are beacons of plain text sent, and no fetch here."""
        return self.headers["sec-fetch-mode"] == "no-cors"

    @property
    def document(self):
        """The JSON that was sent."""
        gzipped = self.headers["Content-Type"] == "application/gzip"
        return json.loads(gzip.decompress(self.body) if gzipped else self.body)


class Wire:
    """A proxy in front of ``127.0.0.1:target``.

    The faults are attributes that a test sets at any time; they concern uploads only.
    """

    def __init__(self, target):
        self.target = target
        self.port = 0
        self.upload_rate = None  # bytes per second
        self.answers = []  # (status, headers, JSON or text), each given in the server's place once
        self.gate = threading.Event()  # cleared: uploads have arrived whole, and wait here
        self.gate.set()
        self.changed = threading.Condition()  # of what follows
        self.exchanges = []
        self.connections = set()
        self.is_open = True

    def __enter__(self):
        self.mend()
        return self

    def __exit__(self, *_):
        # What is on its way arrives before the next test; what a closing page sends does not.
        self.gate.set()
        self.upload_rate = None
        with self.changed:
            self.is_open = False
            self.changed.wait_for(lambda: all(e.ended for e in self.exchanges), 10)
        self.cut()

    @property
    def url(self):
        return f"http://localhost:{self.port}"

    @property
    def uploads(self):
        """The uploads so far, in the order in which they began."""
        with self.changed:
            return [exchange for exchange in self.exchanges if exchange.is_upload]

    def wait(self, condition, seconds=20):
        """Wait until ``condition(uploads)`` holds, and return the uploads.

        Raises AssertionError with what was there instead.
        """
        with self.changed:
            if not self.changed.wait_for(lambda: condition(self.uploads), seconds):
                seen = [(e.method, e.path, e.status, len(e.body)) for e in self.uploads]
                raise AssertionError(f"waited {seconds} s for the uploads; there are {seen}")
            return self.uploads

    def wait_answered(self, count, seconds=20):
        """Wait until so many uploads have got an answer; return all uploads."""
        return self.wait(lambda all: sum(e.status is not None for e in all) >= count, seconds)

    def cut(self):
        """Refuse connections from now on, and reset those there are."""
        server, self._server = self._server, None
        if server:
            server.shutdown()
            server.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def mend(self):
        """Accept connections again, at the same address."""
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.wire = self
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True).start()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128

    def server_activate(self):
        # Small, so that an upload can't vanish in the kernel's buffers at once.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        super().server_activate()

    def handle_error(self, request, client_address):
        """A closed tab or a cut wire is what the tests are about."""


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection of the browser: its requests have a ``Content-Length``, or no body."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle(self):
        connections = self.server.wire.connections
        connections.add(self.connection)
        try:
            super().handle()
        finally:
            connections.discard(self.connection)

    def do_GET(self):
        wire = self.server.wire
        exchange = Exchange(self.command, self.path, self.headers)
        self.close_connection = True
        with self._changing():
            if not wire.is_open:
                return
            wire.exchanges.append(exchange)
        try:
            status, headers, body = self._answer(wire, exchange)
        finally:
            with self._changing():
                exchange.ended = True
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = False
        with self._changing():
            exchange.status = status

    do_POST = do_DELETE = do_GET

    @contextlib.contextmanager
    def _changing(self):
        with self.server.wire.changed:
            yield
            self.server.wire.changed.notify_all()

    def _answer(self, wire, exchange):
        """Send the request on; return status, headers and body of the answer."""
        if exchange.is_upload and wire.answers:
            self._pump(wire, exchange, lambda chunk: None)
            status, headers, value = wire.answers.pop(0)
            return status, headers, json.dumps(value).encode()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", wire.target)) as server:
            server.putrequest(exchange.method, exchange.path, True, True)
            for name, value in exchange.headers.items():
                server.putheader(name, "close" if name.lower() == "connection" else value)
            server.endheaders()
            self._pump(wire, exchange, server.send)
            response = server.getresponse()
            body = response.read()
        hop = ("connection", "transfer-encoding", "content-length")
        kept = {name: text for name, text in response.getheaders() if name.lower() not in hop}
        return response.status, kept, body

    def _pump(self, wire, exchange, send):
        left = int(exchange.headers.get("Content-Length", 0))
        while left:
            rate = wire.upload_rate if exchange.is_upload else None
            chunk = self.rfile.read1(min(left, 2048 if rate else 65536))
            if not chunk:
                raise ConnectionResetError("the browser went away")
            left -= len(chunk)
            if exchange.is_upload and not left:
                wire.gate.wait()
            send(chunk)
            exchange.body += chunk
            if rate:
                time.sleep(len(chunk) / rate)

    def log_message(self, *_):
        pass
