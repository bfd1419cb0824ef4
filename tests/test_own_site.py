"""An owner's own site behind nginx, as Astro builds it, in a real Chromium with no setting."""

import pytest
from conftest import require_tool
from nginx import running_nginx

CHROMIUM = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--host-resolver-rules=MAP *.test 127.0.0.1",
)

PAGE = """<!doctype html><title>EOE</title><link rel="icon" href="data:,">
<style>main { color: rgb(1, 2, 3) }</style>
<main style="margin: 7px">atoms</main>
<script type="module">
  const done = {};
  const main = getComputedStyle(document.querySelector('main'));
  done.styles = main.color === 'rgb(1, 2, 3)' && main.marginTop === '7px';
  const source = new Blob(["postMessage('from the worker')"]);
  done.worker = await new Promise((resolve, reject) => {
    const worker = new Worker(URL.createObjectURL(source));
    worker.onmessage = () => resolve(true);
    worker.onerror = reject;
  });
  done.frame = await new Promise((resolve) => {
    addEventListener('message', (event) => resolve(event.data === 'from the frame'));
    const frame = document.createElement('iframe');
    frame.sandbox = 'allow-scripts';
    const code = "parent.postMessage(eval('`from the frame`'), '*')";
    frame.srcdoc = `<script>${code}</` + 'script>';
    document.body.append(frame);
  });
  await navigator.serviceWorker.register('/sw.js');
  done.serviceWorker = Boolean((await navigator.serviceWorker.ready).active);
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  done.microphone = stream.getAudioTracks().length === 1;
  document.head.append(Object.assign(document.createElement('base'), { href: 'http://a.test/' }));
  done.ownBase = document.baseURI.startsWith(location.origin);
  window.done = done;
</script>
"""


@pytest.fixture
def nginx(tmp_path):
    require_tool("nginx")
    site = tmp_path / "dist"
    site.mkdir()
    (site / "index.html").write_text(PAGE)
    (site / "sw.js").write_text("addEventListener('fetch', () => {});")
    with running_nginx(tmp_path / "nginx", site, "127.0.0.1:1") as nginx:
        yield nginx


@pytest.fixture
def page(playwright):
    browser = playwright.chromium.launch(executable_path=require_tool("chromium"), args=CHROMIUM)
    yield browser.new_page()
    browser.close()


def test_what_any_static_site_does_works(nginx, page):
    messages = []
    page.on("console", lambda message: messages.append(message.text))
    page.goto(nginx.url)
    page.wait_for_function("window.done", timeout=10_000)
    names = ("styles", "worker", "frame", "serviceWorker", "microphone", "ownBase")
    assert page.evaluate("window.done") == dict.fromkeys(names, True)
    # The foreign <base> is all that was refused.
    assert [text for text in messages if "base-uri" not in text and "a.test" not in text] == []


def test_a_page_of_another_site_may_not_frame_it(nginx, page):
    page.goto(f"http://other.test:{nginx.port}")  # the same nginx, and for the browser another site
    with page.expect_event("console", lambda message: "frame-ancestors" in message.text):
        page.evaluate(
            "url => { document.body.append(Object.assign(document.createElement('iframe'), "
            "{ src: url })) }",
            nginx.url,
        )
