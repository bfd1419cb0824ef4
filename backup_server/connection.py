"""How long the server waits for a client, and how the connection of a slow client ends.

gunicorn's threads wait for clients without a limit. The kernel's limits (SO_RCVTIMEO, SO_SNDTIMEO,
socket(7)) end each wait; a timeout of Python's would replace them. gunicorn closes a connection in
the loop that serves all others, and lingers there up to 2 s, unless it was shut down for reading.
"""

import logging
import socket
import struct
import sys
import time
from contextlib import suppress
from functools import partial

from flask import Flask, Request, Response, request
from gunicorn.http.errors import ParseException

#: The longest waits for a client to send a byte, and to read some; sendall may wait twice.
RECEIVE_SECONDS, SEND_SECONDS = 20, 12
#: For how many seconds the rest of a refused body is read.
DRAIN_SECONDS = 300
# By default the kernel buffers megabytes, and reports room after a third: minutes at 15 KB/s.
_UNSENT_BYTES = 128 * 1024


def limit_waits(connection: socket.socket) -> None:
    """Let the kernel end each wait for this client; what a TCP listener accepts inherits it."""
    limits = {socket.SO_RCVTIMEO: RECEIVE_SECONDS, socket.SO_SNDTIMEO: SEND_SECONDS}
    for option, seconds in limits.items():
        connection.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", seconds, 0))
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)


def register(app: Flask) -> None:
    """Limit the waits of every request to the application, under any gunicorn configuration."""
    # Only gunicorn sees that a head stopped, or that an answer was not taken. It logs a traceback.
    logging.getLogger("gunicorn.error").addFilter(
        lambda record: not (record.exc_info and isinstance(record.exc_info[1], BlockingIOError))
    )

    @app.before_request
    def limit() -> None:
        connection = request.environ.get("gunicorn.socket")
        if connection and not connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO):
            limit_waits(connection)

    @app.after_request
    def finish_when_sent(response: Response) -> Response:
        current = request._get_current_object()
        response.call_on_close(partial(_finish, current, response.status_code))
        return response


def _finish(request: Request, status: int) -> None:
    """Read the rest of a body that was refused; end a connection that will serve no more requests.

    A connection that is closed with bytes unread is reset, and the client, still sending, would
    never see the answer (RFC 9112, section 9.6).
    """
    is_broken = status == 408 or isinstance(sys.exception(), OSError)
    deadline = time.monotonic() + DRAIN_SECONDS
    try:
        while not is_broken and request.stream.read(256 * 1024):
            is_broken = time.monotonic() > deadline
    except (OSError, ParseException):
        is_broken = True
    connection = request.environ.get("gunicorn.socket")
    if connection and (is_broken or request.headers.get("Connection", "").lower() == "close"):
        with suppress(OSError):  # the client has gone
            connection.shutdown(socket.SHUT_RD)
