"""Who may call: host names, origins, the token, and what browsers are told of it."""

import base64
from hmac import compare_digest

import pytest
from support import Client, assert_error, backups_in

TOKEN = "s3cret:with=signs/+~"
LOOPBACK = "http://localhost:4321"
OWN = {
    "TRUSTED_HOSTS": "portfolio.example, *.Portfolio.example,192.0.2.7,[2001:db8::1]",
    "CORS_ORIGINS": "https://drafts.example,HTTPS://Upper.Example:443 ,http://drafts.example:8080",
}


@pytest.fixture
def guarded(make_client) -> Client:
    """The application asking for a token."""
    return make_client(BACKUP_TOKEN=TOKEN)


def basic(text: str | bytes) -> str:
    return "Basic " + base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def endpoints(backup_id: str) -> list[tuple[str, str, bytes | None]]:
    """Every endpoint but health, as a request that would succeed, and two addresses of nothing."""
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


def nothing_happens(client: Client, status: int, *words: str, token="", **headers: str) -> None:
    """Check that every endpoint refuses a request with these headers and does nothing."""
    own = {"Authorization": f"Bearer {token}"} if token else {}
    backup_id = client.upload({"atoms": ["SECRET"]}, **own)["id"]
    before = backups_in(client.data_dir)
    for method, path, body in endpoints(backup_id):
        answer = client.request(method, path, body, **{"Content_Type": "text/plain"} | headers)
        if method == "HEAD":
            assert answer.status == status
        else:
            assert_error(answer, status, *words)
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert backups_in(client.data_dir) == before


# --- hosts ----------------------------------------------------------------------------------------

HOSTS = {
    True: "localhost|LOCALHOST|localhost:3081|localhost.|app.localhost|a.b.localhost:1|127.0.0.1"
    "|127.0.0.1:65535|192.168.0.12|203.0.113.9:80|[::1]|[::1]:3081|[2001:DB8::7]|[::ffff:127.0.0.1]",
    False: "evil.example|evil.example:3081|localhost.evil.example|evil-localhost|evillocalhost"
    "|127.0.0.1.evil.example|127.0.0.1.nip.io|127.1|2130706433|0x7f000001|[::1|::1|localhost:"
    "|localhost:x|localhost:3081:3081|evil@localhost|localhost evil|localhost,evil.example"
    "|localhost/evil|",
}
OWN_HOSTS = {
    True: "portfolio.example|Portfolio.Example:3080|portfolio.example.|www.portfolio.example"
    "|a.b.portfolio.example|192.0.2.7:80|[2001:db8::1]:80",
    False: "evilportfolio.example|portfolio.example.evil|192.0.2.8|localhost|127.0.0.1"
    "|app.localhost",
}


@pytest.mark.parametrize("host", HOSTS[True].split("|"))
def test_by_default_localhost_and_any_ip_address_are_trusted(client, host):
    assert client.get("/api/backup/list", Host=host).status == 200


@pytest.mark.parametrize("host", HOSTS[False].split("|"))
def test_any_other_host_is_a_400_that_names_the_setting(client, host):
    nothing_happens(client, 400, "TRUSTED_HOSTS", Host=host)


@pytest.mark.parametrize("name", ["X_Forwarded_Host", "Forwarded", "X_Host", "X_Original_Host"])
def test_other_headers_that_tell_a_host_are_not_asked(client, name):
    assert client.get("/api/backup/list", **{name: "evil.example"}).status == 200
    headers = {name: "localhost", "Host": "evil.example"}
    assert_error(client.get("/api/backup/list", **headers), 400, "TRUSTED_HOSTS")


@pytest.mark.parametrize("trusted", [True, False])
def test_the_setting_replaces_the_trusted_hosts(make_client, trusted):
    client = make_client(**OWN)
    for host in OWN_HOSTS[trusted].split("|"):
        answer = client.get("/api/backup/list", Host=host)
        assert answer.status == (200 if trusted else 400), host


def test_a_starred_name_is_its_subdomains_and_not_the_name_itself(make_client):
    client = make_client(TRUSTED_HOSTS="*.portfolio.example")
    assert client.get("/api/backup/list", Host="www.portfolio.example").status == 200
    assert_error(client.get("/api/backup/list", Host="portfolio.example"), 400, "TRUSTED_HOSTS")


# --- origins --------------------------------------------------------------------------------------

ORIGINS = {
    True: "http://localhost|http://localhost:4321|https://localhost:8443|http://127.0.0.1:5173"
    "|http://127.8.9.1|http://[::1]:3000|http://app.localhost:3000",
    False: "https://evil.example|null|http://localhost.evil.example|http://evil-localhost"
    "|http://127.0.0.1.evil.example|http://192.168.0.5|http://[2001:db8::1]|http://0.0.0.0"
    "|http://localhost@evil.example|file://|chrome-extension://abcdefghijklmnop|http://|nonsense"
    "|http://[|*",
}
OWN_ORIGINS = {
    True: "https://drafts.example|https://Drafts.Example|https://upper.example"
    "|http://drafts.example:8080|https://portfolio.example:8443|http://portfolio.example",
    False: "http://drafts.example|https://drafts.example:8443|https://drafts.example.evil"
    "|https://draftsxexample|https://evil.example/https://drafts.example|http://localhost:4321|null"
    "|https://www.portfolio.example",
}


@pytest.mark.parametrize("origin", ORIGINS[True].split("|"))
def test_by_default_pages_of_loopback_origins_may_call(client, origin):
    answer = client.post("/api/backup", {}, Origin=origin)
    assert answer.status == 201
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize("origin", ORIGINS[False].split("|"))
def test_a_page_of_another_site_is_a_403_that_stores_and_reads_nothing(client, origin):
    nothing_happens(client, 403, "CORS_ORIGINS", Origin=origin)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:3081", "http://localhost"),
        ("192.168.0.12:3081", "http://192.168.0.12"),
        ("192.168.0.12", "https://192.168.0.12:8443"),
        ("[2001:db8::1]:81", "http://[2001:db8::1]"),
    ],
)
def test_a_page_on_the_host_it_calls_may_whatever_the_port(make_client, host, origin):
    for client in (make_client(), make_client(CORS_ORIGINS="")):
        answer = client.get("/api/backup/list", Host=host, Origin=origin)
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, origin)


@pytest.mark.parametrize("allowed", [True, False])
def test_the_setting_replaces_the_allowed_origins(make_client, allowed):
    client = make_client(**OWN)
    for origin in OWN_ORIGINS[allowed].split("|"):
        answer = client.get("/api/backup/list", Host="portfolio.example", Origin=origin)
        assert answer.status == (200 if allowed else 403), origin


def test_a_star_written_out_is_any_origin_and_is_echoed(make_client):
    client = make_client(CORS_ORIGINS="*")
    for origin in ("https://any.example", "null"):
        answer = client.post("/api/backup", b"{}", Origin=origin, Content_Type="text/plain")
        assert answer.status == 201
        # "*" itself does not go together with credentials.
        assert answer.headers["Access-Control-Allow-Origin"] == origin
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"


def test_an_empty_setting_allows_only_pages_on_the_host_itself(make_client):
    client = make_client(CORS_ORIGINS="")
    assert_error(client.get("/api/backup/list", Origin="http://app.localhost"), 403)
    assert client.get("/api/backup/list", Origin=LOOPBACK).status == 200


def test_a_program_has_no_origin_and_is_asked_for_none(client):
    answer = client.get("/api/backup/list")
    assert answer.status == 200
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize("mode", ["no-cors", "cors", "same-origin"])
def test_another_sites_image_or_script_is_refused_though_it_has_no_origin(client, mode):
    nothing_happens(client, 403, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode=mode)


def test_a_person_may_follow_a_link_of_another_site(client):
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    assert client.get("/api/backup/list", **link).status == 200
    for origin in ("https://evil.example", "null"):  # a form has one
        assert_error(client.post("/api/backup", b"{}", Origin=origin, **link), 403)


@pytest.mark.parametrize("site", ["same-origin", "same-site", "none"])
def test_a_request_that_no_other_site_began_is_answered(client, site):
    assert client.get("/api/backup/list", Sec_Fetch_Site=site).status == 200


# --- what browsers ask and are told ---------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("path", ["/api/backup", "/api/backup/list", "/api/restore"])
def test_a_preflight_of_an_allowed_origin_is_granted_without_the_token(guarded, method, path):
    answer = guarded.request(
        "OPTIONS",
        path,
        Origin=LOOPBACK,
        Access_Control_Request_Method=method,
        Access_Control_Request_Headers="authorization,content-encoding,content-type,if-none-match",
        Access_Control_Request_Private_Network="true",
    )
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == LOOPBACK
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert answer.headers["Access-Control-Allow-Private-Network"] == "true"
    assert method in answer.headers["Access-Control-Allow-Methods"].split(", ")
    granted = answer.headers["Access-Control-Allow-Headers"].lower()
    assert {"authorization", "content-encoding", "content-type"} <= set(granted.split(", "))


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_a_preflight_of_another_origin_is_refused(client, origin):
    headers = {"Origin": origin, "Access_Control_Request_Method": "DELETE"}
    answer = client.request("OPTIONS", "/api/backup/2020-01-01T00-00-00", **headers)
    assert_error(answer, 403)
    assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/backup/2020-01-01T00-00-00", None, 404),
        ("POST", "/api/backup", b"nonsense", 400),
        ("PUT", "/api/backup", None, 405),
        ("GET", "/api/nothing", None, 404),
        ("GET", "/api/backup/list", None, 401),
    ],
)
def test_a_page_may_read_the_errors(make_client, method, path, body, status):
    client = make_client(BACKUP_TOKEN=TOKEN) if status == 401 else make_client()
    answer = client.request(method, path, body, Origin=LOOPBACK)
    assert_error(answer, status)
    assert answer.headers["Access-Control-Allow-Origin"] == LOOPBACK
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    exposed = set(answer.headers["Access-Control-Expose-Headers"].split(", "))
    assert {"ETag", "Location", "Content-Range", "Retry-After"} <= exposed


def test_no_answer_is_taken_for_anything_but_json(client):
    for path in ("/api/health", "/api/backup/list", "/api/nothing"):
        assert client.get(path).headers["X-Content-Type-Options"] == "nosniff"


# --- the token ------------------------------------------------------------------------------------

RIGHT = [
    *(f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER  {TOKEN}", basic(f"anyone:{TOKEN}")),
    *(basic(f":{TOKEN}"), basic(f"a:{TOKEN}").replace("Basic", "basic")),
]
WRONG = [
    *("", "Bearer", "Bearer ", "Bearer wrong", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"),
    *(f"Bearer {TOKEN.upper()}", f"Bearer x{TOKEN}", "Bearer \xe9", TOKEN, f"Token {TOKEN}"),
    *(f"Digest {TOKEN}", f"Basic {TOKEN}", "Basic", "Basic !!!", "Basic \xff\xfe", "Basic ="),
    *(basic(b"\xff\xfe"), basic(TOKEN.replace(":", "")), basic(f"{TOKEN}:"), basic("user:é")),
    *(basic(f"{TOKEN}:wrong"), basic(f"user:{TOKEN}x"), basic(b"user:\xff\xfe")),
]


@pytest.mark.parametrize("authorization", RIGHT)
def test_with_the_token_everything_works(guarded, authorization):
    own = {"Authorization": authorization, "Content_Type": "text/plain"}
    backup_id = guarded.upload({}, **own)["id"]
    for method, path, body in endpoints(backup_id)[:-2]:
        assert guarded.request(method, path, body, **own).status in (200, 201)


@pytest.mark.parametrize("authorization", WRONG)
def test_without_the_token_nothing_does(guarded, authorization):
    nothing_happens(guarded, 401, "Authorization", token=TOKEN, Authorization=authorization)


def test_a_401_lets_a_browser_ask_but_not_for_a_program_that_sent_a_token(guarded):
    nothing_happens(guarded, 401, token=TOKEN)
    asked = guarded.get("/api/backup/list").headers["WWW-Authenticate"]
    assert asked.startswith("Basic ")
    answer = guarded.get("/api/backup/list", Authorization="Bearer wrong")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")


def test_the_token_may_not_come_in_the_address(guarded):
    for name in ("token", "access_token", "BACKUP_TOKEN"):
        assert_error(guarded.get(f"/api/backup/list?{name}={TOKEN}"), 401)


def test_the_token_does_not_open_the_server_to_other_sites_or_hosts(guarded):
    own = {"token": TOKEN, "Authorization": f"Bearer {TOKEN}"}
    nothing_happens(guarded, 403, Origin="https://evil.example", **own)
    nothing_happens(guarded, 400, "TRUSTED_HOSTS", Host="evil.example", **own)


def test_the_token_is_compared_in_constant_time(make_client, monkeypatch):
    compared = []

    def compare(given, expected):
        compared.append((given, expected))
        return compare_digest(given, expected)

    monkeypatch.setattr("hmac.compare_digest", compare)
    client = make_client(BACKUP_TOKEN="right")
    for given, status in (("r", 401), ("wrong", 401), ("right", 200)):
        for header in (f"Bearer {given}", basic(f"user:{given}")):
            assert client.get("/api/backup/list", Authorization=header).status == status
            assert compared.pop() == (given.encode(), b"right")


@pytest.mark.parametrize(
    "path",
    ["/api/health/", "//api/health/../backup/list", "/api/health/../backup/list", "/api/HEALTH"],
)
def test_no_other_spelling_of_health_opens_anything_else(guarded, path):
    assert guarded.get("/api/health", Authorization="Bearer wrong").status == 200
    assert_error(guarded.get(path), 401)


def test_without_the_setting_an_authorization_is_not_looked_at(client):
    assert client.get("/api/backup/list", Authorization="Bearer anything").status == 200
