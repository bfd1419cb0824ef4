"""What a page on another origin can do to this server from a real Chromium: nothing.

The attacker's site is a name that the browser resolves to this machine, so nothing but the server
stands in its way. Each attempt has to reach the server and be refused there; that the browser hides
the answer as well is not counted on.
"""

import http.server
import threading
import time
from collections.abc import Iterator
from urllib.parse import unquote

import pytest
from playwright.sync_api import Page
from support import Server, strays_in

UPLOAD = '{"atoms":["from the attacker"]}'
ATTEMPTS = {
    "fetch of text": "fetch(url, {method: 'POST', body})",
    "fetch in silence": "fetch(url, {method: 'POST', body, mode: 'no-cors'})",
    "fetch with credentials": "fetch(url, {method: 'POST', body, credentials: 'include'})",
    "fetch that outlives the page": "fetch(url, {method: 'POST', body, keepalive: true})",
    "fetch without a referrer": "fetch(url, {method: 'POST', body, referrerPolicy: 'no-referrer'})",
    "fetch of no type": "fetch(url, {method: 'POST', body: new Blob([body])})",
    "XMLHttpRequest": """new Promise(done => {
        const request = new XMLHttpRequest();
        request.open('POST', url);
        request.onloadend = done;
        request.send(body);
    })""",
    "beacon": "navigator.sendBeacon(url, body)",
    "beacon of no type": "navigator.sendBeacon(url, new Blob([body]))",
    "reading": "fetch(server + '/api/backup/latest').then(answer => answer.text())",
    "reading in silence": "fetch(server + '/api/backup/latest', {mode: 'no-cors'})",
    "restoring": "fetch(server + '/api/restore', {method: 'POST', body: restore})",
    "image": "element('img', server + '/api/backup/latest')",
    "script": "element('script', server + '/api/backup/list')",
    "style sheet": "element('link', server + '/api/backup/list')",
    "frame": "element('iframe', server + '/api/backup/latest')",
    "embedding": "element('embed', server + '/api/backup/latest')",
    "form of text": "form('text/plain')",
    "form of fields": "form('application/x-www-form-urlencoded')",
    "form of parts": "form('multipart/form-data')",
    "event source": """new Promise(done => {
        const events = new EventSource(server + '/api/backup/latest');
        events.onerror = () => { events.close(); done(); };
    })""",
    "redirect": "fetch('/redirect?' + encodeURIComponent(url), {method: 'POST', body})",
    "sandboxed frame": "sandboxed(`fetch('${url}', {method: 'POST', body: '${body}'})`)",
    "sandboxed beacon": "sandboxed(`navigator.sendBeacon('${url}', '${body}')`)",
}
# These ask first, and are not sent once the preflight is refused.
PREFLIGHTED = {
    "fetch of JSON": "fetch(url, {method: 'POST', body, headers: {'Content-Type': json}})",
    "fetch of gzip": "fetch(url, {method: 'POST', body, headers: {'Content-Type': gzip}})",
    "deleting": "fetch(server + '/api/backup/' + id, {method: 'DELETE'})",
    "beacon of JSON": "navigator.sendBeacon(url, new Blob([body], {type: json}))",
    "a token": "fetch(url, {method: 'POST', body, headers: {Authorization: 'Bearer guess'}})",
}
PRELUDE = """
const [server, id, body] = given, url = server + '/api/backup';
const json = 'application/json', gzip = 'application/gzip';
const restore = JSON.stringify({backupId: id});
const element = (name, address) => new Promise(done => {
    const made = document.createElement(name);
    made.onload = made.onerror = done;
    if (name === 'link') { made.rel = 'stylesheet'; made.href = address; } else made.src = address;
    document.body.append(made);
});
const form = type => new Promise(done => {
    const frame = document.createElement('iframe');
    frame.name = 'target' + Math.random();
    document.body.append(frame);
    const made = document.createElement('form');
    Object.assign(made, {method: 'POST', action: url, enctype: type, target: frame.name});
    // As text, a name and a value with = between them can be one JSON object.
    const field = Object.assign(document.createElement('input'), {
        name: '{"atoms":["from the attacker"],"rest":"', value: '"}',
    });
    made.append(field);
    document.body.append(made);
    frame.onload = done;
    made.submit();
});
const sandboxed = script => new Promise(done => {
    const frame = document.createElement('iframe');
    frame.sandbox = 'allow-scripts';
    window.addEventListener('message', done, {once: true});
    const tell = "parent.postMessage('done', '*')";
    frame.srcdoc = `<script>Promise.resolve(${script}).then(() => 0, () => 0)` +
        `.then(() => ${tell})</` + 'script>';
    document.body.append(frame);
});
"""


class Site(http.server.BaseHTTPRequestHandler):
    """The attacker's site: an empty page, and a redirect to wherever is asked."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Evil</title><body>")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(307)
        self.send_header("Location", unquote(self.path.partition("?")[2]))
        self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()

    def log_message(self, *_) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def page(browser) -> Iterator[Page]:
    page = browser.new_page()
    yield page
    page.close()


@pytest.fixture(scope="module")
def victim(shared_server) -> tuple[Server, str]:
    """A server, and the id of the only backup there."""
    return shared_server, upload_mine(shared_server)


def upload_mine(server: Server) -> str:
    backup_id = server.upload({"atoms": ["mine"]})["id"]
    while "POST /api/backup 201" not in server.log:  # logged after it was answered
        time.sleep(0.01)
    return backup_id


def attempt(page: Page, victim: tuple[Server, str], script: str) -> list[str]:
    """Run an attempt in a page; return the lines that the server logged for it."""
    server, backup_id = victim
    before = len(server.log)
    given = [f"http://localhost:{server.port}", backup_id, UPLOAD]
    page.evaluate(
        f"async given => {{ {PRELUDE} try {{ await ({script}); }} catch (error) {{}} }}", given
    )
    for _ in range(100):
        lines = [line for line in server.log[before:].splitlines() if "/api/" in line]
        if lines:
            break
        page.wait_for_timeout(20)
    page.wait_for_timeout(50)
    return [line for line in server.log[before:].splitlines() if "/api/" in line]


def check_untouched(victim: tuple[Server, str]) -> None:
    server, backup_id = victim
    assert server.listed() == [backup_id]
    assert server.get("/api/backup/latest").json["data"]["atoms"] == ["mine"]
    assert strays_in(server.data_dir) == []


@pytest.mark.parametrize("script", ATTEMPTS.values(), ids=ATTEMPTS)
def test_a_page_of_another_origin_is_refused_whatever_it_sends(page, victim, site, script):
    page.goto(f"http://evil.test:{site}/")
    lines = attempt(page, victim, script)
    assert lines, "nothing reached the server, so nothing was shown"
    assert {line.split()[2] for line in lines} == {"403"}, lines
    check_untouched(victim)


@pytest.mark.parametrize("script", PREFLIGHTED.values(), ids=PREFLIGHTED)
def test_what_asks_first_is_told_no_and_not_sent(page, victim, site, script):
    page.goto(f"http://evil.test:{site}/")
    lines = attempt(page, victim, script)
    assert [line.split()[0::2][:2] for line in lines] == [["OPTIONS", "403"]], lines
    check_untouched(victim)


def test_a_page_whose_name_points_at_the_server_is_refused(page, victim):
    server, backup_id = victim
    page.goto(f"http://rebind.test:{server.port}/api/health")  # which needs no trusted name
    origin = f"http://rebind.test:{server.port}"
    for script in (
        "fetch('/api/backup/list').then(answer => answer.text())",
        f"fetch('/api/backup/{backup_id}').then(answer => answer.text())",
        "fetch('/api/backup', {method: 'POST', body: '{}'}).then(answer => answer.text())",
        f"fetch('/api/backup/{backup_id}', {{method: 'DELETE'}}).then(answer => answer.text())",
        "fetch('/api/restore', {method: 'POST', body: '{}'}).then(answer => answer.text())",
    ):
        assert "TRUSTED_HOSTS" in page.evaluate(script), origin
    check_untouched(victim)


def test_a_person_may_follow_a_link_from_anywhere(page, victim, site):
    server, backup_id = victim
    page.goto(f"http://evil.test:{site}/")
    address = f"http://localhost:{server.port}/api/backup/{backup_id}"
    with page.expect_navigation(url=address) as navigation:
        page.evaluate("address => { location = address; }", address)
    assert navigation.value.status == 200


def test_a_page_of_the_portfolio_may_do_all_of_it(page, start_server, site):
    """The same attempts succeed from an origin that is allowed, so it is the origin that counts."""
    server = start_server()
    backup_id = upload_mine(server)
    page.goto(f"http://localhost:{site}/")
    for script, status in {
        ATTEMPTS["fetch with credentials"]: "201",
        ATTEMPTS["beacon"]: "201",
        PREFLIGHTED["beacon of JSON"]: "201",
        ATTEMPTS["reading"]: "200",
        PREFLIGHTED["deleting"]: "200",
    }.items():
        lines = attempt(page, (server, backup_id), script)
        assert lines[-1].split()[2] == status, lines
    assert backup_id not in server.listed()
    assert len(server.listed()) == 3
