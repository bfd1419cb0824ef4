"""An owner's own site behind nginx, as Astro builds it, in a real Chromium with no setting."""

import functools
import http.server
import threading

import pytest
from nginx import running_nginx

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
  const answered = (wanted) => new Promise((resolve) => {
    addEventListener('message', (event) => { if (event.data === wanted) resolve(true); });
  });
  const works = {
    'inline styles and handlers'() {
      const main = document.querySelector('main');
      main.click();
      return window.clicked && getComputedStyle(main).color === 'rgb(1, 2, 3)';
    },
    'a sandboxed frame that runs code'() {
      const code = "parent.postMessage(new Function('return `sandbox`')(), '*')";
      add('iframe', { sandbox: 'allow-scripts', srcdoc: `<script>${code}</` + 'script>' });
      return answered('sandbox');
    },
    'a frame of another site'() {
      add('iframe', { src: 'OTHER/frame.html' });
      return answered('another site');
    },
    'a window of another site, which may answer'() {
      window.open('OTHER/window.html');
      return answered('a window');
    },
    async 'a service worker'() {
      await navigator.serviceWorker.register('/sw.js');
      return Boolean((await navigator.serviceWorker.ready).active);
    },
  };
</script>"""

OTHER = {
    "frame.html": "<script>parent.postMessage('another site', '*')</script>",
    "window.html": "<script>opener.postMessage('a window', '*')</script>",
    "empty.html": "<title>Another site</title><link rel=icon href='data:,'>",
}


@pytest.fixture
def other(tmp_path):
    """Another site's address."""
    for name, text in OTHER.items():
        (tmp_path / name).write_text(text)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://other.test:{server.server_port}"
        server.shutdown()


@pytest.fixture
def site(tmp_path, other):
    """The site's address."""
    (tmp_path / "index.html").write_text(PAGE.replace("OTHER", other))
    (tmp_path / "sw.js").write_text("addEventListener('fetch', () => {});")
    with running_nginx(tmp_path / "nginx", tmp_path, "127.0.0.1:1") as nginx:
        yield nginx.url


def test_what_a_static_site_does_works_and_what_attacks_it_is_refused(site, browser, other):
    messages, page = [], browser.new_page()
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto(site)
    for name in page.evaluate("Object.keys(works)"):
        assert page.evaluate("name => works[name]()", name) is True, name
    assert page.evaluate("violations") == []
    assert messages == []

    page.evaluate("""() => {
        add('base', { href: 'http://a.test/' });
        add('object', { data: 'http://a.test/x.swf', type: 'application/x-shockwave-flash' });
    }""")
    page.wait_for_function("violations.length >= 2")
    assert set(page.evaluate("violations")) == {"base-uri", "object-src"}
    assert page.evaluate("document.baseURI").startswith(site)
    page.goto(f"{other}/empty.html?{site}")
    with page.expect_event("console", lambda message: "frame-ancestors" in message.text):
        page.evaluate("""document.body.append(
            Object.assign(document.createElement('iframe'), { src: location.search.slice(1) }))""")
    page.close()
