"""The nginx configuration of the portfolio container, run by Debian's nginx without a container.

The backup server behind it is mostly a stand-in that records what reaches it, so that each test
says what nginx itself adds, passes on or answers; the last part puts the real one there.
"""

import contextlib
import gzip
import http.client
import http.server
import json
import socket
import struct
import threading
import time
from pathlib import Path

import pytest
from nginx import running_nginx
from support import require_tool, wait_until

LIMIT = 1_000_000

SECURITY_HEADERS = {
    "content-security-policy": "frame-ancestors 'self'; object-src 'none'; base-uri 'self'",
    "cross-origin-opener-policy": "same-origin-allow-popups",
    "referrer-policy": "strict-origin-when-cross-origin",
    "x-content-type-options": "nosniff",
}


# --- a site, a server behind, and nginx between ---------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def nginx_is_installed():
    require_tool("nginx")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    root = tmp_path_factory.mktemp("site")
    for path, text in {
        "index.html": "<h1>Portfolio</h1>",
        "about/index.html": "<h1>About</h1>",
        "contact.html": "<h1>Contact</h1>",
        "sw.js": "// service worker",
        "manifest.webmanifest": "{}",
        "module.mjs": "export default 1;",
        "assets/index-B3xYz_9a.js": "// " + "long " * 1000,
        "assets/index-B3xYz_9a.js.map": "{}",
        "assets/photograph.jpg": "not named after its content",
        "assets/my-portrait.jpg": "nor this",
        "assets/my-Portrait.jpg": "nor this",
        "assets/sketch-20260130.webp": "but after a day",
        "assets/sketch-20260130.js": "as well",
        "assets/sketch-B3xYz_9a.webp": "nor, for all nginx knows, this",
        "_astro/page.Cx1.css": "h1 {}",
        ".git/config": "secret",
        ".well-known/security.txt": "Contact: me",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


class Upstream:
    """A stand-in for the backup server: records requests, answers what ``answer`` returns.

    ``answer(request)`` returns a status, a dict of headers and a body; *request* has ``path``,
    ``headers`` and ``body``. By default it answers a JSON of some length with a strong ETag.
    """

    body = json.dumps({"pad": "x" * 5000}).encode()

    def __init__(self, address="127.0.0.1", port=0):
        self.reset()
        upstream = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.body = self._read_body()
                upstream.requests.append(self)
                status, headers, body = upstream.answer(self)
                self.send_response(status)
                headers = {"Content-Type": "application/json"} | headers
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_POST = do_DELETE = do_GET

            def _read_body(self):
                if self.command == "POST" and self.rfile.peek(1):
                    upstream.body_begins.set()
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                return body

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer((address, port), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()

    def reset(self):
        """Forget the requests so far and answer as at first."""
        self.requests = []
        self.body_begins = threading.Event()
        self.answer = lambda request: (200, {"ETag": '"strong"'}, self.body)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


@pytest.fixture(scope="module")
def shared_upstream():
    with Upstream() as server:
        yield server


@pytest.fixture
def upstream(shared_upstream):
    shared_upstream.reset()
    return shared_upstream


@pytest.fixture(scope="module")
def shared_nginx(tmp_path_factory, site, shared_upstream):
    address = f"127.0.0.1:{shared_upstream.port}"
    directory = tmp_path_factory.mktemp("nginx")
    with running_nginx(directory, site, address, MAX_BODY_BYTES=LIMIT) as server:
        yield server


@pytest.fixture
def nginx(shared_nginx, upstream):
    """An nginx in front of ``upstream``, for all tests that need no other settings."""
    return shared_nginx


def ask(nginx, path, method="GET", headers=None, body=None, host=None):
    """One request; returns status, headers (lower-case names) and body."""
    connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=30)
    host = host or f"localhost:{nginx.port}"
    connection.request(method, path, body=body, headers={"Host": host} | (headers or {}))
    with connection.getresponse() as response:
        answer = read_answer(response)
    connection.close()
    return answer


def read_answer(response):
    body = response.read()
    headers = [(name.lower(), value) for name, value in response.getheaders()]
    names = [name for name, _ in headers if name != "vary"]
    repeated = {name for name in names if names.count(name) > 1}
    assert not repeated, f"sent twice: {repeated}"
    return response.status, dict(headers), body


def ask_raw(nginx, *parts, pause=0):
    """The same for bytes that http.client would not send, with a pause halfway."""
    with socket.create_connection(("127.0.0.1", nginx.port), timeout=30) as sock:
        for number, part in enumerate(parts):
            if number == len(parts) // 2:
                time.sleep(pause)
            sock.sendall(part)  # raises here, or reading below, if nginx resets the connection
        with http.client.HTTPResponse(sock) as response:
            response.begin()
            return read_answer(response)


def chunk(data):
    """One chunk of a chunked body (RFC 9112, section 7.1); an empty one ends it."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def assert_error(answer, status, sentence=""):
    """The API's one error shape, whoever answered, with every security header."""
    got, headers, body = answer
    assert got == status
    assert headers["content-type"] == "application/json"
    assert list(json.loads(body)) == ["error"]
    assert sentence in json.loads(body)["error"]
    assert SECURITY_HEADERS.items() <= headers.items()


# --- the site -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/", "<h1>Portfolio</h1>"),
        ("/about/", "<h1>About</h1>"),
        ("/about", "<h1>About</h1>"),
        ("/contact", "<h1>Contact</h1>"),
        ("/.well-known/security.txt", "Contact: me"),
    ],
)
def test_a_page_is_found_under_the_addresses_static_site_builders_link_to(nginx, path, text):
    status, _, body = ask(nginx, path)
    assert (status, body.decode()) == (200, text)


@pytest.mark.parametrize("path", ["/.git/config", "/%2egit/config", "/about/../.git/config"])
def test_hidden_files_of_the_site_directory_are_not_served(nginx, path):
    assert_error(ask(nginx, path), 404)


def test_a_missing_page_is_the_sites_own_404_page_if_it_has_one(tmp_path, nginx, upstream):
    assert_error(ask(nginx, "/nothing"), 404, "nothing at this address")
    root = tmp_path / "own"
    root.mkdir()
    (root / "404.html").write_text("<h1>Lost?</h1>")
    with running_nginx(tmp_path / "other", root, f"127.0.0.1:{upstream.port}") as other:
        status, headers, body = ask(other, "/nothing")
    assert (status, body) == (404, b"<h1>Lost?</h1>")
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert SECURITY_HEADERS.items() <= headers.items()


@pytest.mark.parametrize(
    ("path", "content_type"),
    [("/module.mjs", "text/javascript"), ("/manifest.webmanifest", "application/manifest+json")],
)
def test_modules_and_manifests_have_the_type_a_browser_insists_on(nginx, path, content_type):
    assert ask(nginx, path)[1]["content-type"].split(";")[0] == content_type


IMMUTABLE = "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("/", "no-cache"),
        ("/index.html", "no-cache"),
        ("/about", "no-cache"),
        ("/sw.js", "no-cache"),
        ("/manifest.webmanifest", "no-cache"),
        ("/assets/photograph.jpg", "no-cache"),
        ("/assets/my-portrait.jpg", "no-cache"),
        ("/assets/my-Portrait.jpg", "no-cache"),
        ("/assets/sketch-20260130.webp", "no-cache"),
        ("/assets/sketch-20260130.js", "no-cache"),
        ("/assets/sketch-B3xYz_9a.webp", "no-cache"),
        ("/assets/index-B3xYz_9a.js", IMMUTABLE),
        ("/assets/index-B3xYz_9a.js.map", IMMUTABLE),
        ("/_astro/page.Cx1.css", IMMUTABLE),
        ("/_astro/gone.Cx1.css", "no-cache"),
        ("/assets/gone-B3xYz_9a.js", "no-cache"),
        ("/api/backup/list", "no-store"),
        ("/api/health?again", "no-store"),
    ],
)
def test_only_what_is_named_after_its_content_is_kept(nginx, path, rule):
    assert ask(nginx, path)[1]["cache-control"] == rule


def test_a_page_that_did_not_change_is_not_sent_again(nginx):
    etag = ask(nginx, "/")[1]["etag"]
    assert ask(nginx, "/", headers={"If-None-Match": etag})[0] == 304


# --- headers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/assets/index-B3xYz_9a.js", "/nothing", "/api/health", "/api/backup/unknown"]
)
def test_every_answer_has_the_security_headers(nginx, upstream, path):
    if path.endswith("unknown"):
        upstream.answer = lambda request: (404, {}, b'{"error": "no such backup"}')
    headers = ask(nginx, path)[1]
    assert SECURITY_HEADERS.items() <= headers.items()
    assert headers["server"] == "nginx"


def test_the_page_in_the_image_has_a_strict_policy(tmp_path, upstream):
    with running_nginx(tmp_path, "/srv/site", f"127.0.0.1:{upstream.port}") as nginx:
        headers = ask(nginx, "/api/health")[1]
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["permissions-policy"] == "camera=(), geolocation=(), payment=(), usb=()"


def test_the_owner_sets_the_content_security_policy(tmp_path, site, upstream):
    policy = "default-src 'self'; script-src 'self' 'sha256-abc='"
    with running_nginx(
        tmp_path, site, f"127.0.0.1:{upstream.port}", CONTENT_SECURITY_POLICY=policy
    ) as nginx:
        assert ask(nginx, "/")[1]["content-security-policy"] == policy


def test_nginx_starts_without_a_warning(tmp_path, site):
    with running_nginx(tmp_path, site, "127.0.0.1:1") as nginx:
        assert nginx.log() == ""


# --- what reaches the backup server ---------------------------------------------------------------


def test_the_server_learns_host_with_port_client_and_scheme(nginx, upstream):
    ask(nginx, "/api/health", host="portfolio.example:3080")
    headers = upstream.requests[0].headers
    assert headers["Host"] == "portfolio.example:3080"
    assert headers["X-Forwarded-Host"] == "portfolio.example:3080"
    assert headers["X-Forwarded-For"] == "127.0.0.1"
    assert headers["X-Forwarded-Proto"] == "http"


def test_a_proxy_in_front_that_ends_tls_is_heard(nginx, upstream):
    ask(
        nginx,
        "/api/health",
        headers={"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7"},
    )
    headers = upstream.requests[0].headers
    assert headers["X-Forwarded-Proto"] == "https"
    assert headers["X-Forwarded-For"] == "203.0.113.7, 127.0.0.1"


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/backup?key=abc%20d",
        "/api/backup/a%2fb",
        "/api/backup/%252e%252e%252fsecret",
    ],
)
def test_an_address_reaches_the_server_as_it_was_sent(nginx, upstream, path):
    ask(nginx, path)
    assert upstream.requests[0].path == path


@pytest.mark.parametrize(
    "path", ["/apiary", "/api/../nothing", "/api/backup/..%2f..%2fetc%2fpasswd"]
)
def test_an_address_outside_the_api_stays_here(nginx, upstream, path):
    assert_error(ask(nginx, path), 404)
    assert upstream.requests == []


def test_an_address_above_the_site_is_refused(nginx, upstream):
    assert_error(ask(nginx, "/api/..%2f..%2fetc%2fpasswd"), 400)
    assert upstream.requests == []


def test_credentials_and_encodings_go_through_and_the_query_stays_out_of_the_log(nginx, upstream):
    sent = {"Authorization": "Bearer s3cret", "Content-Encoding": "gzip"}
    ask(nginx, "/api/backup?key=k3y", method="POST", headers=sent, body=b"zipped")
    assert sent.items() <= dict(upstream.requests[0].headers).items()
    assert upstream.requests[0].body == b"zipped"
    wait_until(lambda: "POST /api/backup 200" in nginx.log())
    assert "s3cret" not in nginx.log()
    assert "k3y" not in nginx.log()


def upload_with_key(nginx, length, sent):
    """Start an upload whose query has the key k3y, and give it up after the bytes sent."""
    head = (
        f"POST /api/backup?key=k3y HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", nginx.port), timeout=30) as sock:
        sock.sendall(head.encode() + sent)
        if length == len(sent) or length > LIMIT:
            sock.recv(1000)


def hang_up(request):
    request.connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError


@pytest.mark.parametrize(
    ("answer", "length", "logged"),
    [
        (hang_up, 2, " 502 "),
        (lambda request: (200, {"bad header": "x"}, b"{}"), 2, " POST /api/backup "),
        (lambda request: (200, {"Content-Length": "900"}, b"{}"), 2, " POST /api/backup "),
        (lambda request: (200, {"X": "x" * 60_000}, b"{}"), 2, " 502 "),
        (lambda request: (time.sleep(2), (200, {}, b"{}"))[1], 2, " 504 "),
        (None, LIMIT + 1, " 413 "),
        (None, 1000, " 400 "),
        (None, 2, " 201 "),
    ],
    ids=[
        "hangs up",
        "answers what is no HTTP",
        "answers less than it says",
        "answers too large a head",
        "is too slow",
        "too large a body",
        "the client goes",
        "nothing",
    ],
)
def test_whatever_goes_wrong_the_key_of_an_upload_is_in_no_log(
    tmp_path, site, upstream, answer, length, logged
):
    upstream.answer = answer or (lambda request: (201, {}, b"{}"))
    with running_nginx(
        tmp_path,
        site,
        f"127.0.0.1:{upstream.port}",
        shortened={"proxy_read_timeout": 1},
        MAX_BODY_BYTES=LIMIT,
    ) as nginx:
        upload_with_key(nginx, length, b"{}")
        wait_until(lambda: logged in nginx.log())
        assert "k3y" not in nginx.log()


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("127.0.0.1", "502 from 127.0.0.1:1 connected in -s"),
        ("backup", "no address is known for backup:1"),
    ],
)
def test_a_server_that_is_not_there_is_told_by_the_log_without_the_key(tmp_path, site, host, told):
    with running_nginx(tmp_path, site, f"{host}:1", RESOLVER="127.0.0.1:1") as nginx:
        upload_with_key(nginx, 2, b"{}")
        wait_until(lambda: told in nginx.log())
        assert "POST /api/backup 502" in nginx.log()
        assert "k3y" not in nginx.log()


@pytest.mark.parametrize(
    ("framing", "parts"),
    [
        ("Content-Length: 800000", [b"a" * 400_000, b"b" * 400_000]),
        ("Transfer-Encoding: chunked", [chunk(b"a" * 400_000), chunk(b"b" * 400_000) + chunk(b"")]),
    ],
)
def test_an_upload_arrives_while_it_is_sent_and_is_kept_nowhere(nginx, upstream, framing, parts):
    with socket.create_connection(("127.0.0.1", nginx.port), timeout=30) as sock:
        sock.sendall(f"POST /api/backup HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n".encode())
        sock.sendall(parts[0])
        assert upstream.body_begins.wait(10), "nothing arrived before the upload was complete"
        assert temporary_files(nginx) == []
        sock.sendall(parts[1])
        with http.client.HTTPResponse(sock) as response:
            response.begin()
            assert read_answer(response)[0] == 200
    assert upstream.requests[0].body == b"a" * 400_000 + b"b" * 400_000


def temporary_files(nginx):
    """What nginx's workers hold open in its own directory, removed by name or not."""
    children = Path(f"/proc/{nginx.process.pid}/task/{nginx.process.pid}/children").read_text()
    links = [fd.readlink() for pid in children.split() for fd in Path(f"/proc/{pid}/fd").iterdir()]
    kept = [str(path) for path in links if path.is_relative_to(nginx.log_path.parent)]
    return [path for path in kept if path != str(nginx.log_path)]


# --- nginx's own errors ---------------------------------------------------------------------------


@pytest.mark.parametrize("pause", [0, 6])
def test_a_body_over_the_limit_is_a_413_that_a_client_still_sending_can_read(
    nginx, upstream, pause
):
    head = f"POST /api/backup HTTP/1.1\r\nHost: localhost\r\nContent-Length: {20 * LIMIT}\r\n\r\n"
    body = [b"x" * LIMIT] * 20
    assert_error(ask_raw(nginx, head.encode(), *body, pause=pause), 413, f"{LIMIT} bytes")
    assert upstream.requests == []


def test_a_chunked_body_over_the_limit_is_a_413_too(nginx):
    head = b"POST /api/backup HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = [chunk(b"x" * 100_000)] * 20
    assert_error(ask_raw(nginx, head, *chunks, b"0\r\n\r\n"), 413, "MAX_BODY_BYTES")


def test_a_server_that_is_down_is_a_502_and_is_found_again(tmp_path, site):
    with Upstream() as first:
        port = first.port
        with running_nginx(tmp_path, site, f"127.0.0.1:{port}") as nginx:
            assert ask(nginx, "/api/health")[0] == 200
            first.stop()
            assert_error(ask(nginx, "/api/health"), 502, "cannot be reached")
            assert_error(ask(nginx, "/api/backup", "POST", body=b"{}"), 502, "cannot be reached")
            assert ask(nginx, "/")[0] == 200, "the site needs no backup server"
            with Upstream(port=port):
                assert ask(nginx, "/api/health")[0] == 200


def test_a_server_that_takes_too_long_is_a_504(tmp_path, site, upstream):
    upstream.answer = lambda request: (time.sleep(3), (200, {}, b"{}"))[1]
    address = f"127.0.0.1:{upstream.port}"
    with running_nginx(tmp_path, site, address, shortened={"proxy_read_timeout": 1}) as nginx:
        assert_error(ask(nginx, "/api/health"), 504, "took too long")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"TRACE /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (
            b"POST /api/backup HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
            b"Content-Length: 2\r\n\r\n",
            400,
        ),
        (
            b"POST /api/backup HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (
            b"POST /api/backup HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
            501,
        ),
    ],
)
def test_what_nginx_itself_refuses_is_json_too(nginx, upstream, request_bytes, status):
    assert_error(ask_raw(nginx, request_bytes), status)
    assert upstream.requests == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 415, 500, 503, 507])
def test_the_servers_own_errors_pass_untouched(nginx, upstream, status):
    body = b'{"error": "its own sentence"}'
    upstream.answer = lambda request: (status, {"WWW-Authenticate": "Basic"}, body)
    answer = ask(nginx, "/api/backup", "POST", body=b"{}")
    assert_error(answer, status, "its own sentence")
    assert answer[1]["www-authenticate"] == "Basic"


def test_the_error_page_has_no_address_of_its_own(nginx):
    assert_error(ask(nginx, "/.error"), 404)


# --- compression, ETag and Range ------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/backup/list", "/assets/index-B3xYz_9a.js"])
def test_json_and_text_are_compressed_for_who_asks(nginx, path):
    plain = ask(nginx, path)
    zipped = ask(nginx, path, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain[1]
    assert zipped[1]["content-encoding"] == "gzip"
    assert zipped[1]["vary"] == plain[1]["vary"] == "Accept-Encoding"
    assert gzip.decompress(zipped[2]) == plain[2]
    assert len(zipped[2]) < len(plain[2]) / 10


def test_compression_works_behind_another_proxy(nginx):
    headers = {"Accept-Encoding": "gzip", "Via": "1.1 edge"}
    assert ask(nginx, "/api/backup/list", headers=headers)[1]["content-encoding"] == "gzip"


def test_an_etag_is_strong_uncompressed_and_weak_compressed(nginx):
    assert ask(nginx, "/api/backup/latest")[1]["etag"] == '"strong"'
    zipped = ask(nginx, "/api/backup/latest", headers={"Accept-Encoding": "gzip"})
    assert zipped[1]["etag"] == 'W/"strong"'


def test_a_conditional_request_reaches_the_server_and_its_304_the_client(nginx, upstream):
    upstream.answer = lambda request: (304, {"ETag": '"strong"'}, b"")
    sent = {"If-None-Match": 'W/"strong"', "Accept-Encoding": "gzip"}
    status, headers, _ = ask(nginx, "/api/backup/latest", headers=sent)
    assert upstream.requests[0].headers["If-None-Match"] == 'W/"strong"'
    assert (status, headers["etag"]) == (304, '"strong"')


def test_a_range_is_exactly_the_bytes_even_if_compression_was_asked_for(nginx, upstream):
    part = upstream.body[1000:4000]
    upstream.answer = lambda request: (
        206,
        {"ETag": '"strong"', "Content-Range": f"bytes 1000-3999/{len(upstream.body)}"},
        part,
    )
    sent = {"Range": "bytes=1000-3999", "Accept-Encoding": "gzip"}
    status, headers, body = ask(nginx, "/api/backup/latest", headers=sent)
    assert upstream.requests[0].headers["Range"] == "bytes=1000-3999"
    assert (status, body, headers["etag"]) == (206, part, '"strong"')
    assert headers["content-range"] == f"bytes 1000-3999/{len(upstream.body)}"
    assert "content-encoding" not in headers


def test_head_goes_through_as_head(nginx, upstream):
    status, headers, body = ask(nginx, "/api/backup/latest", "HEAD")
    assert upstream.requests[0].command == "HEAD"
    assert (status, body, headers["content-length"]) == (200, b"", str(len(upstream.body)))
    assert headers["etag"] == '"strong"'


def test_a_large_document_to_a_slow_reader_is_kept_nowhere(nginx, upstream):
    document = b'"' + b"x" * 20_000_000 + b'"'
    upstream.answer = lambda request: (200, {}, document)
    with socket.create_connection(("127.0.0.1", nginx.port), timeout=30) as sock:
        sock.sendall(b"GET /api/backup/latest HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with http.client.HTTPResponse(sock) as response:
            response.begin()
            time.sleep(0.5)
            assert temporary_files(nginx) == []
            assert response.read() == document


def test_a_steady_reader_is_sent_everything_however_slow_it_is(tmp_path, site, upstream):
    """nginx hears of room when a third of its send buffer has been taken: that has to be soon."""
    document = b'"' + b"x" * 20_000_000 + b'"'
    upstream.answer = lambda request: (200, {}, document)
    address = f"127.0.0.1:{upstream.port}"
    with (
        running_nginx(tmp_path, site, address, shortened={"send_timeout": 3}) as nginx,
        socket.socket() as sock,
    ):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        sock.settimeout(30)
        sock.connect(("127.0.0.1", nginx.port))
        sock.sendall(b"GET /api/backup/latest HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with http.client.HTTPResponse(sock) as response:
            response.begin()
            received = b""
            for _ in range(60):
                received += response.read(15_000)  # 150 KB/s
                time.sleep(0.1)
            assert "/api/backup/latest" not in nginx.log(), "it was given up while it was read"
            assert received + response.read() == document


# --- a backup container that was replaced ---------------------------------------------------------


class NameServer:
    """A DNS server over UDP that gives every name one address, for no time at all."""

    def __init__(self, address):
        self.address = address
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                query, client = self.sock.recvfrom(512)
            except OSError:  # closed
                return
            question = query[12 : query.index(b"\0", 12) + 5]
            # RFC 1035, section 4.1: header, the question again, one A record that points at it
            head = query[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0)
            record = struct.pack(">HHHIH", 0xC00C, 1, 1, 0, 4) + socket.inet_aton(self.address)
            self.sock.sendto(head + question + record, client)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


def test_a_backup_container_with_a_new_address_is_followed(tmp_path, site):
    with (
        Upstream("127.0.0.2") as old,
        NameServer("127.0.0.2") as names,
        running_nginx(
            tmp_path, site, f"backup:{old.port}", RESOLVER=f"127.0.0.1:{names.port}"
        ) as nginx,
    ):
        assert ask(nginx, "/api/health")[0] == 200
        with Upstream("127.0.0.3", old.port) as new:
            old.stop()
            names.address = "127.0.0.3"
            wait_until(lambda: ask(nginx, "/api/health")[0] == 200)
            assert len(new.requests) >= 1


# --- with the real backup server behind -----------------------------------------------------------


@pytest.fixture
def serve(tmp_path, site, start_server):
    """Start the real server and nginx with one limit; returns both."""
    with contextlib.ExitStack() as stack:

        def start(limit=LIMIT, **environ):
            server = start_server(MAX_BODY_BYTES=str(limit), **environ)
            upstream = f"127.0.0.1:{server.port}"
            running = running_nginx(tmp_path / "nginx", site, upstream, MAX_BODY_BYTES=limit)
            return stack.enter_context(running), server

        yield start


def test_a_real_backup_goes_in_and_comes_out(serve, sample):
    nginx, server = serve()
    status, headers, body = ask(nginx, "/api/backup", "POST", body=sample)
    assert status == 201
    assert headers["location"] == f"/api/backup/{json.loads(body)['id']}"
    assert ask(nginx, headers["location"])[2] == server.get("/api/backup/latest").body


def test_etag_and_range_of_a_document_hold_for_clients_that_take_gzip(serve, sample):
    nginx, _ = serve()
    ask(nginx, "/api/backup", "POST", body=sample)
    zips = {"Accept-Encoding": "gzip"}
    plain = ask(nginx, "/api/backup/latest")
    zipped = ask(nginx, "/api/backup/latest", headers=zips)
    assert gzip.decompress(zipped[2]) == plain[2]
    assert zipped[1]["etag"] == f"W/{plain[1]['etag']}"
    for etag in (plain[1]["etag"], zipped[1]["etag"]):
        sent = zips | {"If-None-Match": etag}
        assert ask(nginx, "/api/backup/latest", headers=sent)[0] == 304
    part = ask(nginx, "/api/backup/latest", headers=zips | {"Range": "bytes=100-199"})
    assert (part[0], part[2], part[1]["etag"]) == (206, plain[2][100:200], plain[1]["etag"])


def test_what_grows_over_the_limit_when_unzipped_is_the_servers_413(serve):
    nginx, _ = serve()
    bomb = gzip.compress(b'{"atoms": ["' + b"x" * 30 * LIMIT + b'"]}')
    sent = {"Content-Encoding": "gzip"}
    assert_error(ask(nginx, "/api/backup", "POST", headers=sent, body=bomb), 413)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Host: evil.example", 400),
        ("Host: localhost\r\nOrigin: https://evil.example\r\nAuthorization: Bearer s", 403),
        ("Host: localhost", 401),
        ("Host: localhost\r\nAuthorization: Bearer s\r\nContent-Type: image/png", 415),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_refusal_is_read_by_a_client_that_is_still_sending(serve, header, status, chunked):
    nginx, _ = serve(limit=30 * LIMIT, BACKUP_TOKEN="s")
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {20 * LIMIT}"
    head = f"POST /api/backup HTTP/1.1\r\n{header}\r\n{framing}\r\n\r\n".encode()
    body = [b"x" * LIMIT] * 20
    if chunked:
        body = [chunk(part) for part in body] + [chunk(b"")]
    assert_error(ask_raw(nginx, head, *body, pause=1), status)


def test_a_body_that_stands_still_is_a_408_and_stores_nothing(serve):
    nginx, server = serve()
    with socket.create_connection(("127.0.0.1", nginx.port), timeout=30) as sock:
        sock.sendall(
            b"POST /api/backup HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
        )
        with http.client.HTTPResponse(sock) as response:
            response.begin()
            assert_error(read_answer(response), 408)
    assert server.listed() == []
