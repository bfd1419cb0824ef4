"""Who may call: host names, origins, the token, and the CORS headers for browsers."""

import base64

import pytest
from support import Client, assert_error, backups_in

TOKEN = "s3cret:with=signs/+~"
LOOPBACK = "http://localhost:4321"
EVIL = "https://evil.example"


@pytest.fixture
def guarded(make_client) -> Client:
    return make_client(BACKUP_TOKEN=TOKEN)


def basic(text: str | bytes) -> str:
    return "Basic " + base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def endpoints(backup_id: str) -> list[tuple[str, str, bytes | None]]:
    """Every endpoint but health, as a request that would succeed, and addresses of nothing."""
    paths = ("/api/backup/list", "/api/backup/latest", f"/api/backup/{backup_id}")
    others = ("/api/nothing", "/api/health/", "/api/HEALTH")
    return [
        ("POST", "/api/backup", b"{}"),
        ("POST", "/api/restore", b'{"backupId":"%s"}' % backup_id.encode()),
        *(("GET", path, None) for path in (*paths, *others)),
        ("DELETE", f"/api/backup/{backup_id}", None),
    ]


def nothing_happens(client: Client, status: int, *words: str, **headers: str) -> None:
    """Check that every endpoint refuses a request with these headers and does nothing."""
    backup_id = Client(client.data_dir).upload({"atoms": ["SECRET"]})["id"]
    before = backups_in(client.data_dir)
    for request in endpoints(backup_id):
        answer = client.request(*request, **{"Content_Type": "text/plain"} | headers)
        assert_error(answer, status, *words)
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert backups_in(client.data_dir) == before


def cases(table: list[tuple[dict, str, str]], column: int) -> list[tuple[dict, str]]:
    """Return (environment, name) for each name in a column of a table."""
    return [(row[0], name) for row in table for name in row[column].split("|") if row[column]]


# --- hosts ----------------------------------------------------------------------------------------

# Settings, the hosts that are trusted with them, and those that are not.
HOSTS = [
    (
        {},
        "LOCALHOST|localhost:3081|localhost.|a.b.localhost:1|127.0.0.1:65535|203.0.113.9:80"
        "|[::1]:3081|[2001:DB8::7]",
        "evil.example:3081|localhost.evil.example|evil-localhost|evillocalhost"
        "|127.0.0.1.evil.example|127.1|2130706433|0x7f000001|[::1|::1|localhost:|localhost:x"
        "|localhost:3081:3081|evil@localhost|localhost,evil.example|localhost/evil|",
    ),
    (
        {"TRUSTED_HOSTS": "portfolio.example, *.Portfolio.example,192.0.2.7,[2001:db8::1]"},
        "Portfolio.Example:3080|portfolio.example.|a.b.portfolio.example|192.0.2.7:80"
        "|[2001:db8::1]:80",
        "evilportfolio.example|portfolio.example.evil|192.0.2.8|localhost|127.0.0.1",
    ),
    ({"TRUSTED_HOSTS": "*.portfolio.example"}, "www.portfolio.example", "portfolio.example"),
]


@pytest.mark.parametrize(("environ", "host"), cases(HOSTS, 1))
def test_a_trusted_host_is_answered(make_client, environ, host):
    assert make_client(**environ).get("/api/backup/list", Host=host).status == 200


@pytest.mark.parametrize(("environ", "host"), cases(HOSTS, 2))
def test_any_other_host_is_a_400_that_names_the_setting(make_client, environ, host):
    also = {"X_Forwarded_Host": "localhost", "Forwarded": "host=localhost"}
    nothing_happens(make_client(**environ), 400, "TRUSTED_HOSTS", Host=host, **also)


# --- origins --------------------------------------------------------------------------------------

# Settings, the origins that may call a server on 127.0.0.1 with them, and those that may not.
ORIGINS = [
    (
        {},
        "http://localhost|https://localhost:8443|http://127.8.9.1|http://[::1]:3000"
        "|http://app.localhost:3000",
        "https://evil.example|null|http://localhost.evil.example|http://evil-localhost"
        "|http://127.0.0.1.evil.example|http://192.168.0.5|http://[2001:db8::1]|http://0.0.0.0"
        "|http://localhost@evil.example|file://|chrome-extension://abcdefghijklmnop|http://[|*",
    ),
    (
        {"CORS_ORIGINS": "https://a.example,HTTPS://Upper.Example:443 ,http://a.example:8080"},
        "https://A.example|https://upper.example|http://a.example:8080|http://127.0.0.1:8443",
        "http://a.example|https://a.example:8443|https://a.example.evil|null|https://axexample"
        "|https://evil.example/https://a.example|http://localhost:4321",
    ),
    # "*" itself does not go together with credentials: the origin is echoed.
    ({"CORS_ORIGINS": "*"}, "https://any.example|null", ""),
    ({"CORS_ORIGINS": ""}, "https://127.0.0.1:8443", "http://app.localhost"),
]


@pytest.mark.parametrize(("environ", "origin"), cases(ORIGINS, 1))
def test_a_page_of_an_allowed_origin_may_call_and_read_errors_too(make_client, environ, origin):
    client = make_client(**environ)
    headers = {"Host": "127.0.0.1:3081", "Origin": origin, "Content_Type": "text/plain"}
    for path, status in (("/api/backup", 201), ("/api/nothing", 404), ("/api/health", 405)):
        answer = client.post(path, b"{}", **headers)
        assert answer.status == status
        assert answer.headers["Access-Control-Allow-Origin"] == origin
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert "Origin" in answer.headers["Vary"]
        exposed = set(answer.headers["Access-Control-Expose-Headers"].split(", "))
        assert {"ETag", "Location", "Content-Range", "Retry-After"} <= exposed


@pytest.mark.parametrize(("environ", "origin"), cases(ORIGINS, 2))
def test_a_page_of_another_site_is_a_403_that_stores_and_reads_nothing(
    make_client, environ, origin
):
    nothing_happens(make_client(**environ), 403, "CORS_ORIGINS", Host="127.0.0.1", Origin=origin)


def test_a_person_may_follow_a_link_of_another_site_which_may_not_send_frames_or_forms(client):
    for what in ("empty", "image", "iframe"):
        nothing_happens(client, 403, Sec_Fetch_Site="cross-site", Sec_Fetch_Dest=what)
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "document"}
    answer = client.get("/api/backup/list", **link)
    assert answer.status == 200
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert_error(client.post("/api/backup", {}, **link), 403)


def test_a_preflight_of_an_allowed_origin_alone_is_granted_and_without_the_token(guarded):
    headers = "authorization, content-encoding, content-type"
    asked = {"Access_Control_Request_Headers": headers}
    asked["Access_Control_Request_Private_Network"] = "true"
    for method, path in (("POST", "/api/backup"), ("DELETE", "/api/backup/x")):
        asked["Access_Control_Request_Method"] = method
        answer = guarded.request("OPTIONS", path, Origin=LOOPBACK, **asked)
        assert (answer.status, answer.body) == (204, b"")
        assert "Content-Type" not in answer.headers
        assert answer.headers["Access-Control-Allow-Origin"] == LOOPBACK
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert answer.headers["Access-Control-Allow-Private-Network"] == "true"
        assert method in answer.headers["Access-Control-Allow-Methods"].split(", ")
        assert answer.headers["Access-Control-Allow-Headers"].lower() == headers
        refused = guarded.request("OPTIONS", path, Origin=EVIL, **asked)
        assert_error(refused, 403)
        assert "access-control-" not in str(refused.headers).lower()


# --- the token ------------------------------------------------------------------------------------

RIGHT = [
    *(f"Bearer {TOKEN}", f"BEARER  {TOKEN}", basic(f"anyone:{TOKEN}")),
    *(basic(f":{TOKEN}"), basic(f"a:{TOKEN}").replace("Basic", "basic")),
]
WRONG = [
    *("", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer \xe9"),
    *(f"Bearer {TOKEN.upper()}", TOKEN, f"Token {TOKEN}", f"Basic {TOKEN}", "Basic"),
    *("Basic !!!", "Basic \xff\xfe", basic(TOKEN.replace(":", "")), basic(f"{TOKEN}:")),
    *(basic("user:é"), basic(f"user:{TOKEN}x"), basic(b"user:\xff\xfe")),
]


@pytest.mark.parametrize("authorization", RIGHT)
def test_with_the_token_everything_works(guarded, authorization):
    own = {"Authorization": authorization, "Content_Type": "text/plain"}
    backup_id = guarded.upload({}, **own)["id"]
    answers = [guarded.request(*request, **own).status for request in endpoints(backup_id)]
    assert answers == [201, 200, 200, 200, 200, 404, 404, 404, 200]
    # But not to other sites or hosts.
    nothing_happens(guarded, 403, Origin=EVIL, **own)
    nothing_happens(guarded, 400, "TRUSTED_HOSTS", Host="evil.example", **own)


@pytest.mark.parametrize("authorization", WRONG)
def test_without_the_token_nothing_does(guarded, authorization):
    nothing_happens(guarded, 401, "Authorization", Authorization=authorization)
    # A browser is let to ask its user, but not for a program that has sent a token.
    scheme = "Bearer" if authorization.startswith("Bearer ") else "Basic"
    answer = guarded.get("/api/backup/list?token=" + TOKEN, Authorization=authorization)
    assert answer.headers["WWW-Authenticate"].startswith(f"{scheme} ")


def test_the_token_is_compared_in_constant_time(guarded, monkeypatch):
    compared = []
    monkeypatch.setattr("hmac.compare_digest", lambda *texts: bool(compared.append(texts)))
    for header in ("Bearer given", basic("user:given")):
        assert guarded.get("/api/backup/list", Authorization=header).status == 401
    assert compared == [(b"given", TOKEN.encode())] * 2
