"""HTTP that no client should send, on a raw socket: to the server itself, and through nginx.

Each is answered once, as JSON, or the connection ends; none is taken for two requests, stores what
it should not, or keeps the next request from being answered.
"""

import contextlib
import json
import time

import pytest
from nginx import running_nginx
from raw import talk
from support import Answer, require_tool

HOST = b"Host: localhost\r\n"
LENGTH = b"Content-Length: "
CODING = b"Transfer-Encoding: "
CHUNKS = b"2\r\n{}\r\n0\r\n\r\n"
LIST = b"GET /api/backup/list HTTP/1.1\r\n"


def post(headers: bytes, body: bytes = b"{}", version: bytes = b"1.1") -> bytes:
    """An upload whose framing is what ``headers``, each with its line end, make it."""
    return b"POST /api/backup HTTP/%s\r\n%s%s\r\n%s" % (version, HOST, headers, body)


def chunked(body: bytes) -> bytes:
    return post(CODING + b"chunked\r\n", body)


def get(headers: bytes = b"", line: bytes = LIST, host: bytes = HOST) -> bytes:
    return line + host + headers + b"\r\n"


# What is sent, and the statuses of the answers: of the server itself, and of nginx before it.
CASES = {
    "two lengths": (post(LENGTH + b"2\r\n" + LENGTH + b"3\r\n"), 400, 400),
    "one length twice": (post((LENGTH + b"2\r\n") * 2), 400, 400),
    "a list of lengths": (post(LENGTH + b"2, 2\r\n"), 400, 400),
    "a length and chunks": (post(LENGTH + b"2\r\n" + CODING + b"chunked\r\n", CHUNKS), 400, 400),
    "a length with a plus": (post(LENGTH + b"+2\r\n"), 400, 400),
    "a negative length": (post(LENGTH + b"-2\r\n"), 400, 400),
    "a hexadecimal length": (post(LENGTH + b"0x2\r\n"), 400, 400),
    "a length with a blank": (post(LENGTH + b"2 2\r\n"), 400, 400),
    "an empty length": (post(LENGTH + b"\r\n"), 400, 400),
    "a length in Arabic digits": (post(LENGTH + "٢\r\n".encode()), 400, 400),
    "a length beyond any integer": (post(LENGTH + b"9" * 30 + b"\r\n"), 413, 400),
    "an underscore in a length": (post(b"Content_Length: 2\r\n", b""), 400, 400),
    "no length": (post(b"", b""), 400, 400),
    "an unknown coding": (post(CODING + b"xchunked\r\n", CHUNKS), 501, 501),
    "chunked twice": (post((CODING + b"chunked\r\n") * 2, CHUNKS), 400, 400),
    "identity and a length": (post(CODING + b"identity\r\n" + LENGTH + b"2\r\n"), 400, 501),
    "a coding after chunked": (post(CODING + b"chunked, identity\r\n", CHUNKS), 400, 501),
    "a coding after a tab": (post(b"Transfer-Encoding:\x0bchunked\r\n", CHUNKS), 400, 501),
    "a blank before a colon": (post(b"Transfer-Encoding : chunked\r\n", CHUNKS), 400, 400),
    "chunks in HTTP/1.0": (post(CODING + b"chunked\r\n", CHUNKS, b"1.0"), 400, 400),
    "chunks in capitals": (post(CODING + b"CHUNKED\r\n", CHUNKS), 201, 201),
    "a chunk of no size": (chunked(b"zz\r\n{}\r\n0\r\n\r\n"), 400, 400),
    "a chunk of negative size": (chunked(b"-2\r\n{}\r\n0\r\n\r\n"), 400, 400),
    "a chunk with a prefix": (chunked(b"0x2\r\n{}\r\n0\r\n\r\n"), 400, 400),
    "a chunk with an underscore": (chunked(b"0_2\r\n{}\r\n0\r\n\r\n"), 400, 400),
    "a chunk without its end": (chunked(b"2\r\n{}0\r\n\r\n"), 400, 400),
    "a chunk longer than its size": (chunked(b"2\r\n{ }\r\n0\r\n\r\n"), 400, 400),
    "a chunk with an extension": (chunked(b"2;a=b\r\n{}\r\n0\r\n\r\n"), 201, 201),
    "an extension of a megabyte": (
        chunked(b"2;a=" + b"b" * 1_000_000 + b"\r\n{}\r\n0\r\n\r\n"),
        400,
        201,
    ),
    "a trailer": (chunked(b"2\r\n{}\r\n0\r\nX: y\r\n\r\n"), 201, 201),
    "a trailer of a megabyte": (
        chunked(b"2\r\n{}\r\n0\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n"),
        400,
        201,
    ),
    "an expectation": (post(b"Expect: 100-continue\r\n" + LENGTH + b"2\r\n"), 201, 201),
    "an unknown expectation": (post(b"Expect: wonders\r\n" + LENGTH + b"2\r\n"), 417, 201),
    "an absolute target": (get(line=b"GET http://localhost/api/health HTTP/1.1\r\n"), 200, 200),
    "no host": (get(host=b""), 400, 400),
    "an empty host": (get(host=b"Host:\r\n"), 400, 400),
    "two hosts": (get(b"Host: evil.example\r\n"), 400, 400),
    "one host twice": (get(HOST), 400, 400),
    "two hosts in one": (get(host=b"Host: localhost, evil.example\r\n"), 400, 400),
    "a host with a user": (get(host=b"Host: localhost@evil.example\r\n"), 400, 400),
    "a host with a path": (get(host=b"Host: localhost/evil.example\r\n"), 400, 400),
    "a host with a long port": (get(host=b"Host: localhost:99999999\r\n"), 400, 400),
    "an unknown host": (get(host=b"Host: evil.example\r\n"), 400, 400),
    "a forwarded host": (get(b"X-Forwarded-Host: evil.example\r\n"), 200, 200),
    "a tunnel": (get(line=b"CONNECT localhost:80 HTTP/1.1\r\n"), 404, 400),
    "an asterisk": (get(line=b"OPTIONS * HTTP/1.1\r\n"), 404, 400),
    "HTTP/2.0": (get(line=b"GET /api/backup/list HTTP/2.0\r\n"), 400, 505),
    "HTTP/2's preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 400),
    "an upgrade to HTTP/2": (get(b"Connection: Upgrade\r\nUpgrade: h2c\r\n"), 200, 200),
    "TLS": (bytes.fromhex("16030100f1010000ed0303") + bytes(200) + b"\r\n\r\n", 400, 400),
    "PROXY": (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + get(), 400, 400),
    "a method in small letters": (get(line=b"get /api/backup/list HTTP/1.1\r\n"), 400, 400),
    "a method of no token": (get(line=b"G@T /api/backup/list HTTP/1.1\r\n"), 400, 400),
    "a NUL in a path": (get(line=b"GET /api/backup/\0 HTTP/1.1\r\n"), 400, 400),
    "a path that is not UTF-8": (get(line=b"GET /api/backup/\xff\xfe HTTP/1.1\r\n"), 400, 400),
    "another host for a path": (get(line=b"GET //evil.example/api HTTP/1.1\r\n"), 404, 404),
    "a NUL in a header": (get(b"X: a\0b\r\n"), 400, 400),
    "a bare CR in a header": (get(b"X: a\rb\r\n"), 400, 400),
    "a header without a colon": (get(b"nonsense\r\n"), 400, 200),
    "a folded header": (get(b"X: a\r\n b\r\n"), 400, 400),
    "a first header that is folded": (get(host=b" X: a\r\n" + HOST), 400, 400),
    "line feeds alone": (b"GET /api/backup/list HTTP/1.1\nHost: localhost\n\n", 400, 200),
    "two blanks": (get(line=b"GET  /api/backup/list  HTTP/1.1\r\n"), 400, 200),
    "empty lines before": (b"\r\n\r\n" + get(), 400, 200),
    "a header of 100 KB": (get(b"X: " + b"a" * 100_000 + b"\r\n"), 431, 431),
    "a thousand headers": (get(b"X: a\r\n" * 1000), 431, 431),
    "headers without an end": (LIST + HOST + b"X: a\r\n" * 500_000, 431, 431),
    "a target of 100 KB": (get(line=b"GET /%s HTTP/1.1\r\n" % (b"a" * 100_000)), 414, 414),
    "a target without an end": (b"GET /" + b"a" * 3_000_000, 414, 414),
    "a GET with a body": (get(LENGTH + b"2\r\n") + b"{}", 200, 200),
}
# Broken off by a client that stays to listen, which nginx takes for one that has gone.
BROKEN_OFF = {
    "nothing but an empty line": b"\r\n\r\n",
    "half a request line": b"GET /api/ba",
    "half a head": LIST + b"Host: loc",
    "a body that is too short": post(LENGTH + b"20\r\n"),
    "a chunk that is too short": chunked(b"20\r\n{}"),
    "no last chunk": chunked(b"2\r\n{}\r\n"),
    "no end after the last chunk": chunked(b"2\r\n{}\r\n0\r\n"),
    "a chunk larger than any body": chunked(b"f" * 20 + b"\r\n{}\r\n0\r\n\r\n"),
    "chunks of line feeds alone": chunked(b"2\n{}\n0\n\n"),
}


@pytest.fixture(scope="module")
def nginx(shared_server, tmp_path_factory):
    require_tool("nginx")
    directory = tmp_path_factory.mktemp("nginx")
    site = directory / "site"
    site.mkdir()
    with running_nginx(directory, site, f"127.0.0.1:{shared_server.port}") as nginx:
        yield nginx


@pytest.fixture(params=["itself", "through nginx"])
def port(request, server):
    """Where to send to: the server's own port, and nginx's."""
    if request.param == "itself":
        return server.port
    return request.getfixturevalue("nginx").port


def check_shape(answer: Answer) -> None:
    if answer.headers["Content-Type"].startswith("text/html"):  # by gunicorn's own parser
        assert b"<title>" in answer.body
        assert answer.headers["Connection"] == "close"
        return
    assert answer.headers["Content-Type"] == "application/json"
    if answer.status >= 400:
        assert list(answer.json) == ["error"]


@contextlib.contextmanager
def storing(server, expected: int):
    """Check that so many backups, each an empty one, come to be stored in the block."""
    before = set(server.listed())
    yield
    added = set(server.listed()) - before
    assert len(added) == expected
    for backup_id in added:
        assert not any(server.get(f"/api/backup/{backup_id}").json["counts"].values())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_malformed_http_is_refused_and_what_is_only_odd_is_understood(server, port, case):
    data, direct, through = case
    expected = direct if port == server.port else through
    with storing(server, expected == 201):
        answers = talk(port, data)
    assert [answer.status for answer in answers] == [expected]
    check_shape(answers[0])
    assert server.get("/api/health").status == 200


@pytest.mark.parametrize("data", BROKEN_OFF.values(), ids=BROKEN_OFF)
def test_what_breaks_off_is_a_400_and_not_stored(server, data):
    with storing(server, 0):
        answers = talk(server.port, data, half_close=True)
    assert [answer.status for answer in answers] in ([400], [])
    for answer in answers:
        check_shape(answer)


@pytest.mark.parametrize("data", BROKEN_OFF.values(), ids=BROKEN_OFF)
def test_what_breaks_off_before_nginx_is_not_stored(server, nginx, data):
    with storing(server, 0):
        talk(nginx.port, data, half_close=True)


def test_pipelined_requests_are_answered_one_by_one_and_in_order(server, port):
    upload = post(LENGTH + b"2\r\n")
    with storing(server, 2):
        answers = talk(port, get() + upload + chunked(CHUNKS) + get(line=b"GET /x HTTP/1.1\r\n"))
    assert [answer.status for answer in answers] == [200, 201, 201, 404]
    assert answers[2].json["id"] > answers[1].json["id"]


REFUSALS = {
    "another site": (b"Origin: https://evil.example\r\n", b"", 403),
    "an unknown host": (b"", b"evil.example", 400),
    "a wrong type": (b"Content-Type: text/html\r\n", b"", 415),
    "a wrong coding": (b"Content-Encoding: br\r\n", b"", 415),
    "no JSON": (b"", b"", 400),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("framing", ["a length", "chunks"])
def test_a_request_inside_a_refused_body_is_not_carried_out(server, port, refusal, framing):
    headers, host, status = refusal
    backup_id = server.upload({})["id"]
    body = b"DELETE /api/backup/%s HTTP/1.1\r\n%s\r\n" % (backup_id.encode(), HOST) * 3
    if framing == "a length":
        data = post(headers + LENGTH + b"%d\r\n" % len(body), body)
    else:
        chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        data = post(headers + CODING + b"chunked\r\n", chunk)
    if host:
        data = data.replace(b"localhost", host, 1)
    answers = talk(port, data)
    assert [answer.status for answer in answers] == [status]
    check_shape(answers[0])
    assert backup_id in server.listed()


def test_a_request_after_one_that_cannot_be_framed_is_not_carried_out(server, port):
    backup_id = server.upload({})["id"]
    delete = get(line=b"DELETE /api/backup/%s HTTP/1.1\r\n" % backup_id.encode())
    for framing in (
        LENGTH + b"2\r\n" + CODING + b"chunked\r\n",
        LENGTH + b"2\r\n" + LENGTH + b"200\r\n",
        CODING + b"chunked\r\n" + CODING + b"identity\r\n",
    ):
        answers = talk(port, post(framing, CHUNKS + delete))
        assert len(answers) == 1
        assert answers[0].status in (400, 501)
    assert backup_id in server.listed()


def test_a_deluge_of_garbage_is_over_in_moments_and_harms_nothing(server, port):
    started = time.monotonic()
    for seed in range(200):
        noise = bytes((seed * 7 + position * 31) % 256 for position in range(400))
        with contextlib.suppress(AssertionError):  # nginx may go on waiting for more
            talk(port, noise + b"\r\n\r\n", half_close=True)
    assert time.monotonic() - started < 20
    assert json.loads(server.get("/api/health").body)["status"] == "ok"
