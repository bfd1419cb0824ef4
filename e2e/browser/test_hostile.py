"""What a page on another origin can do to this server from a real Chromium: nothing.

The attacker's site is a name that the browser resolves to this machine, so nothing but the server
stands in its way. Each attempt has to reach the server and be refused there; that the browser hides
the answer as well is not counted on.
"""

import http.server
import threading
import time
from urllib.parse import unquote

import pytest
from support import strays_in, wait_until

BEACON = "navigator.sendBeacon(url, body)"
READING = "fetch(latest).then((answer) => answer.text())"
ATTEMPTS = [
    BEACON,
    READING,
    "navigator.sendBeacon(url, new Blob([body]))",
    "fetch(url, {method: 'POST', body})",
    "fetch(url, {method: 'POST', body, mode: 'no-cors'})",
    "fetch(url, {method: 'POST', body, credentials: 'include'})",
    "fetch(url, {method: 'POST', body, referrerPolicy: 'no-referrer'})",
    "fetch('/redirect?' + encodeURIComponent(url), {method: 'POST', body})",
    "fetch(server + '/api/restore', {method: 'POST', body: JSON.stringify({backupId: id})})",
    "fetch(latest, {mode: 'no-cors'})",
    "request('POST', url, body)",
    "events(latest)",
    "element('img', {src: latest})",
    "element('script', {src: server + '/api/backup/list'})",
    "element('link', {rel: 'stylesheet', href: server + '/api/backup/list'})",
    "element('iframe', {src: latest})",
    "element('embed', {src: latest})",
    "form('text/plain')",
    "form('application/x-www-form-urlencoded')",
    "form('multipart/form-data')",
    "sandboxed(`fetch('${url}', {method: 'POST', body: '${body}'})`)",
    "sandboxed(`navigator.sendBeacon('${url}', '${body}')`)",
]
# These ask first, and are not sent once the preflight is refused.
DELETING = "fetch(server + '/api/backup/' + id, {method: 'DELETE'})"
JSON_BEACON = "navigator.sendBeacon(url, new Blob([body], {type: json}))"
PREFLIGHTED = [
    DELETING,
    JSON_BEACON,
    "fetch(url, {method: 'POST', body, headers: {'Content-Type': json}})",
    "fetch(url, {method: 'POST', body, headers: {Authorization: 'Bearer guess'}})",
]
PRELUDE = """
const url = server + '/api/backup', latest = url + '/latest', json = 'application/json';
const body = '{"atoms":["from the attacker"]}';
const request = (method, address, text) => new Promise((done) => {
    const made = Object.assign(new XMLHttpRequest(), {onloadend: done});
    made.open(method, address);
    made.send(text);
});
const events = (address) => new Promise((done) => {
    const source = new EventSource(address);
    source.onerror = () => { source.close(); done(); };
});
const element = (name, members) => new Promise((done) => {
    const made = Object.assign(document.createElement(name), members);
    made.onload = made.onerror = done;
    document.body.append(made);
});
const form = (enctype) => {
    const made = document.createElement('form');
    Object.assign(made, {method: 'POST', action: url, enctype, target: 'target'});
    // As text, a name and a value with = between them can be one JSON object.
    const name = '{"atoms":["from the attacker"],"rest":"';
    made.append(Object.assign(document.createElement('input'), {name, value: '"}'}));
    document.body.append(made);
    const loaded = element('iframe', {name: 'target'});
    made.submit();
    return loaded;
};
const sandboxed = (script) => new Promise((done) => {
    window.addEventListener('message', done, {once: true});
    const tell = "parent.postMessage('done', '*')";
    const srcdoc = `<script>Promise.resolve(${script}).catch(() => 0).then(() => ${tell})</` +
        'script>';
    void element('iframe', {sandbox: 'allow-scripts', srcdoc});
});
"""


class Site(http.server.BaseHTTPRequestHandler):
    """The attacker's site: an empty page, and a redirect to wherever is asked."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Evil</title><body>")

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(307)
        self.send_header("Location", unquote(self.path.partition("?")[2]))
        self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def page(browser):
    page = browser.new_page()
    yield page
    page.close()


@pytest.fixture
def mine(server):
    """The id of the only backup on the server."""
    before = server.log.count("POST /api/backup 201")
    backup_id = server.upload({"atoms": ["mine"]})["id"]
    wait_until(lambda: server.log.count("POST /api/backup 201") > before)  # answered before
    return backup_id


def attempt(page, server, backup_id, script):
    """Run an attempt in a page; return method and status of each request that it led to."""
    before = len(server.log)
    page.evaluate(
        f"async ([server, id]) => {{ {PRELUDE} try {{ await ({script}); }} catch (error) {{}} }}",
        [f"http://localhost:{server.port}", backup_id],
    )

    def logged():
        lines = [line.split() for line in server.log[before:].splitlines() if "/api/" in line]
        return [(words[0], words[2]) for words in lines]

    wait_until(logged)
    time.sleep(0.05)  # for what might follow
    return logged()


def assert_untouched(server, backup_id):
    assert server.listed() == [backup_id]
    assert server.get("/api/backup/latest").json["data"]["atoms"] == ["mine"]
    assert strays_in(server.data_dir) == []


def test_a_page_of_another_origin_is_refused_whatever_it_sends(page, server, mine, site):
    for script in ATTEMPTS:
        page.goto(f"http://evil.test:{site}/")
        assert {status for _, status in attempt(page, server, mine, script)} == {"403"}, script
        assert_untouched(server, mine)


def test_what_asks_first_is_told_no_and_not_sent(page, server, mine, site):
    page.goto(f"http://evil.test:{site}/")
    for script in PREFLIGHTED:
        assert attempt(page, server, mine, script) == [("OPTIONS", "403")], script
    assert_untouched(server, mine)


def test_a_page_of_the_portfolio_may_do_all_of_it(page, server, mine, site):
    """The same attempts succeed from an origin that is allowed, so it is the origin that counts."""
    page.goto(f"http://localhost:{site}/")
    for script, status in {BEACON: 201, JSON_BEACON: 201, READING: 200, DELETING: 200}.items():
        assert attempt(page, server, mine, script)[-1][1] == str(status), script
    assert mine not in server.listed()
    assert len(server.listed()) == 2
