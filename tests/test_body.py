"""A request's body: its types, its codings, and the limit on what comes out."""

import gzip
import json
import tracemalloc
import zlib

import pytest
from support import Client, assert_error, backups_in, strays_in

LIMIT = 100_000
MIB = 1024 * 1024
GZIPPED = {"Content_Encoding": "gzip"}
BEACON = {"Content_Type": "application/gzip"}
# How a body of unknown length looks to the application: gunicorn takes the chunks apart.
CHUNKED = {"Transfer_Encoding": "chunked"}


@pytest.fixture
def limited(make_client) -> Client:
    return make_client(MAX_BODY_BYTES=str(LIMIT))


def body_of(size: int) -> bytes:
    return b'{"atoms":["%s"]}' % (b"x" * (size - 14))


def refused(client: Client, body: bytes, status: int, *words: str, **headers: str) -> None:
    """Upload and restore with what must be refused, and check that nothing was stored."""
    before = backups_in(client.data_dir)
    assert_error(client.post("/api/backup", body, **headers), status, *words)
    assert backups_in(client.data_dir) == before
    assert strays_in(client.data_dir) == []


# --- types and codings ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", "text/plain", ""]
)
def test_a_plain_body_may_have_the_types_of_fetch_and_beacon(client, content_type):
    receipt = client.upload({"atoms": [1]}, Content_Type=content_type)
    assert receipt["counts"]["atoms"] == 1
    asked = {"backupId": receipt["id"], "items": ["atoms"]}
    answer = client.post("/api/restore", asked, Content_Type=content_type)
    assert answer.json["data"] == {"atoms": [1]}


@pytest.mark.parametrize(
    "headers",
    [
        GZIPPED,
        {"Content_Encoding": " GZIP "},
        BEACON,
        BEACON | CHUNKED,
    ],
)
def test_a_body_may_be_gzipped(client, sample, headers):
    receipt = client.upload(gzip.compress(sample), **headers)
    data = client.get(f"/api/backup/{receipt['id']}").json["data"]
    assert data.items() <= json.loads(sample).items()
    asked = gzip.compress(b'{"backupId":"%s","items":["atoms"]}' % receipt["id"].encode())
    chosen = client.post("/api/restore", asked, **headers).json
    assert chosen["data"] == {"atoms": data["atoms"]}


@pytest.mark.parametrize(
    "headers",
    [
        *[
            {"Content_Type": name}
            for name in ("application/xml", "multipart/form-data; boundary=x", "application/jsonx")
        ],
        *[
            {"Content_Encoding": name}
            for name in ("br", "deflate", "identity", "gzip,gzip")  # as gunicorn joins two lines
        ],
        GZIPPED | BEACON,
        {"Transfer_Encoding": "gzip, chunked"},
    ],
)
def test_another_type_or_coding_or_two_codings_are_a_415(client, headers):
    word = "Content-Type" if list(headers) == ["Content_Type"] else "gzip"
    for path in ("/api/backup", "/api/restore"):
        twice = gzip.compress(gzip.compress(b"{}"))
        assert_error(client.post(path, twice, **headers), 415, word)
    assert backups_in(client.data_dir) == {}


WHOLE = gzip.compress(b'{"atoms":["whole"]}', mtime=0)


def test_gzip_cut_or_changed_at_any_byte_is_a_400_or_stored_whole(client):
    for length in range(len(WHOLE)):
        refused(client, WHOLE[:length], 400, **GZIPPED)
    for more in (b"more", WHOLE[:12]):
        refused(client, WHOLE + more, 400, **GZIPPED)
    assert client.upload(gzip.compress(b"") + WHOLE, **GZIPPED)["counts"]["atoms"] == 1
    refused(client, b'{"atoms":[]}', 400, "gzip", **GZIPPED)
    for position in range(len(WHOLE)):
        body = bytearray(WHOLE)
        body[position] ^= 0xFF
        answer = client.post("/api/backup", bytes(body), **GZIPPED)
        if answer.status == 201:  # a byte that says when or where it was compressed
            assert client.get(answer.headers["Location"]).json["data"]["atoms"] == ["whole"]
        else:
            assert_error(answer, 400)


def test_a_body_that_breaks_off_is_not_stored_even_if_it_is_valid_so_far(client):
    refused(client, b'{"atoms":[]}', 400, "12 of 100 bytes", Content_Length="100")


# --- size -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, CHUNKED, GZIPPED, GZIPPED | CHUNKED, BEACON])
def test_the_limit_holds_on_what_comes_out_to_the_byte(limited, headers):
    def sent(size: int) -> bytes:
        zipped = headers not in ({}, CHUNKED)
        return gzip.compress(body_of(size), 0) if zipped else body_of(size)

    limited.upload(sent(LIMIT), **headers)
    refused(limited, sent(LIMIT + 1), 413, f"{LIMIT} bytes", "MAX_BODY_BYTES", **headers)


@pytest.mark.parametrize("headers", [{}, CHUNKED, GZIPPED])
@pytest.mark.parametrize("size", [65_536, 65_537, 4_000_000])
def test_a_body_of_any_size_is_stored_whole(client, size, headers):
    body = b'{"snapshots":["%s"]}' % (b"\xc3\xa9" * (size // 2))
    sent = gzip.compress(body, 1) if headers == GZIPPED else body
    receipt = client.upload(sent, **headers)
    stored = client.get(f"/api/backup/{receipt['id']}").json["data"]
    assert stored["snapshots"] == json.loads(body)["snapshots"]


# --- small bodies that become large ones ----------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "limit"), [("/api/backup", "52428800"), ("/api/restore", "52428800")]
)
def test_a_gzip_bomb_is_a_413_and_takes_little_memory(client, path, limit):
    compressor = zlib.compressobj(1, wbits=31)
    bomb = b"".join(compressor.compress(b" " * MIB) for _ in range(60)) + compressor.flush()
    tracemalloc.start()
    try:
        assert_error(client.post(path, bomb, **GZIPPED), 413, limit)
        assert tracemalloc.get_traced_memory()[1] < 20 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(b"") * 50_000,  # members of nothing
        gzip.compress(b"")[:10] + b"\x00\x00\x00\xff\xff" * 200_000,  # blocks of nothing
    ],
    ids=["members", "blocks"],
)
def test_gzip_that_comes_to_nothing_ends_all_the_same(limited, body):
    answer = limited.post("/api/backup", body, **GZIPPED)
    assert answer.status in (400, 413)
    assert_error(answer, answer.status)


# What grows faster than the body would show here.
SIZE = 600_000
DENSE = {
    "numbers": (b'{"atoms":[%s]}' % (b"10000," * (SIZE // 6))[:-1], 201),
    "half surrogates": (b'{"atoms":["%s"]}' % (rb"\ud800" * (SIZE // 6)), 201),
    "blanks": (b'{"atoms":[%s]}' % (b" " * SIZE), 201),
    "many names": (b"{%s}" % b"".join(b'"k%d":0,' % n for n in range(SIZE // 12))[:-1], 400),
    "arrays in arrays": (b'{"atoms":%s}' % (b"[" * (SIZE // 2) + b"]" * (SIZE // 2)), 400),
}


@pytest.mark.parametrize(("body", "status"), DENSE.values(), ids=DENSE)
def test_dense_json_takes_no_memory_of_its_own(client, body, status):
    body = gzip.compress(body, 1)
    tracemalloc.start()
    try:
        answer = client.post("/api/backup", body, **GZIPPED)
        assert tracemalloc.get_traced_memory()[1] < 32 * MIB
    finally:
        tracemalloc.stop()
    assert answer.status == status, answer.body
