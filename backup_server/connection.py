"""How long a client is waited for, and how the connection of one that is too slow ends.

gunicorn's threads wait for a body, and for room to send an answer, without a limit. The kernel's
limits (SO_RCVTIMEO and SO_SNDTIMEO, socket(7)) end each of these waits; a timeout of Python's would
replace them. gunicorn closes a connection in the loop that serves all others, and lingers there for
up to 2 s for what the client may still send; not so on one that is shut down for reading.
"""

import logging
import socket
import struct
import sys
import time
from contextlib import suppress

from flask import Flask, Request, Response, request
from gunicorn.http.errors import ParseException

#: The longest wait for a client to send, or to make room for, any byte, in seconds.
WAIT_SECONDS = 20
#: For how many seconds the rest of a refused body is read, so that its sender gets to the answer.
DRAIN_SECONDS = 300

_CHUNK = 256 * 1024


def limit_waits(connection: socket.socket) -> None:
    """Let the kernel end each wait for this client; what a TCP listener accepts inherits it."""
    limit = struct.pack("@ll", WAIT_SECONDS, 0)  # a struct timeval
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


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
    """Read the rest of a body that was refused; end a connection that timed out.

    A connection that is closed with bytes unread is reset, and the client, still sending, would
    never see the answer (RFC 9112, section 9.6).
    """
    timed_out = status == 408 or isinstance(sys.exception(), OSError)
    deadline = time.monotonic() + DRAIN_SECONDS
    try:
        while not timed_out and request.stream.read(_CHUNK):
            timed_out = time.monotonic() > deadline
    except (OSError, ParseException):
        timed_out = True
    connection = request.environ.get("gunicorn.socket")
    if timed_out and connection:
        with suppress(OSError):  # the client has gone
            connection.shutdown(socket.SHUT_RD)


def _is_no_timeout(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], BlockingIOError))
