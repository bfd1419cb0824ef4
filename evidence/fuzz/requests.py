"""Half-valid requests on raw sockets: mutated heads, bodies, chunks and pipelines.

Of every one must hold: each answer is whole and no fault of the server's own, or the connection
ends; what is stored is what was answered with a 201; the server is well afterwards. All answers are
in JSON but those of gunicorn's parser, after which the connection ends.
"""

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from raw import talk
from support import Answer, Server, strays_in

CLIENTS = 4
CORPUS = Path(__file__).parent / "corpus" / "http"
#: Beyond 499 a request may get only these: what HTTP has and the server has not.
EXPECTED = {*range(200, 500), 501, 503, 505}
PIECES = [
    piece.encode("latin-1").decode("unicode_escape").encode("latin-1")
    for piece in r"""
\r\n|\r\n\r\n|\n|\r| |\t|\0|:|;|,|"|%00|%2e|0\r\n\r\n|5\r\nhello\r\n|ffffffffffffffff\r\n|-1\r\n
1;x=y\r\na\r\n|Content-Length: 5\r\n|Content-Length: 0\r\n|Content-Length: -1\r\n|TE: trailers\r\n
Transfer-Encoding: chunked\r\n|Transfer-Encoding: gzip, chunked\r\n|Content-Encoding: gzip\r\n
Transfer-Encoding: identity\r\n|Expect: 100-continue\r\n|Connection: close\r\n|Host: localhost\r\n
Connection: keep-alive\r\n|Connection: upgrade\r\nUpgrade: websocket\r\n|Host: a b\r\n
Origin: null\r\n|Range: bytes=0-1\r\n|If-None-Match: *\r\n|Cookie: a=b\r\n|GET |POST |PUT |DELETE
OPTIONS |CONNECT |PRI * HTTP/2.0\r\n\r\n| HTTP/1.0| HTTP/1.1| HTTP/0.9| HTTP/9.9|http://localhost
//|/../|?key=0123456789abcdef|?base=|?limit=|99999999999999999999|\xff\xfe
""".strip()
    .replace("\n", "|")
    .split("|")
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
        if answer.headers.get("Content-Type") == "text/html":  # gunicorn's own
            assert answer is answers[-1], answers
            assert answer.headers["Connection"] == "close", answer
        elif not answer.body:
            assert answer.status in (200, 204, 304), answer
        else:
            assert answer.headers["Content-Type"] == "application/json", answer
            if answer.status >= 400:
                assert list(answer.json) == ["error"], answer
                assert answer.json["error"].endswith("."), answer
    return answers


class Fuzzing:
    """Clients that send one mutated request after the other, until one of them finds something."""

    def __init__(self, server: Server, seconds: float):
        self.server, self.deadline = server, time.monotonic() + seconds
        self.statuses, self.stored, self.failures = Counter(), set(), []
        self._seeds = [path.read_bytes() for path in sorted(CORPUS.iterdir())]

    def run(self) -> list[str]:
        """Return what was found; the requests are in the corpus then."""
        seed = random.SystemRandom().getrandbits(32)
        clients = [
            threading.Thread(target=self._send, args=(random.Random(seed + number),))
            for number in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        return self.failures + state_of(self.server, self.stored)

    def _send(self, chance: random.Random) -> None:
        while time.monotonic() < self.deadline and not self.failures:
            text = mutate(chance, self._seeds)
            try:
                answers = check(self.server, text)
            except Exception as error:
                path = CORPUS / f"found-{hash(text) & 0xFFFFFFFF:08x}"
                path.write_bytes(text)
                self.failures.append(f"{path}: {error!r}")
                return
            self.stored |= {answer.json["id"] for answer in answers if answer.status == 201}
            self.statuses.update(answer.status for answer in answers)


def state_of(server: Server, stored: set[str]) -> list[str]:
    """Return what is wrong with a server that has answered 201 for these ids."""
    wrong = []
    if server.get("/api/health").status != 200:
        wrong.append("the server is not well afterwards")
    if set(server.listed()) != stored:
        wrong.append(f"stored is {set(server.listed()) ^ stored} more or less than was answered")
    verify = [sys.executable, "-m", "backup_server", "verify"]
    if subprocess.run(verify, env=server.environ, capture_output=True).returncode:
        wrong.append("what is stored is damaged")
    if strays := strays_in(server.data_dir):
        wrong.append(f"left behind: {strays}")
    if "Traceback" in server.log:
        wrong.append(server.log[server.log.index("Traceback") :][:4000])
    return wrong
