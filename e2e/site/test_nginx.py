"""The nginx configuration of the portfolio container, run by Debian's nginx without a container.

The backup server behind it is a stand-in that records what reaches it, so that each test says
what nginx itself adds, passes on or answers.
"""

import contextlib
import gzip
import http.client
import http.server
import json
import re
import socket
import threading
import time
from pathlib import Path

import pytest
from nginx import running_nginx
from raw import chunked, connect, exchange, head, receive
from support import ROOT, wait_until
from support import assert_error as assert_json_error

LIMIT = 1_000_000
LARGE = b'"' + b"x" * 20_000_000 + b'"'
JSON = json.dumps({"pad": "x" * 5000}).encode()
IMMUTABLE = "public, max-age=31536000, immutable"
SECURITY_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'self'; object-src 'none'; base-uri 'self'",
    "Cross-Origin-Opener-Policy": "same-origin-allow-popups",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "X-Content-Type-Options": "nosniff",
}
#: Files of a site, and how long a browser may keep them.
SITE = {
    "index.html": "no-cache",
    "about/index.html": "no-cache",
    "contact.html": "no-cache",
    "manifest.webmanifest": "no-cache",
    "module.mjs": "no-cache",
    "assets/index-B3xYz_9a.js": IMMUTABLE,
    "assets/index-B3xYz_9a.js.map": IMMUTABLE,
    "assets/my-portrait.jpg": "no-cache",  # not named after its content
    "assets/sketch-20260130.js": "no-cache",  # but after a day
    "assets/sketch-B3xYz_9a.webp": "no-cache",  # nor, for all nginx knows, this
    "_astro/page.Cx1.css": IMMUTABLE,
    ".well-known/security.txt": "no-cache",
    ".git/config": None,
}
PAGE = {"index.html": "no-cache", "assets/index-B3xYz_9a.js": IMMUTABLE}


# --- a site, a server behind, and nginx between ---------------------------------------------------


class Recorder(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.reads.wait(20)
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append(self)
        status, headers, body = self.server.answer(self)
        self.send_response(status)
        default = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        for name, value in (default | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.server.answered += 1

    do_HEAD = do_POST = do_GET

    def log_message(self, *_):
        pass


class Upstream(http.server.ThreadingHTTPServer):
    """A stand-in for the backup server: records requests, answers what ``answer`` returns.

    ``answer(request)`` returns a status, a dict of headers and a body; *request* has ``path``,
    ``headers`` and ``body``. ``reads`` is an event: no body is read before it is set. ``answered``
    counts whole answers.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Recorder)
        self.address = f"127.0.0.1:{self.server_port}"
        self.requests, self.answered = [], 0
        self.reads = threading.Event()
        self.reads.set()
        self.answer = lambda request: (200, {"ETag": '"strong"'}, JSON)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def handle_error(self, *_):
        pass  # a test that hangs up in the middle of an answer


@pytest.fixture
def upstream():
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """The directories of a site and of the image's page; a file says whose it is and its name."""
    roots = []
    for whose, files in (("site", SITE), ("page", PAGE)):
        roots.append(tmp_path_factory.mktemp(whose))
        for path in files:
            (roots[-1] / path).parent.mkdir(parents=True, exist_ok=True)
            (roots[-1] / path).write_text(f"{whose} {path} ".ljust(5000, "x"))
    return roots


@pytest.fixture
def start(tmp_path, roots, upstream):
    """``start(**settings)`` is a context with an nginx in front of ``upstream``."""

    @contextlib.contextmanager
    def start(site_root=roots[0], address=upstream.address, **settings):
        settings = {"PAGE_ROOT": roots[1], "MAX_BODY_BYTES": LIMIT} | settings
        with running_nginx(tmp_path / "nginx", site_root, address, **settings) as nginx:
            yield nginx
            assert "[warn]" not in nginx.log()

    return start


@pytest.fixture
def nginx(start):
    with start() as nginx:
        yield nginx


def upload_head(length=None, *lines, path="/api/backup"):
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return head(f"POST {path}", framing, *lines)


def assert_error(answer, status, *words):
    """The API's one error shape, whoever answered, with every security header."""
    assert_json_error(answer, status, *words)
    assert SECURITY_HEADERS.items() <= dict(answer.headers).items()


def assert_file(answer, text, kept):
    assert (answer.status, answer.body.decode().rstrip("x")) == (200, text)
    assert answer.headers["Cache-Control"] == kept


# --- the site and the page beside it --------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("/", "index.html"),
        ("/about/", "about/index.html"),
        ("/about", "about/index.html"),
        ("/contact", "contact.html"),
        *((f"/{file}", file) for file, kept in SITE.items() if kept),
    ],
)
def test_a_file_of_the_site_is_kept_only_if_it_is_named_after_its_content(nginx, path, file):
    answer = nginx.get(path)
    assert_file(answer, f"site {file} ", SITE[file])
    assert SECURITY_HEADERS.items() <= dict(answer.headers).items()
    assert answer.headers["Server"] == "nginx"
    names = [name for name in answer.headers if name != "Vary"]
    assert len(set(names)) == len(names), "one is sent twice"
    assert nginx.get(path, If_None_Match=answer.headers["ETag"]).status == 304
    types = {"/module.mjs": "text/javascript", "/manifest.webmanifest": "application/manifest+json"}
    assert answer.headers["Content-Type"].startswith(types.get(path, "")), "browsers insist"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("/.git/config", 404),
        ("/%2egit/config", 404),
        ("/_astro/gone.Cx1.css", 404),
        ("/backups/nothing", 404),
        ("/.error", 404),
        ("/apiary", 404),
        ("/api/../nothing", 404),
        ("/api/backup/..%2f..%2fetc%2fpasswd", 404),
        ("/api/..%2f..%2fetc%2fpasswd", 400),
    ],
)
def test_what_is_not_there_or_hidden_is_a_json_error_of_nginx_that_nobody_keeps(
    nginx, upstream, path, status
):
    answer = nginx.get(path)
    assert_error(answer, status)
    assert answer.headers["Cache-Control"] in ("no-cache", "no-store")
    assert upstream.requests == []


def test_a_missing_page_is_the_sites_own_404_page_if_it_has_one(tmp_path, start):
    (tmp_path / "404.html").write_text("<h1>Lost?</h1>")
    with start(tmp_path) as nginx:
        answer = nginx.get("/nothing")
    assert (answer.status, answer.body) == (404, b"<h1>Lost?</h1>")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert SECURITY_HEADERS.items() <= dict(answer.headers).items()


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({}, "/backups"),
        ({"BACKUPS_PATH": "/my/own.backups/"}, "/my/own.backups"),
        ({"CONTENT_SECURITY_POLICY": "default-src 'self'"}, "/backups"),
        ({"BACKUPS_PATH": "off"}, None),
        ({"BACKUPS_PATH": ""}, None),
    ],
)
def test_the_page_of_the_image_is_beside_the_site_with_a_strict_policy(start, settings, where):
    with start(**settings) as nginx:
        if where:
            moved = nginx.get(where)
            assert (moved.status, moved.headers["Location"]) == (301, f"{where}/")
            assert_file(
                nginx.get(f"/%{ord(where[1]):x}{where[2:]}/"), "page index.html ", "no-cache"
            )
            for file, kept in PAGE.items():
                answer = nginx.get(f"{where}/{file}")
                assert_file(answer, f"page {file} ", kept)
                assert_strict(answer)
        if where != "/backups":
            assert_error(nginx.get("/backups/"), 404)
        site = nginx.get("/")
        assert_file(site, "site index.html ", "no-cache")
        policy = SECURITY_HEADERS["Content-Security-Policy"]
        policy = settings.get("CONTENT_SECURITY_POLICY", policy)
        assert site.headers["Content-Security-Policy"] == policy


def assert_strict(answer):
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Permissions-Policy"] == "camera=(), geolocation=(), payment=(), usb=()"


def test_without_a_site_the_page_is_at_both_places(start, roots):
    with start(roots[1]) as nginx:
        for path in ("/", "/backups/"):
            assert_file(nginx.get(path), "page index.html ", "no-cache")
            assert_strict(nginx.get(path))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("BACKUPS_PATH", path) for path in ("/", "backups", "/api", "/api/x", "/a//b", "/.b")),
        *(("BACKUPS_PATH", path) for path in ("/a b", '/a";', "/a{", "/ä")),
        *(("MAX_BODY_BYTES", size) for size in ("", "50m", "-1")),
    ],
)
def test_a_setting_that_makes_no_sense_stops_the_start_with_a_line_that_names_it(
    start, name, value
):
    with pytest.raises(RuntimeError, match=f"^{name} is '"), start(**{name: value}):
        pass


# --- what reaches the backup server ---------------------------------------------------------------


def test_the_server_gets_the_body_and_learns_host_with_port_client_and_scheme(nginx, upstream):
    sent = {"Authorization": "Bearer s3cret", "Content-Encoding": "gzip"}
    named = {name.replace("-", "_"): value for name, value in sent.items()}
    nginx.request("POST", "/api/backup", b"zipped", Host="portfolio.example:3080", **named)
    proxied = {"X_Forwarded_Proto": "https", "X_Forwarded_For": "203.0.113.7"}
    nginx.get("/api/health", **proxied)
    direct, behind_tls = (request.headers for request in upstream.requests)
    assert upstream.requests[0].body == b"zipped"
    assert sent.items() <= dict(direct).items()
    assert direct["Host"] == direct["X-Forwarded-Host"] == "portfolio.example:3080"
    assert (direct["X-Forwarded-For"], direct["X-Forwarded-Proto"]) == ("127.0.0.1", "http")
    assert behind_tls["X-Forwarded-For"] == "203.0.113.7, 127.0.0.1"
    assert behind_tls["X-Forwarded-Proto"] == "https"


@pytest.mark.parametrize(
    "path",
    ["/api", "/api/backup?key=abc%20d", "/api/backup/a%2fb", "/api/backup/%252e%252e%252fsecret"],
)
def test_an_address_reaches_the_server_as_it_was_sent(nginx, upstream, path):
    assert nginx.get(path).headers["Cache-Control"] == "no-store"
    assert upstream.requests[0].path == path


def test_the_servers_own_errors_pass_untouched(nginx, upstream):
    for status in (400, 401, 403, 404, 405, 413, 415, 500, 503, 507):
        own = (status, {"WWW-Authenticate": "Basic"}, b'{"error": "Its own sentence."}')
        upstream.answer = lambda request, own=own: own
        answer = nginx.request("POST", "/api/backup", b"{}")
        assert_error(answer, status, "Its own sentence")
        assert answer.headers["WWW-Authenticate"] == "Basic"


# --- slow clients and the server do not meet ------------------------------------------------------


def temporary_files(nginx):
    """What nginx's workers hold open in its own directory but the log, removed by name or not."""
    children = Path(f"/proc/{nginx.process.pid}/task/{nginx.process.pid}/children").read_text()
    links = [fd.readlink() for pid in children.split() for fd in Path(f"/proc/{pid}/fd").iterdir()]
    kept = [path for path in links if path.is_relative_to(nginx.log_path.parent)]
    return [str(path) for path in kept if path != nginx.log_path]


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_upload_reaches_the_server_when_it_is_whole(nginx, upstream, framing):
    body = b"a" * 400_000 + b"b" * 400_000
    length, coded = (len(body), body) if framing == "length" else (None, chunked([body]))
    with connect(nginx, upload_head(length) + coded[:400_000]) as sock:
        # nginx opens a file, and removes its name in the next moment
        wait_until(lambda: [name for name in temporary_files(nginx) if "(deleted)" in name])
        assert upstream.requests == []
        sock.sendall(coded[400_000:])
        assert receive(sock).status == 200
    assert upstream.requests[0].body == body


def test_an_upload_that_arrived_whole_is_stored_though_its_sender_has_gone(start, upstream):
    upstream.reads.clear()
    with start(MAX_BODY_BYTES=len(LARGE)) as nginx:
        with connect(nginx, upload_head(len(LARGE))) as sock:
            sock.sendall(LARGE)
        time.sleep(0.2)  # nginx learns of it, while the server has not read anything
        upstream.reads.set()
        wait_until(lambda: upstream.requests)
    assert upstream.requests[0].body == LARGE


def test_a_body_that_stalls_is_closed_and_reaches_nobody(start, upstream):
    with (
        start(shortened={"client_body_timeout": 1}) as nginx,
        connect(nginx, upload_head(100) + b"{") as sock,
    ):
        assert sock.recv(100) == b""
        wait_until(lambda: "POST /api/backup 408" in nginx.log())
    assert upstream.requests == []


@pytest.mark.parametrize(("limit", "whole"), [(len(LARGE), True), (LIMIT, False)])
def test_a_document_leaves_the_server_at_once_unless_it_is_larger_than_uploads_may_be(
    start, upstream, limit, whole
):
    upstream.answer = lambda request: (200, {}, LARGE)
    with (
        start(MAX_BODY_BYTES=limit) as nginx,
        connect(nginx, head("GET /api/backup/latest"), receive_buffer=4096) as sock,
    ):
        wait_until(lambda: temporary_files(nginx))
        if whole:
            wait_until(lambda: upstream.answered)
        assert receive(sock).body == LARGE


def test_a_steady_reader_is_sent_everything_however_slow_it_is(start, upstream):
    """nginx hears of room when a third of its send buffer has been taken: that has to be soon."""
    upstream.answer = lambda request: (200, {}, LARGE)
    with (
        start(shortened={"send_timeout": 2}) as nginx,
        connect(nginx, head("GET /api/backup/latest"), receive_buffer=8192) as sock,
        http.client.HTTPResponse(sock) as response,
    ):
        response.begin()
        received = b""
        for _ in range(25):
            received += response.read(15_000)  # 150 KB/s
            time.sleep(0.1)
        assert "/api/backup/latest" not in nginx.log(), "it was given up while it was read"
        assert received + response.read() == LARGE


# --- nginx's own errors, and its log --------------------------------------------------------------


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_413_is_read_by_a_client_that_is_still_sending(nginx, framing):
    body = [b"x" * LIMIT] * 20
    length = len(body) * LIMIT if framing == "length" else None
    with connect(nginx, upload_head(length)) as sock:
        for part in body:
            sock.sendall(part if length else chunked([part])[:-5])  # raises if nginx resets it
        sock.sendall(b"" if length else chunked([]))
        assert_error(receive(sock), 413, f"{LIMIT} bytes", "MAX_BODY_BYTES")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (upload_head(LIMIT + 1), 413),  # at once
        (head("POST /", "Content-Length: 0"), 405),
        (head("GET /", "X: " + "a" * 40_000), 431),
        (head("GET /" + "a" * 40_000), 414),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (head("GET /", "Host: a b"), 400),
        (head("GET /", "Host: a", "Host: b"), 400),
        (b"nonsense\r\n\r\n", 400),
        (head("TRACE /api/health"), 405),
        (upload_head(1, "Content-Length: 2"), 400),
        (upload_head(1, "Transfer-Encoding: chunked"), 400),
        (head("POST /api/backup", "Transfer-Encoding: gzip"), 501),
    ],
)
def test_what_nginx_itself_refuses_is_json_too(nginx, upstream, request_bytes, status):
    assert_error(exchange(nginx, request_bytes), status)
    assert upstream.requests == []


def hang_up(request):
    request.connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError


@pytest.mark.parametrize(
    ("answer", "length", "status", "reason"),
    [
        (hang_up, 2, 502, "upstream prematurely closed connection"),
        (lambda request: (200, {"X": "x" * 60_000}, b"{}"), 2, 502, "upstream sent too big header"),
        (lambda request: (time.sleep(2), (200, {}, b"{}"))[1], 2, 504, "upstream timed out"),
        (None, LIMIT + 1, 413, "client intended to send too large body"),
        (None, 2, 201, ""),
    ],
)
def test_the_error_log_says_why_and_the_access_log_shows_no_key(
    start, upstream, answer, length, status, reason
):
    upstream.answer = answer or (lambda request: (201, {}, b"{}"))
    with start(shortened={"proxy_read_timeout": 1}) as nginx:
        request = upload_head(length, "Authorization: Bearer s3cret", path="/api/backup?key=k3y")
        got = exchange(nginx, request, b"{}")
        assert got.status == status
        if status != 201:
            assert_error(got, status)
        wait_until(lambda: f" POST /api/backup {status} " in nginx.log())
        lines = nginx.log().splitlines()
        errors = [line for line in lines if line.startswith("20")]  # the year
        assert reason in "".join(errors)
        assert "s3cret" not in nginx.log()
        assert not [line for line in lines if "k3y" in line and line not in errors]


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("127.0.0.1", "502 from 127.0.0.1:1 connected in -s"),
        ("backup", "no address is known for backup:1"),
    ],
)
def test_the_access_log_says_why_a_server_is_not_reached(start, host, told):
    settings = {"RESOLVER": "127.0.0.1:1", "shortened": {"resolver_timeout": 1}}
    with start(address=f"{host}:1", **settings) as nginx:
        assert nginx.request("POST", "/api/backup", b"{}").status == 502
        wait_until(lambda: told in nginx.log())


# --- compression, ETag and Range ------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/backup/list", "/assets/index-B3xYz_9a.js"])
def test_json_and_text_are_compressed_for_who_asks(nginx, path):
    plain = nginx.get(path)
    assert "Content-Encoding" not in plain.headers
    for via in ({}, {"Via": "1.1 edge"}):
        zipped = nginx.get(path, Accept_Encoding="gzip", **via)
        assert zipped.headers["Content-Encoding"] == "gzip"
        assert zipped.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
        assert gzip.decompress(zipped.body) == plain.body
        assert len(zipped.body) < len(plain.body) / 10
        assert zipped.headers["ETag"] == f"W/{plain.headers['ETag']}"


@pytest.mark.parametrize(
    ("method", "status", "sent", "answered", "body"),
    [
        ("HEAD", 200, {}, {"Content-Length": "5011"}, b""),
        ("GET", 304, {"If-None-Match": 'W/"strong"'}, {}, b""),
        ("GET", 206, {"Range": "bytes=9-19"}, {"Content-Range": "bytes 9-19/5011"}, b"x" * 11),
    ],
)
def test_head_conditions_and_ranges_reach_the_server_and_its_answer_the_client(
    nginx, upstream, method, status, sent, answered, body
):
    upstream.answer = lambda request: (status, {"ETag": '"strong"'} | answered, body)
    named = {name.replace("-", "_"): value for name, value in sent.items()}
    answer = nginx.request(method, "/api/backup/latest", Accept_Encoding="gzip", **named)
    assert upstream.requests[0].command == method
    assert sent.items() <= dict(upstream.requests[0].headers).items()
    assert (answer.status, answer.body) == (status, body)
    if method != "HEAD":  # which nginx answers as if it would compress
        assert answer.headers["ETag"] == '"strong"'
        assert answered.items() <= dict(answer.headers).items()
        assert "Content-Encoding" not in answer.headers


# --- another nginx in front -----------------------------------------------------------------------

IN_FRONT = """daemon off; pid nginx.pid; error_log stderr; events { }
http { access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f;
uwsgi_temp_path u; scgi_temp_path s; server { listen ${LISTEN}; %s } }"""


def test_the_lines_for_another_nginx_in_front_work(tmp_path, nginx, upstream):
    text = (ROOT / "docs" / "deployment.md").read_text()
    blocks = re.findall(r"<!-- test: [a-z ]+ -->\n```nginx\n(.*?)```", text, re.DOTALL)
    lines = "".join(blocks).replace("127.0.0.1:3080", f"127.0.0.1:{nginx.port}")
    with Upstream() as snapshots:
        lines = lines.replace("127.0.0.1:4000", snapshots.address)
        (tmp_path / "nginx.conf.template").write_text(IN_FRONT % lines)
        with running_nginx(tmp_path / "front", "/", "none", source=tmp_path) as front:
            assert_file(front.get("/"), "site index.html ", "no-cache")
            front.request("POST", "/api/snapshot/x?y", b"shared")
            front.request("POST", "/api/backup", b"x" * LIMIT, Host="portfolio.example")
            assert_error(exchange(front, upload_head(LIMIT + 1)), 413, "MAX_BODY_BYTES")
    assert [(r.path, r.body) for r in snapshots.requests] == [("/api/snapshot/x?y", b"shared")]
    assert [(r.path, r.headers["Host"]) for r in upstream.requests] == [
        ("/api/backup", "portfolio.example")
    ]
