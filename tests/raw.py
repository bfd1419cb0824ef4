"""HTTP written by hand on a socket, for what no well-behaved client library sends."""

import socket
from collections.abc import Iterable
from http.client import HTTPResponse

from support import Answer, Remote


def connect(
    server: Remote, sent: bytes = b"", timeout: float = 30, receive_buffer: int | None = None
) -> socket.socket:
    """Return a connection that has sent so much; a small buffer soon stops the other side."""
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(timeout)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(sent)
    return connection


def head(request_line: str, *lines: str) -> bytes:
    """Return a request's head; a Host is added unless one is among the lines."""
    if not any(line.lower().startswith("host:") for line in lines):
        lines = ("Host: localhost", *lines)
    return "\r\n".join([f"{request_line} HTTP/1.1", *lines, "", ""]).encode("latin-1")


def receive(connection: socket.socket, method: str = "GET") -> Answer:
    """Read one answer; raise ConnectionError if the connection ends without one."""
    with HTTPResponse(connection, method=method) as response:
        response.begin()
        return Answer(response.status, response.headers, response.read())


def exchange(server: Remote, *parts: bytes, method: str = "GET") -> Answer:
    """Send bytes on a connection of their own and read the answer; that to HEAD has no body."""
    with connect(server) as connection:
        for part in parts:
            connection.sendall(part)
        return receive(connection, method)


def chunked(parts: Iterable[bytes]) -> bytes:
    """Return a body in chunked coding (RFC 9112, section 7.1)."""
    coded = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return coded + b"0\r\n\r\n"
