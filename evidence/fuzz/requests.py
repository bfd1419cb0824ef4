"""Half-valid requests on raw sockets: mutated heads, bodies, chunks and pipelines.

Of every one must hold: each answer is whole, JSON and no fault of the server's own, or the
connection ends; what is stored is what was answered with a 201; the server is well afterwards.
"""

import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from raw import talk
from support import Answer, Server, strays_in

CLIENTS = 4
CORPUS = Path(__file__).parent / "corpus" / "http"
#: More than they are asked for they may say only of the server's state, never of a request.
EXPECTED = {*range(200, 500), 501, 503, 505}
PIECES = [
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b"\0",
        b":",
        b";",
        b",",
        b'"',
        b"%00",
        b"%2e",
    ),
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: -1\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n"),
    *(b"Transfer-Encoding: identity\r\n", b"Content-Encoding: gzip\r\n", b"TE: trailers\r\n"),
    *(b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n"),
    *(b"Connection: upgrade\r\nUpgrade: websocket\r\n", b"Host: localhost\r\n", b"Host: a b\r\n"),
    *(b"Origin: null\r\n", b"Range: bytes=0-1\r\n", b"If-None-Match: *\r\n", b"Cookie: a=b\r\n"),
    *(b"0\r\n\r\n", b"5\r\nhello\r\n", b"ffffffffffffffff\r\n", b"-1\r\n", b"1;x=y\r\na\r\n"),
    *(b"GET ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"CONNECT ", b"PRI * HTTP/2.0\r\n\r\n"),
    *(b" HTTP/1.0", b" HTTP/1.1", b" HTTP/0.9", b" HTTP/9.9", b"http://localhost", b"//", b"/../"),
    *(b"?key=0123456789abcdef", b"?base=", b"?limit=", b"99999999999999999999", b"\xff\xfe"),
]


def mutate(chance: random.Random, seeds: list[bytes]) -> bytes:
    """Return one or two of the requests with a few things changed."""
    text = chance.choice(seeds) + chance.choice([b"", b"", chance.choice(seeds)])
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(text))
        until = min(len(text), at + chance.choice([1, 1, 4, 20, 100]))
        text = chance.choice(
            [
                text[:at] + chance.choice(PIECES) + text[at:],
                text[:at] + chance.choice(PIECES) + text[until:],
                text[:at] + text[until:],
                text[:until] + text[at:],
                text[:at],
                text[:at] + bytes([chance.randrange(256)]) + text[at + 1 :],
                text[:at] + chance.choice(seeds) + text[at:],
                text.replace(b"\r\n", b"\n", chance.randint(1, 9)),
            ]
        )
    return text


def check(server: Server, text: bytes) -> list[Answer]:
    """Send bytes and no more after them; check all answers and return them."""
    answers = talk(server.port, text, half_close=True)
    for answer in answers:
        assert answer.status in EXPECTED, answer
        if not answer.body:
            assert answer.status in (200, 204, 304), answer
            continue
        assert answer.headers["Content-Type"] == "application/json", answer
        if answer.status == 206:
            continue
        said = answer.json
        if answer.status >= 400:
            assert list(said) == ["error"], answer
            assert said["error"].endswith("."), answer
    return answers


def stored_by(answers: list[Answer]) -> set[str]:
    return {answer.json["id"] for answer in answers if answer.status == 201}


class Client(threading.Thread):
    """Sends one mutated request after the other until the time is over or one has failed."""

    def __init__(self, server: Server, deadline: float, seed: int):
        super().__init__()
        self.server, self.deadline, self.chance = server, deadline, random.Random(seed)
        self.seeds = [path.read_bytes() for path in sorted(CORPUS.iterdir())]
        self.statuses, self.stored = Counter(), set()
        self.failure: tuple[bytes, Exception] | None = None

    def run(self) -> None:
        while time.monotonic() < self.deadline and not self.failure:
            text = mutate(self.chance, self.seeds)
            try:
                answers = check(self.server, text)
            except Exception as error:
                self.failure = text, error
                return
            self.stored |= stored_by(answers)
            self.statuses.update(answer.status for answer in answers)


def fuzz(seconds: float) -> int:
    """Fuzz a server for so long; return 1 if something was found, which is then in the corpus."""
    seed, deadline = random.SystemRandom().getrandbits(32), time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as directory:
        server = Server(Path(directory) / "data").start()
        clients = [Client(server, deadline, seed + number) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        statuses = sum((client.statuses for client in clients), Counter())
        print(f"http: seed {seed}, answers by status: {dict(sorted(statuses.items()))}")
        failures = [client.failure for client in clients if client.failure]
        for text, error in failures:
            path = CORPUS / f"found-{hash(text) & 0xFFFFFFFF:08x}"
            path.write_bytes(text)
            print(f"http: {path}: {error!r}", file=sys.stderr)
        wrong = state_of(server, set().union(*(client.stored for client in clients)))
        for sentence in wrong:
            print(f"http: {sentence}", file=sys.stderr)
        server.stop()
    return bool(failures or wrong)


def state_of(server: Server, stored: set[str]) -> list[str]:
    """Return what is wrong with a server that has answered 201 for these ids."""
    wrong = []
    if server.get("/api/health").status != 200:
        wrong.append("the server is not well afterwards")
    if set(server.listed()) != stored:
        wrong.append(f"stored is {set(server.listed()) ^ stored} more or less than was answered")
    verify = [sys.executable, "-m", "backup_server", "verify"]
    environ = {**os.environ, "DATA_DIR": str(server.data_dir)}
    if subprocess.run(verify, env=environ, capture_output=True).returncode:
        wrong.append("what is stored is damaged")
    if strays := strays_in(server.data_dir):
        wrong.append(f"left behind: {strays}")
    if "Traceback" in server.log:
        wrong.append(server.log[server.log.index("Traceback") :][:4000])
    return wrong
