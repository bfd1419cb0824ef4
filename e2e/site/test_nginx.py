"""The nginx configuration of the portfolio container, run by Debian's nginx without a container.

The backup server behind it is a stand-in that records what reaches it, so that each test says
what nginx itself adds, passes on or answers.
"""

import contextlib
import gzip
import http.server
import itertools
import json
import re
import socket
import threading
import time

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
    "assets/my-portrait.jpg": "no-cache",  # not named after its content
    "assets/sketch-20260130.js": "no-cache",  # but after a day
    "assets/sketch-B3xYz_9a.webp": "no-cache",  # nor, for all nginx knows, this
    "_astro/page.Cx1.css": IMMUTABLE,
    ".well-known/security.txt": "no-cache",
    ".git/config": None,
}
PAGE = {"index.html": "no-cache", "assets/index-B3xYz_9a.js": IMMUTABLE}


class Recorder(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.heads.append(self.path)
        self.server.reads.wait(20)
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append(self)
        status, headers, body = self.server.answer(self)
        self.send_response(status)
        default = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        for name, value in (default | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if self.command != "HEAD" else b"")

    do_HEAD = do_POST = do_GET

    def log_message(self, *_):
        pass


class Upstream(http.server.ThreadingHTTPServer):
    """A stand-in for the backup server: ``answer(request)`` returns what it answers.

    It records heads at once and whole requests later. No body is read before ``reads`` is set.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Recorder)
        self.address = f"127.0.0.1:{self.server_port}"
        self.reads = threading.Event()
        self.reset()

    def reset(self):
        self.heads, self.requests = [], []
        self.reads.set()
        self.answer = lambda request: (200, {"ETag": '"strong"'}, JSON)

    @contextlib.contextmanager
    def running(self):
        with self:
            threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()
            yield self
            self.shutdown()

    def handle_error(self, *_):
        pass  # a test that hangs up in the middle of an answer


@pytest.fixture(scope="module")
def shared_upstream():
    with Upstream().running() as upstream:
        yield upstream


@pytest.fixture
def upstream(shared_upstream):
    shared_upstream.reset()
    return shared_upstream


@pytest.fixture(scope="module")
def start(tmp_path_factory, shared_upstream):
    """``start(**settings)`` is a context with an nginx in front of the stand-in.

    It serves a site, and beside it the image's page; a file says whose it is, and its name.
    """
    roots = []
    for whose, files in (("site", SITE), ("page", PAGE)):
        roots.append(tmp_path_factory.mktemp(whose))
        for path in files:
            (roots[-1] / path).parent.mkdir(parents=True, exist_ok=True)
            (roots[-1] / path).write_text(f"{whose} {path} ".ljust(5000, "x"))

    @contextlib.contextmanager
    def start(site_root=roots[0], address=shared_upstream.address, **settings):
        settings = {"PAGE_ROOT": roots[1], "MAX_BODY_BYTES": LIMIT} | settings
        directory = tmp_path_factory.mktemp("nginx")
        with running_nginx(directory, site_root or roots[1], address, **settings) as nginx:
            yield nginx
            assert "[warn]" not in nginx.log()

    return start


@pytest.fixture(scope="module")
def shared_nginx(start):
    with start() as nginx:
        yield nginx


@pytest.fixture
def nginx(shared_nginx, upstream):
    return shared_nginx


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
        *(("/", "index.html"), ("/about/", "about/index.html"), ("/about", "about/index.html")),
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
    "path",
    [
        *("/nothing", "/.git/config", "/%2egit/config", "/_astro/gone.Cx1.css", "/backups/nothing"),
        *("/.error", "/apiary", "/api/../nothing", "/api/backup/..%2f..%2fetc%2fpasswd"),
        "/api/..%2f..%2fetc%2fpasswd",
    ],
)
def test_what_is_not_there_or_hidden_is_a_json_error_of_nginx_that_nobody_keeps(
    nginx, upstream, path
):
    answer = nginx.get(path)
    assert_error(answer, 400 if path.startswith("/api/..%2f") else 404)
    assert answer.headers["Cache-Control"] in ("no-cache", "no-store")
    assert upstream.requests == []


def test_a_missing_page_is_the_sites_own_404_page_if_it_has_one(tmp_path, start):
    (tmp_path / "404.html").write_text("<h1>Lost?</h1>")
    with start(tmp_path) as nginx:
        answer = nginx.get("/nothing")
        assert (answer.status, answer.body) == (404, b"<h1>Lost?</h1>")


POLICY = SECURITY_HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("settings", "places", "policy"),
    [
        ({}, ["/backups/"], POLICY),
        ({"BACKUPS_PATH": "/my/own.backups/"}, ["/my/own.backups/"], POLICY),
        ({"CONTENT_SECURITY_POLICY": "default-src 'self'"}, ["/backups/"], "default-src 'self'"),
        ({"BACKUPS_PATH": "off"}, [], POLICY),
        ({"BACKUPS_PATH": ""}, [], POLICY),
        ({"site_root": None}, ["/", "/backups/"], None),
    ],
)
def test_the_page_of_the_image_is_beside_the_site_with_a_strict_policy(
    start, settings, places, policy
):
    with start(**settings) as nginx:
        for place, (file, kept) in itertools.product(places, PAGE.items()):
            answer = nginx.get(place + file)
            assert_file(answer, f"page {file} ", kept)
            strict = "default-src 'none'; script-src 'self';"
            assert answer.headers["Content-Security-Policy"].startswith(strict)
            assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert answer.headers["Permissions-Policy"].startswith("camera=(), geolocation=()")
        if "/backups/" in places:
            assert nginx.get("/backups").headers["Location"] == "/backups/"
            assert nginx.get("/%62ackups/").body.startswith(b"page index.html")
        else:
            assert_error(nginx.get("/backups/"), 404)
        if policy:
            assert_file(nginx.get("/"), "site index.html ", "no-cache")
            assert nginx.get("/").headers["Content-Security-Policy"] == policy
            assert "Permissions-Policy" not in nginx.get("/").headers, "it may use the microphone"


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


# --- what reaches the backup server, and what it answers ------------------------------------------


def test_the_server_gets_the_body_and_learns_host_with_port_client_and_scheme(nginx, upstream):
    sent = {"Authorization": "Bearer s3cret", "Content_Encoding": "gzip"}
    nginx.request("POST", "/api/backup", b"zipped", Host="portfolio.example:3080", **sent)
    nginx.get("/api/health", X_Forwarded_Proto="https", X_Forwarded_For="203.0.113.7")
    direct, behind_tls = (request.headers for request in upstream.requests)
    assert upstream.requests[0].body == b"zipped"
    assert (direct["Authorization"], direct["Content-Encoding"]) == ("Bearer s3cret", "gzip")
    assert direct["Host"] == direct["X-Forwarded-Host"] == "portfolio.example:3080"
    assert (direct["X-Forwarded-For"], direct["X-Forwarded-Proto"]) == ("127.0.0.1", "http")
    assert behind_tls["X-Forwarded-For"] == "203.0.113.7, 127.0.0.1"
    assert behind_tls["X-Forwarded-Proto"] == "https"
    paths = ["/api", "/api/backup?key=abc%20d", "/api/backup/a%2fb", "/api/backup/%252e%252e%252fs"]
    for path in paths:
        assert nginx.get(path).headers["Cache-Control"] == "no-store"
    assert [request.path for request in upstream.requests[2:]] == paths, "as they were sent"


def test_the_servers_own_errors_pass_untouched(nginx, upstream):
    for status in (400, 401, 403, 404, 405, 413, 415, 500, 503, 507):
        own = (status, {"WWW-Authenticate": "Basic"}, b'{"error": "Its own sentence."}')
        upstream.answer = lambda request, own=own: own
        answer = nginx.request("POST", "/api/backup", b"{}")
        assert_error(answer, status, "Its own sentence")
        assert answer.headers["WWW-Authenticate"] == "Basic"


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
    ("status", "name", "sent", "answered", "body"),
    [
        (304, "If-None-Match", 'W/"strong"', {}, b""),
        (206, "Range", "bytes=9-19", {"Content-Range": "bytes 9-19/5011"}, b"x" * 11),
    ],
)
def test_conditions_and_ranges_reach_the_server_and_its_answer_the_client(
    nginx, upstream, status, name, sent, answered, body
):
    upstream.answer = lambda request: (status, {"ETag": '"strong"'} | answered, body)
    asked = {"Accept_Encoding": "gzip", name.replace("-", "_"): sent}
    answer = nginx.get("/api/backup/latest", **asked)
    assert upstream.requests[0].headers[name] == sent
    assert (answer.status, answer.body) == (status, body)
    assert ({"ETag": '"strong"'} | answered).items() <= dict(answer.headers).items()
    assert "Content-Encoding" not in answer.headers


# --- slow clients and the server do not meet ------------------------------------------------------


def test_an_upload_that_arrived_whole_is_stored_though_its_sender_has_gone(start, upstream):
    upstream.reads.clear()
    with start(MAX_BODY_BYTES=len(LARGE)) as nginx:
        with connect(nginx, upload_head(len(LARGE))) as sock:
            sock.sendall(LARGE)
        time.sleep(0.2)  # nginx learns of it, while the server has not read anything
        upstream.reads.set()
        wait_until(lambda: upstream.requests)
    assert upstream.requests[0].body == LARGE


def test_a_body_reaches_the_server_when_it_is_whole_and_one_that_stalls_never(start, upstream):
    with start(shortened={"client_body_timeout": 1}) as nginx:
        for sent in (upload_head(100) + b"{", upload_head() + chunked([b"{"])[:-5]):
            with connect(nginx, sent) as sock:
                assert sock.recv(100) == b""
        wait_until(lambda: nginx.log().count("POST /api/backup 408") == 2)
        assert upstream.heads == []
        body = b"a" * 400_000 + b"b" * 400_000
        assert exchange(nginx, upload_head() + chunked([body])).status == 200
    assert upstream.requests[0].body == body


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


NOBODY = {"address": "127.0.0.1:1"}
NO_NAME = {"address": "backup:1", "RESOLVER": "127.0.0.1:1"}


@pytest.mark.parametrize(
    ("settings", "answer", "length", "status", "reason"),
    [
        ({}, hang_up, 2, 502, "upstream prematurely closed connection"),
        ({}, lambda _: (200, {"X": "x" * 60_000}, b""), 2, 502, "upstream sent too big header"),
        ({}, lambda _: (time.sleep(2), (200, {}, b""))[1], 2, 504, "upstream timed out"),
        ({}, None, LIMIT + 1, 413, "client intended to send too large body"),
        ({}, lambda _: (201, {}, b"{}"), 2, 201, ""),
        (NOBODY, None, 2, 502, "502 from 127.0.0.1:1 connected in -s"),
        (NO_NAME, None, 2, 502, "no address is known for backup:1"),
    ],
)
def test_the_log_says_why_and_shows_no_key_in_its_access_lines(
    start, upstream, settings, answer, length, status, reason
):
    upstream.answer = answer or upstream.answer
    with start(shortened={"proxy_read_timeout": 1, "resolver_timeout": 1}, **settings) as nginx:
        request = upload_head(length, "Authorization: Bearer s3cret", path="/api/backup?key=k3y")
        got = exchange(nginx, request, b"{}")
        assert got.status == status
        if status != 201:
            assert_error(got, status)
        wait_until(lambda: f" POST /api/backup {status} " in nginx.log())
        assert reason in nginx.log()
        assert "s3cret" not in nginx.log()
        # Lines of the error log begin with the year.
        assert not re.search("^(?!20).*k3y", nginx.log(), re.MULTILINE)


# --- another nginx in front -----------------------------------------------------------------------

IN_FRONT = """daemon off; pid nginx.pid; error_log stderr; events { }
http { access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f;
uwsgi_temp_path u; scgi_temp_path s; server { listen ${LISTEN}; %s } }"""


def test_the_lines_for_another_nginx_in_front_work(tmp_path, nginx, upstream):
    text = (ROOT / "docs" / "deployment.md").read_text()
    blocks = re.findall(r"<!-- test: [a-z ]+ -->\n```nginx\n(.*?)```", text, re.DOTALL)
    lines = "".join(blocks).replace("127.0.0.1:3080", f"127.0.0.1:{nginx.port}")
    with Upstream().running() as snapshots:
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
