"""Who may call: host names, origins, the token, and what browsers are told of it."""

import base64
from hmac import compare_digest

import pytest
import raw
from support import Server, assert_error, backups_in

from backup_server import create_app
from backup_server.settings import Settings

TOKEN = "s3cret:with=signs/+~"


@pytest.fixture(scope="module")
def configured(tmp_path_factory):
    """A server with its own hosts and origins."""
    server = Server(
        tmp_path_factory.mktemp("configured") / "data",
        TRUSTED_HOSTS="portfolio.example, *.Portfolio.example,192.0.2.7,[2001:db8::1]",
        CORS_ORIGINS="https://drafts.example,HTTPS://Upper.Example:443 , http://drafts.example:8080",
    ).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server that asks for a token."""
    server = Server(tmp_path_factory.mktemp("guarded") / "data", BACKUP_TOKEN=TOKEN).start()
    yield server
    server.stop()


def endpoints(backup_id: str) -> list[tuple[str, str, bytes | None]]:
    """Every endpoint but health, as a request that would succeed."""
    return [
        ("POST", "/api/backup", b"{}"),
        ("GET", "/api/backup/list", None),
        ("GET", "/api/backup/latest", None),
        ("HEAD", "/api/backup/latest", None),
        ("GET", f"/api/backup/{backup_id}", None),
        ("POST", "/api/restore", b'{"backupId":"%s"}' % backup_id.encode()),
        ("DELETE", f"/api/backup/{backup_id}", None),
        ("GET", "/api/nothing", None),
        ("GET", "/", None),
    ]


def nothing_happens(server: Server, status: int, *words: str, **headers: str) -> None:
    """Check that every endpoint refuses a request with these headers and does nothing."""
    token = server.environ.get("BACKUP_TOKEN")
    own = {"Authorization": f"Bearer {token}"} if token else {}
    backup_id = server.upload({"atoms": ["SECRET"]}, **own)["id"]
    before = backups_in(server.data_dir)
    for method, path, body in endpoints(backup_id):
        answer = server.request(method, path, body, **{"Content_Type": "text/plain"} | headers)
        if method == "HEAD":
            assert answer.status == status
        else:
            assert_error(answer, status, *words)
        assert "Access-Control-Allow-Origin" not in answer.headers or status == 401
    assert backups_in(server.data_dir) == before


# --- hosts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "localhost:3081",
        "localhost.",
        "app.localhost",
        "a.b.localhost:1",
        "127.0.0.1",
        "127.0.0.1:65535",
        "192.168.0.12",
        "203.0.113.9:80",
        "[::1]",
        "[::1]:3081",
        "[2001:DB8::7]",
        "[::ffff:127.0.0.1]",
    ],
)
def test_by_default_localhost_and_any_ip_address_are_trusted(server, host):
    assert server.get("/api/backup/list", Host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:3081",
        "localhost.evil.example",
        "evil-localhost",
        "evillocalhost",
        "127.0.0.1.evil.example",
        "127.0.0.1.nip.io",
        "127.1",
        "2130706433",
        "0x7f000001",
        "[::1",
        "::1",
        "localhost:",
        "localhost:x",
        "localhost:3081:3081",
        "evil@localhost",
        "localhost evil",
        "localhost,evil.example",
        "localhost/evil",
        "",
    ],
)
def test_any_other_host_is_a_400_that_names_the_setting(server, host):
    nothing_happens(server, 400, "TRUSTED_HOSTS", Host=host)


def test_a_request_without_a_host_is_refused(server):
    answer = raw.exchange(server, b"GET /api/backup/list HTTP/1.0\r\n\r\n")
    assert_error(answer, 400)


def test_other_headers_that_tell_a_host_are_not_asked(server):
    for name in ("X_Forwarded_Host", "Forwarded", "X_Host", "X_Original_Host"):
        assert server.get("/api/backup/list", **{name: "evil.example"}).status == 200
        headers = {name: "localhost", "Host": "evil.example"}
        assert_error(server.get("/api/backup/list", **headers), 400, "TRUSTED_HOSTS")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("portfolio.example", 200),
        ("Portfolio.Example:3080", 200),
        ("portfolio.example.", 200),
        ("www.portfolio.example", 200),
        ("a.b.portfolio.example", 200),
        ("192.0.2.7:80", 200),
        ("[2001:db8::1]:80", 200),
        ("evilportfolio.example", 400),
        ("portfolio.example.evil", 400),
        ("192.0.2.8", 400),
        ("localhost", 400),
        ("127.0.0.1", 400),
        ("app.localhost", 400),
    ],
)
def test_the_setting_replaces_the_default(configured, host, status):
    assert configured.get("/api/backup/list", Host=host).status == status


def test_a_starred_name_is_its_subdomains_and_not_the_name_itself(start_server):
    server = start_server(TRUSTED_HOSTS="*.portfolio.example")
    assert server.get("/api/backup/list", Host="www.portfolio.example").status == 200
    assert_error(server.get("/api/backup/list", Host="portfolio.example"), 400, "TRUSTED_HOSTS")


# --- origins --------------------------------------------------------------------------------------

LOOPBACK_ORIGINS = [
    "http://localhost",
    "http://localhost:4321",
    "https://localhost:8443",
    "http://127.0.0.1:5173",
    "http://127.8.9.1",
    "http://[::1]:3000",
    "http://app.localhost:3000",
]
FOREIGN_ORIGINS = [
    "https://evil.example",
    "null",
    "http://localhost.evil.example",
    "http://evil-localhost",
    "http://127.0.0.1.evil.example",
    "http://192.168.0.5",
    "http://[2001:db8::1]",
    "http://0.0.0.0",
    "http://localhost@evil.example",
    "file://",
    "chrome-extension://abcdefghijklmnop",
    "http://",
    "nonsense",
    "http://[",
    "*",
]


@pytest.mark.parametrize("origin", LOOPBACK_ORIGINS)
def test_by_default_pages_of_loopback_origins_may_call(server, origin):
    answer = server.post("/api/backup", {}, Origin=origin)
    assert answer.status == 201
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_a_page_of_another_site_is_a_403_that_stores_and_reads_nothing(server, origin):
    nothing_happens(server, 403, Origin=origin)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:3081", "http://localhost"),
        ("192.168.0.12:3081", "http://192.168.0.12"),
        ("192.168.0.12", "https://192.168.0.12:8443"),
        ("[2001:db8::1]:81", "http://[2001:db8::1]"),
        ("203.0.113.9", "http://203.0.113.9"),
    ],
)
def test_a_page_on_the_host_it_calls_may_whatever_the_port(server, host, origin):
    assert server.get("/api/backup/list", Host=host, Origin=origin).status == 200


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_page_behind_a_proxy_that_ends_tls_and_drops_the_port_may_call(configured, scheme):
    origin = f"{scheme}://Portfolio.example:8443"
    answer = configured.post("/api/backup", {}, Host="portfolio.example", Origin=origin)
    assert answer.status == 201


def test_the_name_of_another_trusted_host_is_another_site_all_the_same(configured):
    headers = {"Host": "portfolio.example", "Origin": "https://www.portfolio.example"}
    assert_error(configured.get("/api/backup/list", **headers), 403)


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://drafts.example", 200),
        ("https://Drafts.Example", 200),
        ("https://upper.example", 200),
        ("http://drafts.example:8080", 200),
        ("http://drafts.example", 403),
        ("https://drafts.example:8443", 403),
        ("https://drafts.example.evil", 403),
        ("https://draftsxexample", 403),  # were it a regular expression, it would match
        ("https://evil.example/https://drafts.example", 403),
        ("http://localhost:4321", 403),
        ("null", 403),
    ],
)
def test_the_setting_replaces_the_default_and_means_exactly_these_origins(
    configured, origin, status
):
    headers = {"Host": "portfolio.example", "Origin": origin}
    assert configured.get("/api/backup/list", **headers).status == status


def test_a_star_written_out_is_any_origin_and_is_echoed(start_server):
    server = start_server(CORS_ORIGINS="*")
    for origin in ("https://any.example", "null"):
        answer = server.post("/api/backup", b"{}", Origin=origin, Content_Type="text/plain")
        assert answer.status == 201
        # "*" itself does not go together with credentials.
        assert answer.headers["Access-Control-Allow-Origin"] == origin
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"


def test_an_empty_setting_allows_only_pages_on_the_host_itself(start_server):
    server = start_server(CORS_ORIGINS="")
    assert_error(server.get("/api/backup/list", Origin="http://app.localhost"), 403)
    assert server.get("/api/backup/list", Origin="http://127.0.0.1:4321").status == 200


def test_who_is_no_browser_has_no_origin_and_is_not_asked_for_one(server):
    answer = server.get("/api/backup/list")
    assert answer.status == 200
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize("mode", ["no-cors", "cors", "same-origin"])
def test_another_sites_image_or_script_is_refused_though_it_has_no_origin(server, mode):
    nothing_happens(server, 403, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode=mode)


def test_another_sites_form_is_refused_though_it_has_no_origin(server):
    headers = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    before = backups_in(server.data_dir)
    assert_error(server.post("/api/backup", b"{}", Content_Type="text/plain", **headers), 403)
    assert backups_in(server.data_dir) == before


@pytest.mark.parametrize("site", ["same-origin", "same-site", "none"])
def test_what_no_other_site_began_is_not_refused(server, site):
    assert server.get("/api/backup/list", Sec_Fetch_Site=site).status == 200


# --- what browsers ask and are told ---------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("path", ["/api/backup", "/api/backup/list", "/api/restore"])
def test_a_preflight_of_an_allowed_origin_is_granted(guarded, method, path):
    answer = guarded.request(
        "OPTIONS",
        path,
        Origin="http://localhost:4321",
        Access_Control_Request_Method=method,
        Access_Control_Request_Headers="authorization,content-encoding,content-type,if-none-match",
    )
    assert answer.status in (200, 204)
    assert answer.body == b""
    assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:4321"
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert method in answer.headers["Access-Control-Allow-Methods"].split(", ")
    granted = answer.headers["Access-Control-Allow-Headers"].lower()
    assert {"authorization", "content-encoding", "content-type"} <= set(granted.split(", "))


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_a_preflight_of_another_origin_is_refused(server, origin):
    headers = {"Origin": origin, "Access_Control_Request_Method": "DELETE"}
    answer = server.request("OPTIONS", "/api/backup/2020-01-01T00-00-00", **headers)
    assert_error(answer, 403)
    assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


def test_a_preflight_from_a_public_page_to_a_private_address_is_granted(server):
    answer = server.request(
        "OPTIONS",
        "/api/backup",
        Origin="http://localhost:4321",
        Access_Control_Request_Method="POST",
        Access_Control_Request_Private_Network="true",
    )
    assert answer.headers["Access-Control-Allow-Private-Network"] == "true"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/backup", {"POST"}),
        ("/api/backup/list", {"GET", "HEAD"}),
        ("/api/backup/2020-01-01T00-00-00", {"GET", "HEAD", "DELETE"}),
        ("/api/restore", {"POST"}),
        ("/api/health", {"GET", "HEAD"}),
    ],
)
def test_options_and_a_405_tell_what_is_allowed(server, path, allowed):
    options = server.request("OPTIONS", path)
    assert (options.status, options.body) == (204, b"")
    assert not {"Content-Type", "Content-Length"} & set(options.headers)
    refused = server.request("PUT", path)
    assert_error(refused, 405)
    for answer in (options, refused):
        assert allowed <= set(answer.headers["Allow"].split(", "))
        assert not {"PUT", "PATCH"} & set(answer.headers["Allow"].split(", "))


def test_a_page_may_read_the_errors_and_headers_it_has_to_know(server):
    origin = {"Origin": "http://localhost:4321"}
    for answer, status in (
        (server.get("/api/backup/2020-01-01T00-00-00", **origin), 404),
        (server.post("/api/backup", b"nonsense", **origin), 400),
        (server.post("/api/backup", b"", Content_Type="text/html", **origin), 415),
        (server.request("PUT", "/api/backup", **origin), 405),
    ):
        assert_error(answer, status)
        assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:4321"
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    exposed = server.get("/api/backup/list", **origin).headers["Access-Control-Expose-Headers"]
    assert {"ETag", "Location", "Content-Range", "Retry-After"} <= set(exposed.split(", "))


def test_no_answer_is_taken_for_anything_but_json(server):
    for path in ("/api/health", "/api/backup/list", "/api/nothing"):
        assert server.get(path).headers["X-Content-Type-Options"] == "nosniff"


# --- the token ------------------------------------------------------------------------------------


def basic(text: str | bytes) -> str:
    return "Basic " + base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


@pytest.mark.parametrize(
    "authorization",
    [
        f"Bearer {TOKEN}",
        f"bearer {TOKEN}",
        f"BEARER  {TOKEN}",
        basic(f"anyone:{TOKEN}"),
        basic(f":{TOKEN}"),
        basic(f"a:{TOKEN}").replace("Basic", "basic"),
    ],
)
def test_with_the_token_everything_works(guarded, authorization):
    backup_id = guarded.upload({}, Authorization=authorization)["id"]
    for method, path, body in endpoints(backup_id)[:-2]:
        answer = guarded.request(
            method, path, body, Authorization=authorization, Content_Type="text/plain"
        )
        assert answer.status in (200, 201)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN.upper()}",
        f"Bearer x{TOKEN}",
        "Bearer \xe9",
        TOKEN,
        f"Token {TOKEN}",
        f"Digest {TOKEN}",
        f"Basic {TOKEN}",
        "Basic",
        "Basic !!!",
        "Basic \xff\xfe",
        "Basic =",
        basic(b"\xff\xfe"),
        basic(TOKEN.replace(":", "")),
        basic(f"{TOKEN}:"),
        basic(f"{TOKEN}:wrong"),
        basic(f"user:{TOKEN}x"),
        basic(b"user:\xff\xfe"),
        basic("user:é"),
    ],
)
def test_without_the_token_nothing_does(guarded, authorization):
    nothing_happens(guarded, 401, "Authorization", Authorization=authorization)


def test_a_request_without_any_authorization_is_a_401_that_lets_a_browser_ask(guarded):
    nothing_happens(guarded, 401)
    answer = guarded.get("/api/backup/list")
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")


def test_the_token_may_not_come_in_the_address(guarded):
    for query in (f"?token={TOKEN}", f"?access_token={TOKEN}", f"?BACKUP_TOKEN={TOKEN}"):
        assert_error(guarded.get(f"/api/backup/list{query}"), 401)


def test_a_page_of_an_allowed_origin_gets_to_read_the_401(guarded):
    answer = guarded.get("/api/backup/list", Origin="http://localhost:4321")
    assert_error(answer, 401)
    assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:4321"


def test_the_token_does_not_open_the_server_to_other_sites_or_hosts(guarded):
    token = {"Authorization": f"Bearer {TOKEN}"}
    nothing_happens(guarded, 403, Origin="https://evil.example", **token)
    nothing_happens(guarded, 400, "TRUSTED_HOSTS", Host="evil.example", **token)


def test_the_token_is_compared_in_constant_time(tmp_path, monkeypatch):
    compared = []

    def compare(given, expected):
        compared.append((given, expected))
        return compare_digest(given, expected)

    monkeypatch.setattr("backup_server.access.hmac.compare_digest", compare)
    client = create_app(Settings(data_dir=tmp_path / "data", token="right")).test_client()
    for given, status in (("r", 401), ("wrong", 401), ("right", 200)):
        for header in (f"Bearer {given}", basic(f"user:{given}")):
            answer = client.get("/api/backup/list", headers={"Authorization": header})
            assert answer.status_code == status
            assert compared.pop() == (given.encode(), b"right")


def test_health_asks_for_no_token(guarded):
    assert guarded.get("/api/health").status == 200
    assert guarded.get("/api/health", Authorization="Bearer wrong").status == 200


@pytest.mark.parametrize(
    "path",
    ["/api/health/", "//api/health/../backup/list", "/api/health/../backup/list", "/api/HEALTH"],
)
def test_no_other_spelling_of_health_opens_anything_else(guarded, path):
    assert_error(guarded.get(path), 401)


def test_without_the_setting_an_authorization_is_not_looked_at(server):
    assert server.get("/api/backup/list", Authorization="Bearer anything").status == 200


@pytest.mark.parametrize(
    ("target", "status"),
    [("http://evil.example", 400), ("http://localhost:1", 200), ("HTTP://EVIL.example:80", 400)],
)
def test_a_target_that_names_a_host_itself_overrides_the_header(server, target, status):
    """RFC 9112, section 3.2.2."""
    answer = server.get(f"{target}/api/backup/list")
    assert answer.status == status
    if status == 400:
        assert_error(answer, 400, "TRUSTED_HOSTS")
