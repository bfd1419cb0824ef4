"""A request's body: its types, its codings, and the limit on what comes out."""

import gzip
import json
import tracemalloc

import pytest
from support import Client, assert_error, backups_in

from backup_server import connection, create_app
from backup_server.settings import Settings

LIMIT = 100_000
MIB = 1024 * 1024
GZIPPED = {"Content_Encoding": "gzip"}
BEACON = {"Content_Type": "application/gzip"}
# How a body of unknown length looks to the application: gunicorn takes the chunks apart.
CHUNKED = {"Transfer_Encoding": "chunked"}


@pytest.fixture
def limited(make_client) -> Client:
    return make_client(MAX_BODY_BYTES=str(LIMIT))


def refused(client: Client, body: bytes, status: int, *words: str, **headers: str) -> None:
    """Upload and restore with what must be refused, and check that nothing was stored."""
    before = backups_in(client.data_dir)
    for path in ("/api/backup", "/api/restore"):
        assert_error(client.post(path, body, **headers), status, *words)
    assert backups_in(client.data_dir) == before


# --- types and codings ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        *({"Content_Type": name} for name in ("Application/JSON; charset=utf-8", "text/plain", "")),
        *(GZIPPED, {"Content_Encoding": " GZIP "}, BEACON, BEACON | CHUNKED, CHUNKED),
    ],
)
def test_a_body_may_have_the_types_and_codings_of_fetch_and_beacon(client, sample, headers):
    def sent(body: bytes) -> bytes:
        return gzip.compress(body) if "gzip" in str(headers).lower() else body

    backup_id = client.upload(sent(sample), **headers)["id"]
    assert client.get(f"/api/backup/{backup_id}").json["data"].items() <= json.loads(sample).items()
    asked = b'{"backupId":"%s","items":["atoms"]}' % backup_id.encode()
    chosen = client.post("/api/restore", sent(asked), **headers).json
    assert chosen["data"] == {"atoms": json.loads(sample)["atoms"]}


@pytest.mark.parametrize(
    "headers",
    [
        *({"Content_Type": name} for name in ("multipart/form-data; boundary=x", "text/html")),
        # As gunicorn joins two lines.
        *({"Content_Encoding": name} for name in ("br", "deflate", "identity", "gzip,gzip")),
        GZIPPED | BEACON,
        {"Transfer_Encoding": "gzip, chunked"},
    ],
)
def test_another_type_or_coding_or_two_codings_are_a_415(client, headers):
    word = "Content-Type" if list(headers) == ["Content_Type"] else "gzip"
    refused(client, gzip.compress(gzip.compress(b"{}")), 415, word, **headers)


def test_gzip_cut_at_any_byte_or_with_more_behind_it_is_a_400(client):
    whole = gzip.compress(b'{"atoms":["whole"]}', mtime=0)
    for length in range(len(whole)):
        refused(client, whole[:length], 400, **GZIPPED)
    changed = whole[:15] + bytes([whole[15] ^ 1]) + whole[16:]
    for body in (whole + b"more", whole + whole[:12], changed, b'{"atoms":[]}'):
        refused(client, body, 400, "gzip", **GZIPPED)
    assert client.upload(gzip.compress(b"") + whole, **GZIPPED)["counts"]["atoms"] == 1


def test_a_body_that_breaks_off_is_not_stored_even_if_it_is_valid_so_far(client):
    refused(client, b'{"atoms":[]}', 400, "12 of 100 bytes", Content_Length="100")


# --- size -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, CHUNKED, GZIPPED, GZIPPED | CHUNKED, BEACON])
def test_the_limit_holds_on_what_comes_out_to_the_byte(limited, headers):
    def sent(size: int) -> bytes:
        body = b'{"atoms":["%s"]}' % (b"x" * (size - 14))
        return body if headers in ({}, CHUNKED) else gzip.compress(body, 0)

    stored = limited.upload(sent(LIMIT), **headers)["id"]
    (text,) = limited.get(f"/api/backup/{stored}").json["data"]["atoms"]
    assert text == "x" * (LIMIT - 14)
    refused(limited, sent(LIMIT + 1), 413, f"{LIMIT} bytes", "MAX_BODY_BYTES", **headers)


# --- small bodies that become large ones ----------------------------------------------------------

SIZE = 600_000


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (gzip.compress(b'{"atoms":["%s"]}' % (rb"\ud800" * (SIZE // 6))), 201),
        (gzip.compress(b"{%s}" % b"".join(b'"k%d":0,' % n for n in range(SIZE // 12))[:-1]), 400),
        (gzip.compress(b'{"atoms":%s}' % (b"[" * (SIZE // 2) + b"]" * (SIZE // 2))), 400),
        (gzip.compress(b" " * 60 * MIB, 1), 413),
    ],
    ids=["half surrogates", "many names", "arrays in arrays", "60 MB of blanks"],
)
def test_a_dense_body_takes_no_memory_of_its_own(client, body, status):
    tracemalloc.start()
    try:
        answer = client.post("/api/backup", body, **GZIPPED)
        assert tracemalloc.get_traced_memory()[1] < 32 * MIB
    finally:
        tracemalloc.stop()
    assert answer.status == status, answer.body


def test_gzip_that_comes_to_nothing_ends_all_the_same(limited):
    empty = gzip.compress(b"")
    blocks = empty[:10] + b"\x00\x00\x00\xff\xff" * 200_000
    for body in (empty * 50_000, blocks):
        refused(limited, body, 413, **GZIPPED)


def test_a_refused_body_without_an_end_is_not_read_for_ever(tmp_path, monkeypatch):
    class Endless:
        reads = 0

        def read(self, size: int) -> bytes:
            self.reads += 1
            assert self.reads < 10
            return bytes(size)

    body = Endless()
    monkeypatch.setattr(connection, "DRAIN_SECONDS", -1)
    client = create_app(Settings(data_dir=tmp_path)).test_client()
    environ = {"wsgi.input": body, "wsgi.input_terminated": True}
    with client.post("/api/backup", content_type="text/html", environ_overrides=environ) as answer:
        assert answer.status_code == 415
    assert body.reads == 1
