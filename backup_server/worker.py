"""gunicorn's threaded worker, made safe against clients that are slow on purpose or by bad luck.

gunicorn gives a connection a thread as soon as there is a byte of it, waits for the rest without
end, and closes in its main loop, waiting there. Here a thread is given when a request's head is
complete, heads and closing connections wait in the main loop without blocking it, and a body has
to keep coming. Also here: gunicorn's own errors in JSON, and the line it logs for a request.
"""

import errno
import json
import re
import signal
import socket
import time
from collections import deque
from functools import partial
from selectors import EVENT_READ

from gunicorn import glogging, util
from gunicorn.workers.gthread import TConn, ThreadWorker

#: Seconds in which a request's head has to arrive.
HEAD_SECONDS = 10.0
#: Seconds without progress, in or out, after which a connection in a thread is given up.
IDLE_SECONDS = 20.0
#: A body must average this, in bytes a second, once PACE_SECONDS have passed (the limits of
#: Apache's mod_reqtimeout).
SLOWEST_PACE = 500
PACE_SECONDS = 20.0
#: Seconds for which a closed connection may take its last answer.
LINGER_SECONDS = 2.0

_HEAD_END = re.compile(rb"\n\r?\n")
_QUOTED = re.compile(r"(?s)'.*'")
_LARGEST_HEAD = 1024 * 1024
_RECEIVE = 64 * 1024


class Worker(ThreadWorker):
    """A threaded worker whose threads only ever serve requests that have arrived."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._lingering: deque[Connection] = deque()
        #: The queue of the master's handler, if gunicorn_conf has set it.
        self.early_signals = None

    @classmethod
    def check_config(cls, cfg, log):
        """Refuse TLS, in which no head can be told from here; it ends in front of this server."""
        if cfg.is_ssl:
            raise RuntimeError("let a proxy in front speak TLS, or use --worker-class gthread")
        super().check_config(cfg, log)

    def init_signals(self):
        """Handle signals, those included that came since the fork.

        Until here the master's handler, inherited, has put them into a queue that nobody reads in
        this process: a SIGTERM was lost, and the master waited for it until graceful_timeout.
        """
        super().init_signals()
        while self.early_signals and not self.early_signals.empty():
            if self.early_signals.get_nowait() == signal.SIGTERM:
                self.alive = False

    def accept(self, listener):
        """Take a new connection and wait for its head, without a thread."""
        try:
            accepted, address = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self.log.error("no file descriptors left: new connections wait")
                self._drop_oldest()
                time.sleep(0.1)
                return
            if error.errno in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                return
            raise
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections:
            self._drop_oldest()
        paced = PacedSocket(fileno=accepted.detach())
        self._await_head(Connection(self.cfg, paced, address, listener.getsockname()))

    def on_client_socket_readable(self, conn, client):
        """Go on with a kept-alive connection on which a head begins."""
        if conn.dropped:
            return
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        if not self._receive_head(conn):
            self._await_head(conn)

    def on_pending_socket_readable(self, conn, client):
        """Go on with a connection whose head has begun."""
        if not conn.dropped and self._receive_head(conn):
            self.poller.unregister(client)
            self.pending_conns.remove(conn)

    def finish_request(self, conn, fs):
        """Keep a connection alive, or start closing it."""
        if not fs.cancelled() and not fs.exception() and fs.result() is True:
            # What came behind the request may be half a head, which must not have a thread.
            conn.head = conn.parser.unreader.take_buffered()
            if _HEAD_END.search(conn.head):
                self.enqueue_req(conn)
                return
            if conn.head:
                self._await_head(conn)
                return
        super().finish_request(conn, fs)
        if conn.lingers:
            conn.timeout = time.monotonic() + LINGER_SECONDS
            self._lingering.append(conn)
            self.poller.register(conn.sock, EVENT_READ, partial(self._linger, conn))

    def murder_pending(self):
        """Close connections whose time to send a head, or to take an answer, is over."""
        super().murder_pending()
        while self._lingering and self._lingering[0].timeout <= time.monotonic():
            self._finish_lingering(self._lingering[0])

    def _await_head(self, conn):
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + HEAD_SECONDS
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def _receive_head(self, conn) -> bool:
        """Read what there is; return whether the connection went to a thread or is over."""
        try:
            data = conn.sock.recv(_RECEIVE)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        conn.head += data
        if data and not _HEAD_END.search(conn.head) and len(conn.head) < _LARGEST_HEAD:
            return False
        if conn.head:
            conn.data_ready = True
            self.enqueue_req(conn)
        else:
            self.nr_conns -= 1
            conn.sock.close()
        return True

    def _drop_oldest(self):
        """Make room by closing the connection that has been waiting longest, if any does."""
        for waiting in (self.pending_conns, self.keepalived_conns):
            if waiting:
                conn = waiting.popleft()
                conn.dropped = True  # the poller may have told of it already
                self.poller.unregister(conn.sock)
                self.nr_conns -= 1
                conn.sock.close()
                return

    def _linger(self, conn, client):
        """Throw away what a client still sends, so that it can read its answer (RFC 9112, 9.6)."""
        try:
            if client.recv(_RECEIVE):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._finish_lingering(conn)

    def _finish_lingering(self, conn):
        self._lingering.remove(conn)
        self.poller.unregister(conn.sock)
        conn.sock.close()

    def _cap_keepalive(self, deadline):
        # Called once, when the worker is told to stop. Who comes now is refused, not left waiting
        # in the kernel's queue until all is over; and half a head is no upload in flight.
        for listener in self.sockets:
            listener.close()
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)

    def _keepalive_after(self, conn, keepalive):
        # What is to be drained the application has drained; wait for nothing more.
        deadline = time.monotonic() + 0.1
        return bool(keepalive) and conn.parser.finish_body(deadline=deadline)


class Connection(TConn):
    """A connection with the head that was read for it in advance."""

    def __init__(self, *args):
        super().__init__(*args)
        self.head = b""
        self.dropped = False
        self.lingers = False

    def init(self):
        """Prepare for one request; called in its thread, before it is parsed."""
        super().init()
        self.parser.unreader.unread(self.head)
        self.head = b""
        self.sock.start_pacing()

    def close(self, graceful=False):
        """Close, or only say so to the client, who may still be sending."""
        try:
            if graceful:
                self.sock.setblocking(False)
                self.sock.shutdown(socket.SHUT_WR)
                self.lingers = True
                return
        except OSError:
            pass
        self.sock.close()


class PacedSocket(socket.socket):
    """A socket that gives up, with a TimeoutError, on a peer that sends too slowly."""

    def start_pacing(self):
        """Start to measure a new request."""
        self.settimeout(IDLE_SECONDS)
        self._received, self._since = 0, time.monotonic()

    def recv(self, *args):
        """Receive bytes; raise TimeoutError if they are too few for the time they took."""
        data = super().recv(*args)
        if self.gettimeout():
            self._received += len(data)
            elapsed = time.monotonic() - self._since
            if elapsed > PACE_SECONDS and self._received < elapsed * SLOWEST_PACE:
                raise TimeoutError("the client sends too slowly")
        return data

    def sendall(self, data, *flags):
        """Send bytes; the timeout is for each step, not for all of them as in socket.sendall."""
        left = memoryview(data)
        while left:
            left = left[self.send(left, *flags) :]


class Logger(glogging.Logger):
    """gunicorn's logger, with one line a request: method, path, status, bytes, milliseconds."""

    def warning(self, msg, *args, **kwargs):
        """Log a warning, but of what could not be parsed only what is wrong, not what was sent."""
        # A header without its colon is quoted whole, and may be the one with the token.
        if msg.startswith("Invalid request from"):
            msg = _QUOTED.sub("'...'", msg)
        super().warning(msg, *args, **kwargs)

    def access(self, resp, req, environ, request_time):
        """Log a finished request; the path as it was sent, the query, where secrets hide, not."""
        # A file sent by sendfile(2) is not counted by gunicorn.
        length = resp.response_length if environ.get("REQUEST_METHOD") != "HEAD" else 0
        self.access_log.info(
            "%s %s %s %d %.1f",
            req.method,
            req.path,
            str(resp.status).partition(" ")[0],
            resp.sent or length or 0,
            request_time.total_seconds() * 1000,
        )


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
