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
<main style="margin: 7px">atoms</main>
<button onclick="window.clicked = true">An inline handler</button>
<script>
  window.violations = [];
  addEventListener('securitypolicyviolation', (event) => {
    violations.push(`${event.effectiveDirective} ${event.blockedURI}`);
  });
</script>
<script type="module">
  const other = 'http://other.test:OTHER_PORT';
  const message = (wanted) => new Promise((resolve) => {
    addEventListener('message', (event) => { if (event.data === wanted) resolve(true); });
  });
  const frame = (properties) => {
    const element = Object.assign(document.createElement('iframe'), properties);
    document.body.append(element);
  };
  const code = (text) => `<script>${text}</` + 'script>';

  const works = {
    async 'style elements and attributes'() {
      const main = getComputedStyle(document.querySelector('main'));
      return main.color === 'rgb(1, 2, 3)' && main.marginTop === '7px';
    },
    async 'an inline handler'() {
      document.querySelector('button').click();
      return window.clicked;
    },
    async 'a worker from a blob'() {
      const source = new Blob(["postMessage(eval('`from the worker`'))"]);
      const worker = new Worker(URL.createObjectURL(source));
      return new Promise((resolve, reject) => {
        worker.onmessage = (event) => resolve(event.data === 'from the worker');
        worker.onerror = reject;
      });
    },
    async 'a sandboxed frame that runs code'() {
      const answer = message('from the sandbox');
      const srcdoc = code("parent.postMessage(new Function('return `from the sandbox`')(), '*')");
      frame({ sandbox: 'allow-scripts', srcdoc });
      return answer;
    },
    async 'a frame of another site'() {
      const answer = message('from another site');
      frame({ src: `${other}/frame.html` });
      return answer;
    },
    async 'the API of another site'() {
      return (await (await fetch(`${other}/api.json`)).json()).answer === 42;
    },
    async 'a module of another site'() {
      return (await import(`${other}/module.js`)).default === 42;
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
        recorder.ondataavailable = (event) => resolve(event.data.size > 0);
      });
      recorder.start();
      setTimeout(() => recorder.stop(), 500);
      return recorded;
    },
  };
  const late = () => new Promise((resolve) => setTimeout(resolve, 20000, 'nothing happened'));
  const results = Object.entries(works).map(async ([name, work]) => [
    name,
    await Promise.race([work(), late()]).catch(String),
  ]);
  window.done = Object.fromEntries(await Promise.all(results));
</script>
"""

OTHER = {
    "/api.json": ("application/json", '{"answer": 42}'),
    "/module.js": ("text/javascript", "export default 42;"),
    "/frame.html": ("text/html", "<script>parent.postMessage('from another site', '*')</script>"),
    "/window.html": ("text/html", "<script>opener.postMessage('from a window', '*')</script>"),
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


@pytest.fixture
def other():
    """Another site's address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), OtherSite)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    yield f"http://other.test:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def nginx(tmp_path, other):
    site = tmp_path / "dist"
    site.mkdir()
    (site / "index.html").write_text(PAGE.replace("http://other.test:OTHER_PORT", other))
    (site / "sw.js").write_text("addEventListener('fetch', () => {});")
    with running_nginx(tmp_path / "nginx", site, "127.0.0.1:1") as nginx:
        yield nginx


@pytest.fixture(scope="module")
def chromium(playwright):
    program = shutil.which("chromium")
    browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM + MICROPHONE)
    yield browser
    browser.close()


@pytest.fixture
def page(chromium):
    with chromium.new_context() as context:
        yield context.new_page()


def test_what_any_static_site_does_works(nginx, page):
    messages = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto(nginx.url)
    page.wait_for_function("window.done", timeout=30_000)
    done = page.evaluate("window.done")
    assert len(done) == PAGE.count("    async '")
    assert done == dict.fromkeys(done, True)
    assert page.evaluate("violations") == []
    assert messages == []


def test_a_window_of_another_site_may_answer_the_page_that_opened_it(nginx, page, other):
    page.goto(nginx.url)
    answer = page.evaluate(
        """url => new Promise((resolve) => {
            addEventListener('message', (event) => resolve(event.data));
            window.open(url);
        })""",
        f"{other}/window.html",
    )
    assert answer == "from a window"


def test_a_base_of_another_site_and_a_plugin_are_refused(nginx, page):
    page.goto(nginx.url)
    page.evaluate("""() => {
        const base = { href: 'http://a.test/' };
        document.head.append(Object.assign(document.createElement('base'), base));
        const plugin = { data: 'http://a.test/x.swf', type: 'application/x-shockwave-flash' };
        document.body.append(Object.assign(document.createElement('object'), plugin));
    }""")
    page.wait_for_function("violations.length >= 2")
    assert {line.split()[0] for line in page.evaluate("violations")} == {"base-uri", "object-src"}
    assert page.evaluate("document.baseURI").startswith(nginx.url)


def test_a_page_of_another_site_may_not_frame_it(nginx, page, other):
    page.goto(f"{other}/empty.html")
    with page.expect_event("console", lambda message: "frame-ancestors" in message.text):
        page.evaluate(
            "url => { document.body.append(Object.assign(document.createElement('iframe'), "
            "{ src: url })) }",
            nginx.url,
        )
