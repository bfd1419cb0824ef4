"""gunicorn's worker for this server: one loop serves all connections, and none costs a thread.

Each connection has a greenlet of gevent's, which waits for its client without holding up others.
Nothing is monkey-patched; only the clients' sockets know of the loop. What may wait for a disk
runs in the threads of ``lanes``. A client is waited for as long as it sends or takes bytes; when
there are too many, one that is idle goes, or that has done neither for longest. Also here:
gunicorn's own errors in JSON, and the line it logs for a request.

Of gunicorn this relies on what it does not document: ``AsyncWorker.handle_request``, the parser
with its ``unreader``, ``Worker.PIPE`` and ``util.write_error``. Hence its pinned minor version.
"""

import errno
import fcntl
import json
import math
import os
import re
import signal
import sys
import termios
import time

import gevent
from gevent import socket
from gunicorn import glogging, http, util
from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import LimitRequestHeaders, NoMoreData
from gunicorn.workers.base_async import AsyncWorker

from . import body, lanes

#: Seconds in which a request's head has to arrive, and the most bytes it may have.
HEAD_SECONDS = 10
HEAD_BYTES = 32 * 1024
#: A body must average this, in bytes a second, once PACE_SECONDS were spent waiting for it (the
#: limits of Apache's mod_reqtimeout).
SLOWEST_PACE = 500
PACE_SECONDS = 20
#: Seconds in which a client that is sent an answer has to take a byte. Long, since a receiver with
#: large buffers tells of room only now and then: at 10 KB/s every 40 s.
TAKING_SECONDS = 120
#: Seconds in which a request's head usually comes, for which no connection counts as idle.
IDLE_SECONDS = 1
#: Seconds for which a connection that is over may take its last answer.
LINGER_SECONDS = 2

_HEAD_END = re.compile(rb"\n\r?\n")
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_QUOTED = re.compile(r"(?s)'.*'")
_HEAD_CHUNK = 8 * 1024
_CHUNK = 64 * 1024
# The kernel would keep megabytes of what a client does not take, and tell of room only when a third
# of them has been taken.
_MOST_UNSENT = 256 * 1024
# The most bytes of a file sent by one call, which keeps a thread for as long as it runs.
_SEND_AT_ONCE = 8 * 1024 * 1024


class Worker(AsyncWorker):
    """Serves each connection in a greenlet."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._clients: set[Client] = set()

    @classmethod
    def check_config(cls, cfg, log):
        """Refuse TLS, which ends in front of this server; called in the master."""
        if cfg.is_ssl:
            raise RuntimeError("let a proxy in front speak TLS, or use --worker-class gthread")
        # A signal that comes between the fork and a worker's own handlers would be lost, and the
        # master wait for that worker until graceful_timeout.
        os.register_at_fork(before=_hold_signals, after_in_parent=_release_signals)

    def init_process(self):
        """Take the listening sockets into the loop of this process, and start its threads."""
        gevent.reinit()
        self.sockets = [
            socket.socket(listener.FAMILY, socket.SOCK_STREAM, fileno=listener.sock.detach())
            for listener in self.sockets
        ]
        for listener in self.sockets:
            if listener.family != socket.AF_UNIX:  # inherited by what is accepted
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MOST_UNSENT)
        for lane in lanes.LANES:
            lane.open()
        super().init_process()

    def init_signals(self):
        """Handle signals, those included that came since the fork."""
        super().init_signals()
        _release_signals()

    def handle_quit(self, sig, frame):
        """Stop at once; not in the handler itself, which may interrupt the loop (as ggevent)."""
        gevent.spawn(super().handle_quit, sig, frame)

    def run(self):
        """Serve until told to stop; then finish what is in flight."""
        acceptors = [gevent.spawn(self._accept, listener) for listener in self.sockets]
        while self.alive and self.ppid == os.getppid():
            self.notify()
            self._sleep_until_signal(1)
        self.alive = False
        gevent.killall(acceptors)
        # A client that comes now is refused at once. In the kernel's queue it would wait in vain.
        for listener in self.sockets:
            listener.close()
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while self._clients and time.monotonic() < deadline:
            for client in [client for client in self._clients if client.is_idle]:
                client.close()
            self.notify()
            gevent.sleep(0.02)

    def _sleep_until_signal(self, seconds):
        try:
            socket.wait_read(self.PIPE[0], timeout=seconds)
            os.read(self.PIPE[0], 4096)
        except TimeoutError:
            pass

    def _accept(self, listener):
        name = listener.getsockname()
        while True:
            try:
                accepted, address = listener.accept()
            except OSError as error:
                self.log.error("a connection could not be accepted: %s", error)
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self._drop_longest_waiting()
                gevent.sleep(0.1)
                continue
            if len(self._clients) >= self.worker_connections:
                self._drop_longest_waiting()
            client = Client(accepted.family, accepted.type, fileno=accepted.detach())
            self._clients.add(client)
            gevent.spawn(self._serve, client, address, name)
            gevent.sleep(0)  # a flood of connections must leave the others their turn

    def _drop_longest_waiting(self):
        """Drop the client that has asked for nothing for longest, or else the slowest.

        Anybody can open connections; who is in the middle of a backup would lose more.
        """
        waiting = [client for client in self._clients if client.is_waited_for]
        if waiting:
            just_now = time.monotonic() - IDLE_SECONDS
            idle = [client for client in waiting if client.is_idle and client.idle_since < just_now]
            client = (
                min(idle, key=lambda client: client.idle_since)
                if idle
                else min(waiting, key=lambda client: client.last_progress)
            )
            self._clients.discard(client)
            client.close()

    def _serve(self, client, address, server_name):
        try:
            self._serve_requests(client, address, server_name)
            client.linger()
        except OSError as error:
            self.log.debug("connection lost: %s", error)
        finally:
            client.close()
            self._clients.discard(client)

    def _serve_requests(self, client, address, server_name):
        """Answer the requests of a connection until one of the two sides ends it."""
        parser = http.get_parser(self.cfg, client, address)
        request = None
        patience = HEAD_SECONDS
        try:
            while self.alive:
                head = client.receive_head(parser.unreader.take_buffered(), patience)
                if not head:
                    return
                parser.unreader.unread(head)
                request = next(parser)
                if isinstance(request.body.reader, ChunkedReader):
                    request.body.reader.limit_trailer_section = HEAD_BYTES
                client.begin_request()
                try:
                    self.handle_request(server_name, request, client, address)
                finally:
                    client.flush()
                    body.drain(request.body, client)
                if request.body.failed or request.body.read(1):
                    return
                request = None
                patience = self.cfg.keepalive
        except (StopIteration, NoMoreData):
            pass  # the connection was to end, or did
        except OSError:
            raise
        except Exception as error:
            self.handle_error(request, client, address, error)


class Client(socket.socket):
    """A client's socket, which gives up with a TimeoutError on a client that is too slow.

    Its timeout is for each byte that is received. What is sent may take as long as it takes.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        #: Whether no request is being answered, whether the client is being waited for, and when
        #: it last sent or took a byte.
        self.is_idle = True
        self.is_waited_for = False
        self.last_progress = time.monotonic()
        #: Since when it is idle, whatever has come of its next request's head.
        self.idle_since = self.last_progress
        #: Bytes of files that were sent for the present request.
        self.file_bytes = 0
        self._unsent = bytearray()
        self._unpaused = 0
        self._measure()

    def receive_head(self, received: bytes, patience: float) -> bytes:
        """Return a request's head and what came with it; nothing if the client has gone.

        ``received`` has come already; for ``patience`` seconds a request may not even begin. Raises
        LimitRequestHeaders and TimeoutError.
        """
        self.is_idle, self.idle_since = True, time.monotonic()
        head = bytearray(received)
        if head:  # of many requests at once
            gevent.sleep(0)  # the others have their turn
            self._wait_until_answered()
        else:
            self._measure(total=patience)
            head += self.recv(_HEAD_CHUNK)
        self._measure(total=HEAD_SECONDS)
        searched = 0
        while not _HEAD_END.search(head, searched):
            if len(head) > HEAD_BYTES:
                if b"\n" not in head:
                    break  # the address alone is too long; gunicorn says so
                raise LimitRequestHeaders(f"more than {HEAD_BYTES} bytes")
            searched = max(0, len(head) - 2)
            data = self.recv(_HEAD_CHUNK)
            if not data:
                break  # what has come of it is for gunicorn to judge
            head += data
        self.is_idle = False
        return bytes(head)

    def begin_request(self):
        """Begin to measure how fast a body comes, and what is sent in answer."""
        self.file_bytes = 0
        self._measure(pace=SLOWEST_PACE)

    def linger(self):
        """Say that nothing more will be sent, and let the client take its last answer."""
        self.flush()
        self.shutdown(socket.SHUT_WR)
        self._measure(total=LINGER_SECONDS)
        while self.recv(_CHUNK):
            pass

    def _measure(self, total: float = math.inf, pace: float = 0):
        """Let the client send for so many seconds from now on, and so fast, without a pause."""
        self.settimeout(total)
        self._left, self._pace = total, pace
        self._waited, self._received = 0.0, 0

    def recv(self, size, *flags):
        """Receive bytes; raise TimeoutError if they are too few for the time they took."""
        self.flush()
        self._pause_after_much()
        idle = self.gettimeout()
        self.settimeout(max(0.01, min(idle, self._left - self._waited)))
        began = time.monotonic()
        self.is_waited_for = True
        try:
            data = super().recv(size, *flags)
        finally:
            self.is_waited_for = False
            self.settimeout(idle)
        self._count(len(data), time.monotonic() - began)
        return data

    def _count(self, received: int, seconds: float):
        self.last_progress = time.monotonic()
        self._unpaused += received
        self._received += received
        self._waited += seconds
        too_slow = self._waited > PACE_SECONDS and self._received < self._waited * self._pace
        if too_slow or self._waited > self._left:
            raise TimeoutError("the client sends too slowly")

    def _pause_after_much(self):
        """Let others have their turn, since what has arrived already is received at once."""
        if self._unpaused > _CHUNK:
            self._unpaused = 0
            gevent.sleep(0)

    def sendall(self, data, *flags):
        """Send bytes, small ones with those that follow: an answer's head and body are one packet.

        Raises TimeoutError if the client takes none of them for TAKING_SECONDS.
        """
        self._unsent += data
        if len(self._unsent) > _CHUNK:
            self.flush()

    def flush(self):
        """Send what :meth:`sendall` has kept."""
        if not self._unsent:
            return
        left, self._unsent = memoryview(self._unsent), bytearray()
        while left:
            try:
                left = left[self.send(left, timeout=0.0) :]
            except BlockingIOError:
                self._wait_until_taken()

    def sendfile(self, file, offset=0, count=None):
        """Send ``count`` bytes of a file, as :meth:`sendall` does."""
        self.flush()
        end = offset + count
        while offset < end:
            at_once = min(end - offset, _SEND_AT_ONCE)
            try:
                sent = lanes.reading(os.sendfile, self.fileno(), file.fileno(), offset, at_once)
            except BlockingIOError:
                self._wait_until_taken()
                continue
            if not sent:
                raise OSError("a backup has lost its end while it was sent")
            offset += sent
            self.file_bytes += sent

    def _wait_until_answered(self):
        """Wait until the client has taken the answers to the requests before this one."""
        pause, untaken = 0.001, self._untaken()
        while untaken:
            self.is_waited_for = True
            gevent.sleep(pause)
            self.is_waited_for = False
            if error := self.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, os.strerror(error))
            before, untaken = untaken, self._untaken()
            if untaken < before:
                self.last_progress = time.monotonic()
            elif time.monotonic() > self.last_progress + TAKING_SECONDS:
                raise TimeoutError("the client takes no answers")
            pause = min(2 * pause, 1)

    def _wait_until_taken(self):
        """Wait until there is room to send, for as long as the client takes what was sent."""
        self.is_waited_for = True
        try:
            while not self._has_room(TAKING_SECONDS):
                self.last_progress = time.monotonic()
        finally:
            self.is_waited_for = False
        self.last_progress = time.monotonic()

    def _has_room(self, seconds: float) -> bool:
        """Wait for room; return whether there is, or at least something was taken for it.

        Raises TimeoutError if nothing was. There is room when half of _MOST_UNSENT has been taken.
        """
        before = self._untaken()
        try:
            socket.wait_write(self.fileno(), timeout=seconds)
        except TimeoutError:
            if self._untaken() >= before:
                raise
            return False
        return True

    def _untaken(self) -> int:
        """Return how many bytes the client's side has not acknowledged (SIOCOUTQ, tcp(7))."""
        answer = fcntl.ioctl(self.fileno(), termios.TIOCOUTQ, bytes(4))
        return int.from_bytes(answer, sys.byteorder)


class Logger(glogging.Logger):
    """gunicorn's logger, with one line a request: method, path, status, bytes, milliseconds."""

    def warning(self, msg, *args, **kwargs):
        """Log a warning, but of what could not be parsed only what is wrong, not what was sent."""
        # A header without its colon is quoted whole, and may be the one with the token.
        if msg.startswith("Invalid request from"):
            msg = _QUOTED.sub("'...'", msg)
        super().warning(msg, *args, **kwargs)

    def access(self, resp, req, environ, request_time):
        """Log a finished request: the path as it was sent, but no query, which may hold a key."""
        # A file sent by sendfile(2) is not counted by gunicorn.
        of_file = getattr(environ.get("gunicorn.socket"), "file_bytes", 0)
        self.access_log.info(
            "%s %s %s %d %.1f",
            req.method,
            req.path,
            str(resp.status).partition(" ")[0],
            resp.sent + of_file,
            request_time.total_seconds() * 1000,
        )


def _hold_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)


def _release_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)


def answer_errors_in_json() -> None:
    """Let gunicorn answer what it cannot parse, which no application sees, like all other errors.

    gunicorn has no setting for this: it writes HTML, in one function.
    """
    util.write_error = _write_error


def _write_error(sock: socket.socket, status: int, reason: str, message: str) -> None:
    sentence = f"{reason}: {message}" if message else reason
    body = json.dumps({"error": sentence.rstrip(".") + "."}).encode()
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    util.write_nonblock(sock, head.encode("latin-1") + body)
