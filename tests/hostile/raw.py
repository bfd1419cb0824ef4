"""Bytes on a socket, and the answers that come back."""

import socket

from conftest import Answer

ANSWER_SECONDS = 10
QUIET_SECONDS = 0.25


def talk(port: int, data: bytes, half_close: bool = False) -> list[Answer]:
    """Send bytes and return all answers: up to the connection's end, or until no more come.

    With ``half_close`` the server sees that the client will send no more. A connection on which
    nothing happens at all is an AssertionError; one that is reset ends like any other.
    """
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as sock:
        try:
            sock.sendall(data)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all of it was sent
        try:
            while more := sock.recv(65536):
                received += more
                sock.settimeout(QUIET_SECONDS)
        except ConnectionResetError:
            pass
        except TimeoutError:
            assert received, "neither answered nor closed"
    return parse(received)


def parse(received: bytes) -> list[Answer]:
    """Split what was received into answers; AssertionError if it is not made of whole ones."""
    answers = []
    while received:
        head, end, received = received.partition(b"\r\n\r\n")
        assert end, f"not a whole head: {head!r}"
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status = first.split(" ")[:2]
        assert version == "HTTP/1.1", first
        headers = {line.partition(":")[0].title(): line.partition(":")[2].strip() for line in lines}
        if status.startswith("1"):
            continue
        length = int(headers.get("Content-Length", 0)) if status not in ("204", "304") else 0
        assert len(received) >= length, f"{first}: {len(received)} of {length} bytes"
        answers.append(Answer(int(status), headers, received[:length]))
        received = received[length:]
    return answers
