"""HTTP written by hand on a socket, for what no well-behaved client library sends."""

import socket
from collections.abc import Iterable
from http.client import HTTPResponse

from conftest import Answer, Server


def connect(server: Server, timeout: float = 30) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=timeout)


def head(request_line: str, *lines: str) -> bytes:
    """Return a request's head; a Host is added unless one is among the lines."""
    if not any(line.lower().startswith("host:") for line in lines):
        lines = ("Host: localhost", *lines)
    return "\r\n".join([f"{request_line} HTTP/1.1", *lines, "", ""]).encode("latin-1")


def receive(connection: socket.socket, method: str = "GET") -> Answer:
    """Read one answer; raise ConnectionError if the connection ends without one."""
    response = HTTPResponse(connection, method=method)
    try:
        response.begin()
        return Answer(response.status, response.headers, response.read())
    finally:
        response.close()


def exchange(server: Server, *parts: bytes, method: str = "GET") -> Answer:
    """Send bytes on a connection of their own and read the answer; that to HEAD has no body."""
    with connect(server) as connection:
        for part in parts:
            connection.sendall(part)
        return receive(connection, method)


def chunked(parts: Iterable[bytes], trailer: bytes = b"") -> bytes:
    """Return a body in chunked coding (RFC 9112, section 7.1)."""
    coded = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return coded + b"0\r\n" + trailer + b"\r\n"
