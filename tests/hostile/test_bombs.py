"""Small bodies that become large ones: in bytes, in memory or in time."""

import gzip
import json
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pytest
from load.mixed import anonymous_mib
from support import Server, assert_error, backups_in

MIB = 1024 * 1024
GZIPPED = {"Content_Encoding": "gzip"}
BEACON = {"Content_Type": "application/gzip"}


@cache
def gzip_of_blanks(mebibytes: int) -> bytes:
    """Compress so many MiB of white space; a thousandth of them is left."""
    compressor = zlib.compressobj(wbits=31)
    piece = b" " * MIB
    return b"".join(compressor.compress(piece) for _ in range(mebibytes)) + compressor.flush()


@contextmanager
def bounded(server: Server, mebibytes: float, seconds: float) -> Iterator[None]:
    """Check what the block costs the server at the most, and that health answers meanwhile."""
    peaks, waits, over = [], [], threading.Event()

    def watch() -> None:
        while not over.is_set():
            peaks.append(anonymous_mib(server))
            asked = time.monotonic()
            assert server.get("/api/health").status == 200
            waits.append(time.monotonic() - asked)
            time.sleep(0.02)

    before, started = anonymous_mib(server), time.monotonic()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        elapsed = time.monotonic() - started
        over.set()
        watcher.join()
    assert elapsed < seconds
    assert max(peaks) - before < mebibytes
    assert waits
    assert max(waits) < 2


@pytest.mark.parametrize("headers", [GZIPPED, BEACON], ids=["coding", "beacon"])
def test_a_gzip_bomb_is_a_413_as_soon_as_the_limit_is_passed(server, headers):
    bomb = gzip_of_blanks(500)
    kept = backups_in(server.data_dir)
    with bounded(server, 40, 20):
        for _ in range(2):
            assert_error(server.post("/api/backup", bomb, **headers), 413, "52428800")
    assert backups_in(server.data_dir) == kept


def test_a_gzip_bomb_to_a_restore_is_a_413_too(server):
    with bounded(server, 40, 10):
        assert_error(server.post("/api/restore", gzip_of_blanks(500), **GZIPPED), 413, "65536")


def test_bombs_at_once_do_not_add_up(server):
    bomb = gzip_of_blanks(500)
    answers = []

    def send() -> None:
        answers.append(server.post("/api/backup", bomb, **GZIPPED).status)

    with bounded(server, 100, 30):
        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [413] * 8


def test_gzip_that_comes_to_nothing_ends_all_the_same(server):
    """Members of no bytes each: compressed without end, decompressed nothing."""
    empty = gzip.compress(b"")
    body = empty * (8 * MIB // len(empty))
    with bounded(server, 40, 30):
        answer = server.post("/api/backup", body, **GZIPPED)
    assert answer.status in (400, 413)
    assert list(answer.json) == ["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content_Encoding": "gzip, gzip"}, 415),
        ({"Content_Encoding": "gzip,identity"}, 415),
        ({"Content_Encoding": "deflate"}, 415),
        ({"Content_Encoding": "br"}, 415),
        ({"Content_Encoding": "x-gzip"}, 415),
        (GZIPPED | BEACON, 415),
        (GZIPPED, 400),
        (BEACON, 400),
    ],
)
def test_what_is_compressed_twice_is_refused(server, headers, status):
    twice = gzip.compress(gzip.compress(b'{"atoms":[]}'))
    assert_error(server.post("/api/backup", twice, **headers), status)
    assert_error(server.post("/api/restore", twice, **headers), status)


def test_two_content_encodings_are_refused(server):
    connection = server.connect()
    connection.putrequest("POST", "/api/backup")
    body = gzip.compress(b"{}")
    for name, value in [("Content-Encoding", "gzip")] * 2 + [("Content-Length", len(body))]:
        connection.putheader(name, value)
    connection.endheaders(body)
    response = connection.getresponse()
    assert response.status == 415
    assert list(json.load(response)) == ["error"]
    connection.close()


WHOLE = gzip.compress(b'{"atoms":["whole"]}', mtime=0)


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_gzip_cut_at_any_byte_is_a_400_and_not_stored(server, length):
    assert_error(server.post("/api/backup", WHOLE[:length], **GZIPPED), 400)
    assert not any(b"whole" in text for text in backups_in(server.data_dir).values())


def test_gzip_with_any_byte_changed_is_stored_whole_or_not_at_all(server):
    for position in range(len(WHOLE)):
        body = bytearray(WHOLE)
        body[position] ^= 0xFF
        answer = server.post("/api/backup", bytes(body), **GZIPPED)
        if answer.status == 201:  # a byte that says when or where it was compressed
            assert server.get(answer.headers["Location"]).json["data"]["atoms"] == ["whole"]
            server.request("DELETE", answer.headers["Location"])
        else:
            assert_error(answer, 400)


# Of 6 MB: what grows faster than the body would show here.
SIZE = 6_000_000
DENSE = {
    "numbers": (b'{"atoms":[%s]}' % (b"0," * (SIZE // 2))[:-1], 201),
    "empty arrays": (b'{"atoms":[%s]}' % (b"[]," * (SIZE // 3))[:-1], 201),
    "empty strings": (b'{"atoms":[%s]}' % (b'"",' * (SIZE // 3))[:-1], 201),
    "empty objects": (b'{"atoms":[%s]}' % (b"{}," * (SIZE // 3))[:-1], 201),
    "half surrogates": (b'{"atoms":["%s"]}' % (rb"\ud800" * (SIZE // 6)), 201),
    "half surrogates and numbers": (rb'{"atoms":["\ud800"%s]}' % (b",0" * (SIZE // 2)), 201),
    "one number": (b'{"atoms":[%s]}' % (b"1" * SIZE), 201),
    "blanks": (b'{"atoms":[%s]}' % (b" " * SIZE), 201),
    "backslashes": (b'{"atoms":["%s"]}' % (rb"\\" * (SIZE // 2)), 201),
    "one name": (b'{"%s":0}' % (rb"\u0061" * (SIZE // 6)), 400),
    "arrays in arrays": (b'{"atoms":%s}' % (b"[" * (SIZE // 2) + b"]" * (SIZE // 2)), 400),
    "objects in objects": (b'{"atoms":[%s]}' % (b'{"":' * (SIZE // 4)), 400),
    "brackets without an end": (b"[" * SIZE, 400),
}


@pytest.mark.parametrize("case", DENSE.values(), ids=DENSE)
def test_dense_json_takes_no_memory_of_its_own_and_health_answers_meanwhile(server, case):
    body, status = case
    with bounded(server, 64, 25):
        answer = server.post("/api/backup", gzip.compress(body, 1), **GZIPPED)
        assert answer.status == status, answer.body
    if status == 201:
        assert server.request("DELETE", answer.headers["Location"]).status == 200


@pytest.mark.parametrize("name", [b'"k%d":0,', b'"k":0,'], ids=["many names", "one name"])
def test_a_million_members_are_refused_in_no_memory(server, name):
    if b"%d" in name:
        members = b"".join(name % number for number in range(1_000_000))
    else:
        members = name * 1_000_000
    with bounded(server, 64, 10):
        answer = server.post("/api/backup", b"{%s}" % members[:-1])
    assert_error(answer, 400, "members")
