"""How long the server waits for a client, and how the connection of a slow client ends.

gunicorn's threads wait for a body, and for room to send an answer, without a limit. The kernel's
limits (SO_RCVTIMEO and SO_SNDTIMEO, socket(7)) end each of these waits; a timeout of Python's would
replace them. gunicorn closes a connection in the loop that serves all others, and lingers there for
up to 2 s for what the client may still send, but not if it was shut down for reading.
"""

import logging
import socket
import struct
import sys
import time
from contextlib import suppress

from flask import Flask, Request, Response, request
from gunicorn.http.errors import ParseException

#: The longest waits for a client to send any byte, and to make room for any, in seconds. sendall
#: may wait twice, the first time after it has sent a part.
RECEIVE_SECONDS, SEND_SECONDS = 20, 12
#: For how many seconds the rest of a refused body is read, so that its sender gets to the answer.
DRAIN_SECONDS = 300

_CHUNK = 256 * 1024
# The kernel would keep megabytes of what a client does not take, and tell of room only when a third
# of them is taken: at 15 KB/s after minutes.
_UNSENT_BYTES = 128 * 1024


def limit_waits(connection: socket.socket) -> None:
    """Let the kernel end each wait for this client; what a TCP listener accepts inherits it."""
    for option, seconds in (
        (socket.SO_RCVTIMEO, RECEIVE_SECONDS),
        (socket.SO_SNDTIMEO, SEND_SECONDS),
    ):
        limit = struct.pack("@ll", seconds, 0)  # a struct timeval
        connection.setsockopt(socket.SOL_SOCKET, option, limit)
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)


def register(app: Flask) -> None:
    """Limit the waits of every request to the application, under any gunicorn configuration."""
    # Only gunicorn sees that a head stopped, or that an answer was not taken. It logs a traceback.
    logging.getLogger("gunicorn.error").addFilter(_is_no_timeout)

    @app.before_request
    def limit() -> None:
        if connection := request.environ.get("gunicorn.socket"):
            limit_waits(connection)

    @app.after_request
    def finish_when_sent(response: Response) -> Response:
        finished = request._get_current_object()
        response.call_on_close(lambda: _finish(finished, response.status_code))
        return response


def _finish(request: Request, status: int) -> None:
    """Read the rest of a body that was refused; end a connection that will serve no more requests.

    A connection that is closed with bytes unread is reset, and the client, still sending, would
    never see the answer (RFC 9112, section 9.6).
    """
    is_broken = status == 408 or isinstance(sys.exception(), OSError)
    deadline = time.monotonic() + DRAIN_SECONDS
    try:
        while not is_broken and request.stream.read(_CHUNK):
            is_broken = time.monotonic() > deadline
    except (OSError, ParseException):
        is_broken = True
    connection = request.environ.get("gunicorn.socket")
    if connection and (is_broken or _is_last(request)):
        with suppress(OSError):  # the client has gone
            connection.shutdown(socket.SHUT_RD)


def _is_last(request: Request) -> bool:
    """Tell whether gunicorn closes the connection after this request: it was asked to, or must."""
    wish = request.headers.get("Connection", "").lower()
    is_old = request.environ.get("SERVER_PROTOCOL") == "HTTP/1.0" and wish != "keep-alive"
    return is_old or "close" in wish or getattr(request.stream, "failed", False)


def _is_no_timeout(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], BlockingIOError))
