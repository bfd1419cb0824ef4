"""POST /api/backup: what is accepted, what is kept of it, and what is refused."""

import gzip
import json
import os
import re
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
import raw
from support import CATEGORIES, Server, assert_error, backups_in, strays_in

from backup_server.ids import file_name

LIMIT = 100_000


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    """A server that takes bodies of up to LIMIT bytes."""
    server = Server(tmp_path_factory.mktemp("limited") / "data", MAX_BODY_BYTES=str(LIMIT)).start()
    yield server
    server.stop()
    assert strays_in(server.data_dir) == []


def stored(server: Server, backup_id: str) -> bytes:
    return (server.data_dir / file_name(backup_id)).read_bytes()


def data_of(text: bytes) -> bytes:
    """Return the value of data in a stored document, which is its second line."""
    return text.partition(b'\n"data":')[2].removesuffix(b"}\n")


def refused(server: Server, body, status: int, *words: str, query: str = "", **headers) -> None:
    """Upload what must be refused, and check that nothing was stored."""
    before = backups_in(server.data_dir)
    assert_error(server.post(f"/api/backup{query}", body, **headers), status, *words)
    assert backups_in(server.data_dir) == before
    assert strays_in(server.data_dir) == []


def body_of(size: int) -> bytes:
    return b'{"atoms":["%s"]}' % (b"x" * (size - 14))


# --- the receipt and the document -----------------------------------------------------------------


def test_the_answer_is_a_receipt_and_a_location(server, sample):
    answer = server.post("/api/backup", sample)
    assert answer.status == 201
    assert list(answer.json) == ["id", "timestamp", "size", "counts"]
    receipt = answer.json
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(-\d{4})?", receipt["id"])
    assert answer.headers["Location"] == f"/api/backup/{receipt['id']}"
    assert receipt["size"] == len(stored(server, receipt["id"]))
    sent = json.loads(sample)
    assert receipt["counts"] == {name: len(sent[name]) for name in CATEGORIES}
    assert server.get(answer.headers["Location"]).body == stored(server, receipt["id"])


def test_timestamp_and_id_are_the_servers_time_in_utc(server):
    before = datetime.now(UTC)
    receipt = server.upload({"clientTimestamp": "1999-01-01T00:00:00.000Z"})
    after = datetime.now(UTC)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", receipt["timestamp"])
    timestamp = datetime.fromisoformat(receipt["timestamp"])
    assert before.replace(microsecond=before.microsecond // 1000 * 1000) <= timestamp <= after


def test_what_the_front_end_sends_comes_back_the_same(server, sample):
    receipt = server.upload(sample)
    sent = json.loads(sample)
    document = server.get(f"/api/backup/{receipt['id']}").json
    assert document["id"] == receipt["id"]
    assert document["timestamp"] == receipt["timestamp"]
    assert document["clientTimestamp"] == sent.pop("clientTimestamp")
    assert document["version"] == 1
    assert document["data"] == sent


def test_data_comes_last_in_the_document_and_what_is_before_it_is_small(server):
    receipt = server.upload({"atoms": [{"text": "x" * 100_000}], "others": ["y" * 100_000]})
    text = stored(server, receipt["id"])
    assert list(json.loads(text))[:4] == ["id", "timestamp", "clientTimestamp", "version"]
    assert list(json.loads(text))[-1] == "data"
    assert text.index(b'\n"data":') < 4096


def test_an_absent_category_counts_as_empty(server):
    for name in CATEGORIES:
        receipt = server.upload({name: [1, 2, 3]})
        assert receipt["counts"] == {other: 3 * (other == name) for other in CATEGORIES}
        data = server.get(f"/api/backup/{receipt['id']}").json["data"]
        assert data == {other: [1, 2, 3] if other == name else [] for other in CATEGORIES}


def test_an_empty_object_is_a_backup_of_nothing(server):
    receipt = server.upload(b"{}")
    assert set(receipt["counts"].values()) == {0}


@pytest.mark.parametrize("name", CATEGORIES)
@pytest.mark.parametrize("value", ["null", "{}", '"[]"', "0", "true"])
def test_a_category_that_is_not_an_array_is_named(server, name, value):
    refused(server, f'{{"{name}":{value}}}'.encode(), 400, name, "array")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("[]", 0),
        (" [ ] ", 0),
        ("[[]]", 1),
        ("[[1,2],[3]]", 2),
        ('["a,b","]"]', 2),
        ('[{"a":[1,2,3]},{"b":"}"}]', 2),
        (r'["\"", "\\", ","]', 3),
        ("[\n1\t,\r2 ]", 2),
    ],
)
def test_items_are_counted(server, text, count):
    receipt = server.upload(f'{{"atoms":{text},"snapshots":[0]}}'.encode())
    assert (receipt["counts"]["atoms"], receipt["counts"]["snapshots"]) == (count, 1)


# --- values as sent -------------------------------------------------------------------------------

VALUES = [
    "1.0",
    "-0",
    "-0.0",
    "1e400",
    "1E+2",
    "1e-400",
    "1234567890123456789012345678901234567890",
    "0.1000000000000000055511151231257827021181583404541015625",
    "true",
    "null",
    '""',
    r'"\u0061"',
    r'"\/"',
    r'"\ud83d\ude00"',
    r'"\ud83d"',
    r'"\ude00\ud83d"',
    r'"\uD800\u0041"',
    r'"\\ud800"',
    r'"\"\b\f\n\r\t\u0000"',
    '"Étude ✓ 😀 \u2028\u007f"',
    '{"a":1,"a":2}',
    '{"b" : [ 1 , 2 ] ,\n\t"a":{ } }',
    r'{"\ud800":"\udfff"}',
    "[" * 100 + "]" * 100,
]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_stored_byte_for_byte(server, value):
    sent = f'{{"atoms":[ {value} ,1],"extra":{value},"configOverrides":[{value}]}}'.encode()
    receipt = server.upload(sent)
    text = server.get(f"/api/backup/{receipt['id']}").body
    assert f'"atoms":[ {value} ,1],'.encode() in text
    assert f'"configOverrides":[{value}],'.encode() in text
    assert f'"extra":{value}}}'.encode() in text
    assert receipt["counts"]["atoms"] == 2


@pytest.mark.parametrize(
    "name",
    [
        "",
        "id",
        "timestamp",
        "version",
        "counts",
        "layout",
        "sha256",
        "key",
        "data",
        "screenshots",
        "Atoms",
        "__proto__",
        "a b",
        r"\u00e9",
        r"\"",
        r"\ud800",
        "é",
    ],
)
def test_any_other_member_is_kept_under_data(server, name):
    member = f'"{name}":{{ "x": [1.0, "\\ud800"] }}'.encode()
    receipt = server.upload(b'{"atoms":[7],' + member + b',"snapshots":[1]}')
    text = server.get(f"/api/backup/{receipt['id']}").body
    assert member in data_of(text)
    document = json.loads(text)
    assert json.loads(b"{" + member + b"}").items() <= document["data"].items()
    assert (document["id"], document["version"]) == (receipt["id"], 1)
    assert (document["data"]["atoms"], document["data"]["snapshots"]) == ([7], [1])


def test_members_may_come_in_any_order_with_any_blanks(server):
    receipt = server.upload(
        b'\r\n{ "configOverrides"\t:\n[ 5 ] , "later" : 1.50 , "atoms":[1,2] } \n'
    )
    assert (receipt["counts"]["atoms"], receipt["counts"]["configOverrides"]) == (2, 1)
    text = server.get(f"/api/backup/{receipt['id']}").body
    assert json.loads(data_of(text))["configOverrides"] == [5]
    assert b'"later":1.50' in data_of(text)


def test_a_category_whose_name_is_escaped_is_that_category(server):
    receipt = server.upload(rb'{"\u0061toms":[1,2],"snapshots":[3]}')
    assert receipt["counts"]["atoms"] == 2
    chosen = server.post("/api/restore", {"backupId": receipt["id"], "items": ["atoms"]})
    assert chosen.json["data"] == {"atoms": [1, 2]}


def test_of_two_members_with_one_name_the_last_counts(server):
    receipt = server.upload(b'{"atoms":[1],"x":1,"atoms":[1,2,3],"x":[4]}')
    data = server.get(f"/api/backup/{receipt['id']}").json["data"]
    assert receipt["counts"]["atoms"] == 3
    assert (data["atoms"], data["x"]) == ([1, 2, 3], [4])


# --- the client's own time ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["2026-02-01T10:54:27.123Z", "", "yesterday", "é", r"\ud83d\ude00\/"]
)
def test_the_clients_time_is_any_string_and_kept_as_sent(server, value):
    receipt = server.upload(f'{{"clientTimestamp": "{value}" }}'.encode())
    text = server.get(f"/api/backup/{receipt['id']}").body
    assert f'"clientTimestamp":"{value}","version":1'.encode() in text
    assert b"clientTimestamp" not in data_of(text)
    listed = server.get("/api/backup/list?limit=1").body
    assert f'"clientTimestamp":"{value}"'.encode() in listed


def test_without_a_clients_time_the_servers_stands_in(server):
    receipt = server.upload({"atoms": []})
    document = server.get(f"/api/backup/{receipt['id']}").json
    assert document["clientTimestamp"] == document["timestamp"] == receipt["timestamp"]


@pytest.mark.parametrize("value", [b"null", b"0", b"[]", b"{}", b"true"])
def test_a_clients_time_that_is_no_string_is_refused(server, value):
    refused(server, b'{"clientTimestamp":%s}' % value, 400, "clientTimestamp", "string")


def test_a_clients_time_that_would_make_the_head_large_is_refused(server):
    refused(server, {"clientTimestamp": "x" * 100_000}, 400, "clientTimestamp", "1024")


# --- types and codings ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "text/plain",
        "text/plain;charset=UTF-8",
        "",
    ],
)
def test_a_plain_body_may_have_the_types_of_fetch_and_beacon(server, content_type):
    assert server.upload({"atoms": [1]}, Content_Type=content_type)["counts"]["atoms"] == 1


def test_a_body_may_have_no_type_at_all(server):
    answer = raw.exchange(server, raw.head("POST /api/backup", "Content-Length: 2"), b"{}")
    assert answer.status == 201


@pytest.mark.parametrize("coding", ["gzip", "GZIP", " gzip "])
def test_a_body_may_be_gzipped(server, sample, coding):
    receipt = server.upload(gzip.compress(sample), Content_Encoding=coding)
    assert receipt["counts"]["atoms"] == len(json.loads(sample)["atoms"]) > 0


def test_a_beacons_gzip_has_a_type_instead_of_a_coding(server, sample):
    plain = server.upload(sample)
    zipped = server.upload(gzip.compress(sample), Content_Type="application/gzip")
    assert zipped["counts"] == plain["counts"]
    documents = [stored(server, backup["id"]) for backup in (plain, zipped)]
    assert data_of(documents[0]) == data_of(documents[1]) != b""


def test_a_gzip_of_several_members_is_one_body(server):
    body = gzip.compress(b'{"atoms":') + gzip.compress(b"[1]}")
    assert server.upload(body, Content_Encoding="gzip")["counts"]["atoms"] == 1


@pytest.mark.parametrize(
    "content_type",
    [
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/html",
        "text/json",
        "application/jsonx",
        "application/octet-stream",
        "application/ld+json",
        "nonsense",
    ],
)
def test_another_type_is_a_415(server, content_type):
    refused(server, b"{}", 415, "Content-Type", Content_Type=content_type)


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "identity", "gzip, gzip", "gzip,br"])
def test_another_coding_or_two_is_a_415(server, coding):
    refused(server, gzip.compress(b"{}"), 415, "gzip", Content_Encoding=coding)


def test_two_codings_in_two_header_lines_are_a_415(server):
    body = gzip.compress(gzip.compress(b"{}"))
    lines = (f"Content-Length: {len(body)}", "Content-Encoding: gzip", "Content-Encoding: gzip")
    assert_error(raw.exchange(server, raw.head("POST /api/backup", *lines), body), 415)


def test_a_type_of_gzip_and_a_coding_of_gzip_are_two(server):
    body = gzip.compress(gzip.compress(b"{}"))
    headers = {"Content_Type": "application/gzip", "Content_Encoding": "gzip"}
    refused(server, body, 415, "once", **headers)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        gzip.compress(b'{"atoms":[]}', mtime=0)[:-1],
        gzip.compress(b'{"atoms":[]}', mtime=0)[:12],
        gzip.compress(b"{}", mtime=0) + b"more",
        gzip.compress(b"{}", mtime=0)[:-8] + bytes(8),
        b"\x1f\x8b\x08\x00" + b"\xff" * 50,
    ],
    ids=["empty", "plain", "short", "shorter", "more", "checksum", "garbage"],
)
def test_a_damaged_gzip_is_a_400(server, body):
    refused(server, body, 400, Content_Encoding="gzip")


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_chunked_body_is_accepted(server, sample, size):
    parts = [sample[at : at + size] for at in range(0, len(sample), size)]
    head = raw.head("POST /api/backup", "Transfer-Encoding: chunked")
    answer = raw.exchange(server, head, raw.chunked(parts, trailer=b"X-Trailer: 1\r\n"))
    assert answer.status == 201
    text = stored(server, answer.json["id"])
    assert json.loads(text)["data"]["atoms"] == json.loads(sample)["atoms"]


def test_a_chunked_body_may_be_gzipped_too(server, sample):
    lines = ("Transfer-Encoding: chunked", "Content-Type: application/gzip")
    body = raw.chunked([gzip.compress(sample)])
    assert raw.exchange(server, raw.head("POST /api/backup", *lines), body).status == 201


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(server):
    with raw.connect(server) as connection:
        lines = ("Content-Length: 2", "Expect: 100-continue")
        connection.sendall(raw.head("POST /api/backup", *lines))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"{}")
        assert raw.receive(connection).status == 201


@pytest.mark.parametrize(
    "parts",
    [
        [raw.head("POST /api/backup", "Content-Length: 100"), b'{"atoms":[]}'],
        [
            raw.head("POST /api/backup", "Transfer-Encoding: chunked"),
            b"c\r\n" + b'{"atoms":[]}\r\n',
        ],
    ],
    ids=["length", "chunked"],
)
def test_a_body_that_breaks_off_is_not_stored_even_if_it_is_valid_so_far(server, parts):
    before = backups_in(server.data_dir)
    with raw.connect(server) as connection:
        for part in parts:
            connection.sendall(part)
        connection.shutdown(1)  # SHUT_WR: the client is gone, but reads
        assert_error(raw.receive(connection), 400)
    assert backups_in(server.data_dir) == before


# --- invalid JSON ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", "empty"),
        (b" \n", "byte 2"),
        (b'{"atoms":[', "byte 10"),
        (b'{"atoms":[1]', "byte 12"),
        (b'\xef\xbb\xbf{"atoms":[]}', "byte 0"),
        (b'{"atoms":[NaN]}', "byte 10"),
        (b'{"atoms":[Infinity]}', "byte 10"),
        (b'{"atoms":[-Infinity]}', "byte 1"),
        (b'{"atoms":[1,]}', "byte 12"),
        (b'{"atoms":[],}', "byte 12"),
        (b'{"atoms":[1 2]}', "byte 12"),
        (b'{"atoms":[01]}', "byte 1"),
        (b'{"atoms":[1.]}', "byte 1"),
        (b'{"atoms":[.5]}', "byte 10"),
        (b'{"atoms":[+1]}', "byte 10"),
        (b'{"atoms":[0x10]}', "byte 1"),
        (b'{"atoms":[1e]}', "byte 1"),
        (b'{"atoms":[tru]}', "byte 1"),
        (b'{"atoms":["\n"]}', "byte 11"),
        (b'{"atoms":["\x00"]}', "byte 11"),
        (rb'{"atoms":["\x41"]}', "byte 1"),
        (rb'{"atoms":["\u12"]}', "byte 1"),
        (rb'{"atoms":["\ud800"],}', "byte 2"),
        (b'{"atoms":["\xff"]}', "byte 11"),
        (b'{"atoms":["\xc0\xaf"]}', "byte 11"),
        (b'{"atoms":["\xed\xa0\x80"]}', "byte 11"),
        (b'{"atoms":["\xf4\x90\x80\x80"]}', "byte 11"),
        (b'{"other":"\xe2\x82"}', "byte 10"),
        (b'{"\xff":1}', "byte 2"),
        (b"{'atoms':[]}", "byte 1"),
        (b"{atoms:[]}", "byte 1"),
        (b'{"atoms" []}', "byte "),
        (b'{"atoms":[]} // done', "byte 1"),
        (b'{"atoms":[]}{}', "byte 1"),
        (b'{"atoms":[]}\x00', "byte 1"),
        ('{"atoms":[]}'.encode("utf-16"), "byte 0"),
        (gzip.compress(b"{}", mtime=0), "byte 1"),
    ],
)
def test_invalid_json_is_refused_with_the_place(server, body, where):
    refused(server, body, 400, where)


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"text"', b"true"])
def test_json_that_is_no_object_is_refused(server, body):
    refused(server, body, 400, "object")


# How deep is too deep is Python's to say: about 1,000 levels in 3.11, over 100,000 in 3.14.
@pytest.mark.parametrize("depth", [5000, 40_000, 1_000_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("name", [b"atoms", b"extra"])
def test_nesting_is_kept_whole_or_refused_as_too_deep(server, depth, opening, closing, name):
    middle = b"1" if opening != b"[" else b""
    nested = opening * depth + middle + closing * depth
    body = b'{"%s":[%s]}' % (name, nested)
    if sys.version_info >= (3, 12) and depth < 1_000_000:
        answer = server.post("/api/backup", body)
        if answer.status == 201:
            assert nested in server.get(answer.headers["Location"]).body
        else:
            assert_error(answer, 400, "deep")
    else:
        refused(server, body, 400, "deep")
    refused(server, b'{"%s":[%s' % (name, opening * depth), 400)
    assert server.get("/api/health").status == 200


# --- size -----------------------------------------------------------------------------------------


def _as_sent(body: bytes, way: str) -> tuple[list[str], bytes]:
    if way.endswith("gzip"):
        body = gzip.compress(body)
    lines = {
        "plain": [],
        "chunked": [],
        "coded gzip": ["Content-Encoding: gzip"],
        "chunked gzip": ["Content-Encoding: gzip"],
        "typed gzip": ["Content-Type: application/gzip"],
    }[way]
    if way.startswith("chunked"):
        return [*lines, "Transfer-Encoding: chunked"], raw.chunked([body])
    return [*lines, f"Content-Length: {len(body)}"], body


@pytest.mark.parametrize("way", ["plain", "chunked", "coded gzip", "chunked gzip", "typed gzip"])
def test_the_limit_holds_on_what_comes_out_to_the_byte(limited, way):
    lines, body = _as_sent(body_of(LIMIT), way)
    assert raw.exchange(limited, raw.head("POST /api/backup", *lines), body).status == 201
    before = backups_in(limited.data_dir)
    lines, body = _as_sent(body_of(LIMIT + 1), way)
    answer = raw.exchange(limited, raw.head("POST /api/backup", *lines), body)
    assert_error(answer, 413, f"{LIMIT} bytes", "MAX_BODY_BYTES")
    assert backups_in(limited.data_dir) == before


def test_a_gzip_that_is_larger_than_what_comes_out_is_measured_by_what_comes_out(limited):
    zipped = gzip.compress(body_of(LIMIT), compresslevel=0)
    assert len(zipped) > LIMIT
    limited.upload(zipped, Content_Encoding="gzip")


def test_a_gzip_that_comes_to_nothing_ends_too(limited):
    header, empty_block = gzip.compress(b"")[:10], b"\x00\x00\x00\xff\xff"
    refused(limited, header + empty_block * 200_000, 413, Content_Encoding="gzip")


def test_a_gzip_of_as_many_members_as_are_allowed_is_taken(limited):
    zipped = gzip.compress(b"{}") + gzip.compress(b"") * 999
    limited.upload(zipped, Content_Encoding="gzip")


def test_a_gzip_of_very_many_members_is_refused(limited):
    refused(limited, gzip.compress(b"") * 1001, 400, "gzip members", Content_Encoding="gzip")


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_client_that_sends_too_much_gets_to_read_why(limited, framing):
    piece = b"x" * 1_000_000
    with raw.connect(limited) as connection:
        if framing == "length":
            connection.sendall(raw.head("POST /api/backup", f"Content-Length: {30 * len(piece)}"))
            for _ in range(30):
                connection.sendall(piece)  # a reset would raise here, or below
        else:
            connection.sendall(raw.head("POST /api/backup", "Transfer-Encoding: chunked"))
            connection.sendall(raw.chunked([piece] * 30))
        assert_error(raw.receive(connection), 413)
        connection.sendall(raw.head("GET /api/health"))
        assert raw.receive(connection).status == 200, "the connection goes on"


def test_a_length_over_the_limit_is_refused_before_any_of_it_is_sent(limited):
    with raw.connect(limited, timeout=5) as connection:
        connection.sendall(raw.head("POST /api/backup", f"Content-Length: {LIMIT + 1}"))
        assert_error(raw.receive(connection), 413, f"{LIMIT} bytes")


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Content-Type: application/xml"], 415),
        (["Content-Encoding: br"], 415),
        (["Host: evil.example"], 400),
        (["Origin: https://evil.example"], 403),
    ],
)
def test_every_other_refusal_is_read_by_a_client_that_is_still_sending(limited, lines, status):
    piece = b"x" * 1_000_000
    with raw.connect(limited) as connection:
        lines = [*lines, f"Content-Length: {10 * len(piece)}"]
        connection.sendall(raw.head("POST /api/backup", *lines))
        for _ in range(10):
            connection.sendall(piece)
        assert_error(raw.receive(connection), status)


def test_the_limit_is_50_mib_unless_another_is_set(server):
    body = b'{"atoms":[]%s}' % (b" " * (50 * 1024 * 1024 - 12))
    assert len(body) == 52_428_800
    assert server.upload(body)["counts"]["atoms"] == 0
    refused(server, body + b" ", 413, "52428800")
    refused(server, gzip.compress(body + b" ", 1), 413, "52428800", Content_Encoding="gzip")


def test_a_body_of_many_pieces_is_stored_whole(server):
    items = [{"n": n, "text": "é" * 50} for n in range(30_000)]  # 4 MB: spooled, in many chunks
    body = json.dumps({"snapshots": items}, ensure_ascii=False).encode()
    for headers in ({}, {"Content_Encoding": "gzip"}):
        sent = gzip.compress(body, 1) if headers else body
        receipt = server.upload(sent, **headers)
        assert receipt["counts"]["snapshots"] == len(items)
        assert json.loads(stored(server, receipt["id"]))["data"]["snapshots"] == items


# --- no room --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [600_000, 3_000_000], ids=["in memory", "spooled"])
def test_no_room_is_a_507_that_leaves_everything_as_it_was(start_server, sample, size):
    server = start_server()
    server.upload(sample)
    before = backups_in(server.data_dir)
    children = f"/proc/{server.process.pid}/task/{server.process.pid}/children"
    with open(children) as file:
        workers = [int(pid) for pid in file.read().split()]
    # A real EFBIG from the kernel, as EDQUOT and ENOSPC are on a disk that is full.
    old = [resource.prlimit(pid, resource.RLIMIT_FSIZE, (500_000, -1)) for pid in workers]
    for query in ("", "?key=no-room-for-this-one"):
        refused(server, body_of(size), 507, query=query)
    assert server.listed() == [json.loads(text)["id"] for text in before.values()]
    assert server.upload(sample)
    for pid, limits in zip(workers, old, strict=True):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
    assert server.post("/api/backup?key=no-room-for-this-one", body_of(size)).status == 201


# --- keys -----------------------------------------------------------------------------------------


def new_key() -> str:
    return f"key-{time.time_ns()}-{os.urandom(4).hex()}"


@pytest.mark.parametrize("key", ["a" * 16, "Z" * 128, "0123456789-_abcXYZ", "-" * 16, "_" * 16])
def test_a_key_makes_a_retry_safe(server, key):
    first = server.post(f"/api/backup?key={key}", {"atoms": [1]})
    assert first.status == 201
    before = backups_in(server.data_dir)
    for other in ({"atoms": [1]}, {"atoms": [1, 2]}, b"not even JSON"):
        again = server.post(f"/api/backup?key={key}", other)
        assert (again.status, again.json) == (200, first.json)
    assert backups_in(server.data_dir) == before


@pytest.mark.parametrize(
    "query",
    [
        "",
        "a" * 15,
        "a" * 129,
        "a" * 15 + ".",
        "a" * 15 + "%2f",
        "..%2f..%2f..%2f..%2fkey",
        "a" * 16 + "%0a",
        "a" * 16 + "%00",
        "a" * 15 + "+b",
        "%C3%A9" * 16,
        "%D9%A1" * 16,  # digits, but not ASCII
    ],
)
def test_a_key_of_another_form_is_a_400(server, query):
    refused(server, b"{}", 400, "key", query=f"?key={query}")


def test_keys_differ_by_case_and_a_backup_without_one_is_always_stored(server):
    key = new_key()
    ids = {server.upload({}, f"?key={key}")["id"], server.upload({}, f"?key={key.upper()}")["id"]}
    ids |= {server.upload({})["id"], server.upload({})["id"]}
    assert len(ids) == 4


def test_a_key_whose_upload_was_refused_is_still_free(server):
    key = new_key()
    refused(server, b"nonsense", 400, query=f"?key={key}")
    assert server.post(f"/api/backup?key={key}", {"atoms": [1]}).status == 201


def test_a_retry_may_go_on_sending_and_use_its_connection_again(server):
    key, body = new_key(), body_of(5_000_000)
    first = server.upload({}, f"?key={key}")
    with raw.connect(server) as connection:
        connection.sendall(
            raw.head(f"POST /api/backup?key={key}", f"Content-Length: {len(body)}") + body
        )
        again = raw.receive(connection)
        assert (again.status, again.json) == (200, first)
        connection.sendall(raw.head("GET /api/health"))
        assert raw.receive(connection).status == 200


def test_deleting_a_backup_forgets_its_key(server):
    key = new_key()
    first = server.upload({}, f"?key={key}")
    other = server.upload({}, f"?key={new_key()}")
    assert server.request("DELETE", f"/api/backup/{first['id']}").status == 200
    second = server.post(f"/api/backup?key={key}", {"atoms": [2]})
    assert second.status == 201
    assert second.json["id"] != first["id"]
    assert {other["id"], second.json["id"]} <= set(server.listed())


def test_a_key_is_known_after_a_restart(start_server):
    server, key = start_server(), new_key()
    first = server.upload({}, f"?key={key}")
    server.stop()
    again = server.start().post(f"/api/backup?key={key}", {})
    assert (again.status, again.json) == (200, first)
    server.kill()
    assert server.start().post(f"/api/backup?key={key}", {}).json == first


def test_of_uploads_with_one_key_at_the_same_moment_one_is_stored(start_server):
    servers = [start_server(WEB_CONCURRENCY="2"), start_server()]  # on one directory
    for round_ in range(5):
        key = new_key()

        def upload(n, key=key):
            return servers[n % 2].post(f"/api/backup?key={key}", {"atoms": [n]})

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(upload, range(8)))
        assert sorted(answer.status for answer in answers) == [200] * 7 + [201]
        assert len({answer.body for answer in answers}) == 1
        assert len(backups_in(servers[0].data_dir)) == round_ + 1


def test_a_transfer_coding_besides_chunked_is_a_415(server):
    lines = ("Transfer-Encoding: gzip, chunked", "Content-Type: application/json")
    with raw.connect(server) as connection:
        connection.sendall(raw.head("POST /api/backup", *lines))
        connection.sendall(raw.chunked([gzip.compress(b"{}")]))
        assert_error(raw.receive(connection), 415)
