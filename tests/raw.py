"""HTTP written by hand on a socket, for what no well-behaved client library sends."""

import socket
from collections.abc import Iterable
from contextlib import suppress
from email import message_from_bytes
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


def talk(port: int, data: bytes) -> list[Answer]:
    """Send bytes and no more, and return all answers; a reset ends a connection like any other."""
    received = b""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
        suppress(BrokenPipeError, ConnectionResetError),
    ):
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before all of it was sent
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        while more := connection.recv(65536):
            received += more
    return parse(received)


def parse(received: bytes) -> list[Answer]:
    """Split what was received into answers; AssertionError if it is not made of whole ones."""
    answers = []
    while received:
        text, end, received = received.partition(b"\r\n\r\n")
        assert end, f"not a whole head: {text!r}"
        first, _, lines = text.partition(b"\r\n")
        version, status = first.split()[:2]
        assert version in (b"HTTP/1.0", b"HTTP/1.1"), first
        if status == b"100":
            continue
        headers = message_from_bytes(lines)
        length = 0 if status in (b"204", b"304") else int(headers.get("Content-Length", 0))
        assert len(received) >= length, f"{first}: {len(received)} of {length} bytes"
        answers.append(Answer(int(status), headers, received[:length]))
        received = received[length:]
    return answers
