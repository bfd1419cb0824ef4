"""An owner's own site behind nginx, as Astro builds it, in a real Chromium with no setting."""

import http.server
import shutil
import threading

import pytest
from chromium import CHROMIUM
from nginx import running_nginx

MICROPHONE = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]

PAGE = """<!doctype html><title>EOE</title><link rel="icon" href="data:,">
<style>main { color: rgb(1, 2, 3) }</style>
<main onclick="window.clicked = true">atoms</main>
<script>
  window.violations = [];
  addEventListener('securitypolicyviolation', (event) => {
    violations.push(event.effectiveDirective);
  });
  const add = (name, properties) => {
    document.body.append(Object.assign(document.createElement(name), properties));
  };
  const message = (wanted) => new Promise((resolve) => {
    addEventListener('message', (event) => { if (event.data === wanted) resolve(true); });
  });
  const works = {
    async 'inline styles and handlers'() {
      const main = document.querySelector('main');
      main.click();
      return window.clicked && getComputedStyle(main).color === 'rgb(1, 2, 3)';
    },
    async 'a worker from a blob'() {
      const worker = new Worker(URL.createObjectURL(new Blob(["postMessage(eval('42'))"])));
      return new Promise((resolve) => {
        worker.onmessage = (event) => resolve(event.data === 42);
      });
    },
    async 'a sandboxed frame that runs code'() {
      const answer = message('sandbox');
      const code = "parent.postMessage(new Function('return `sandbox`')(), '*')";
      add('iframe', { sandbox: 'allow-scripts', srcdoc: `<script>${code}</` + 'script>' });
      return answer;
    },
    async 'a frame of another site'() {
      const answer = message('another site');
      add('iframe', { src: 'OTHER/frame.html' });
      return answer;
    },
    async 'a window of another site, which may answer'() {
      const answer = message('a window');
      window.open('OTHER/window.html');
      return answer;
    },
    async 'the API and a module of another site'() {
      const { default: path } = await import('OTHER/module.js');
      return (await (await fetch(`OTHER/${path}`)).json()).answer === 42;
    },
    async 'WebAssembly'() {
      const module = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]);
      return (await WebAssembly.instantiate(module)).instance instanceof WebAssembly.Instance;
    },
    async 'a service worker'() {
      await navigator.serviceWorker.register('/sw.js');
      return Boolean((await navigator.serviceWorker.ready).active);
    },
    async 'a recording of the microphone'() {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const recorder = new MediaRecorder(stream);
      const recorded = new Promise((resolve) => {
        recorder.ondataavailable = (event) => { if (event.data.size) resolve(true); };
      });
      recorder.start(100);
      return recorded;
    },
  };
</script>"""

OTHER = {
    "/api.json": ("application/json", '{"answer": 42}'),
    "/module.js": ("text/javascript", "export default 'api.json';"),
    "/frame.html": ("text/html", "<script>parent.postMessage('another site', '*')</script>"),
    "/window.html": ("text/html", "<script>opener.postMessage('a window', '*')</script>"),
    "/empty.html": ("text/html", "<title>Another site</title><link rel=icon href='data:,'>"),
}


class OtherSite(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        content_type, text = OTHER.get(self.path, ("text/plain", ""))
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def other():
    """Another site's address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), OtherSite) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://other.test:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def site(tmp_path_factory, other):
    """The site's address."""
    directory = tmp_path_factory.mktemp("dist")
    (directory / "index.html").write_text(PAGE.replace("OTHER", other))
    (directory / "sw.js").write_text("addEventListener('fetch', () => {});")
    with running_nginx(tmp_path_factory.mktemp("nginx"), directory, "127.0.0.1:1") as nginx:
        yield nginx.url


@pytest.fixture
def page(playwright):
    program = shutil.which("chromium")
    browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM + MICROPHONE)
    yield browser.new_page()
    browser.close()


def test_what_any_static_site_does_works(site, page):
    messages = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto(site)
    for name in page.evaluate("Object.keys(works)"):
        assert page.evaluate("name => works[name]()", name) is True, name
    assert page.evaluate("violations") == []
    assert messages == []


def test_a_foreign_base_a_plugin_and_a_frame_of_another_site_are_refused(site, page, other):
    page.goto(site)
    page.evaluate("""() => {
        add('base', { href: 'http://a.test/' });
        add('object', { data: 'http://a.test/x.swf', type: 'application/x-shockwave-flash' });
    }""")
    page.wait_for_function("violations.length >= 2")
    assert set(page.evaluate("violations")) == {"base-uri", "object-src"}
    assert page.evaluate("document.baseURI").startswith(site)
    page.goto(f"{other}/empty.html")
    with page.expect_event("console", lambda message: "frame-ancestors" in message.text):
        page.evaluate(
            """src => document.body.append(
                Object.assign(document.createElement('iframe'), { src }))""",
            site,
        )
