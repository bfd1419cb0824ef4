"""A real Chromium, on a site built from the sources, behind the real nginx and backup server.

    browser  →  wire (faults on demand)  →  nginx (its template)  →  backup server  →  DATA_DIR

``site`` holds the page as deployed, under ``/host/`` a bare host of the client module, and under
``/application/`` a site like the portfolio application, which uses ``compat``.
"""

import subprocess
from pathlib import Path

import pytest
from nginx import running_nginx
from support import ROOT

from .backups_page import open_page
from .driving import Profile, open_host
from .wire import Wire

PORTFOLIO = ROOT / "portfolio"


def build_site(root):
    """Build into this directory what nginx serves: the page, and two applications."""
    if not (PORTFOLIO / "node_modules").exists():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=PORTFOLIO, check=True)
    vite = PORTFOLIO / "node_modules" / ".bin" / "vite"
    build = [vite, "build", "--logLevel", "warn", "--emptyOutDir"]
    subprocess.run([*build, "--outDir", root], cwd=PORTFOLIO, check=True)
    for name in ("host", "application"):
        own = [Path(__file__).parent / name, "--base", "./", "--outDir", root / name]
        subprocess.run([*build, *own], cwd=PORTFOLIO, check=True)
    return root


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    return build_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def server_settings():
    """A test that is parametrized with settings has a server of its own, with these."""
    return {}


@pytest.fixture
def server(server_settings, start_server, shared_server):
    """A server that stores nothing yet; one for all tests of a module, as starting takes time."""
    if server_settings:
        return start_server(**server_settings)
    for file in shared_server.data_dir.glob("backup-*.json"):
        file.unlink()
    return shared_server


def image_nginx(directory, site, server):
    """Run nginx with the policy that the page has in its image."""
    upstream = f"127.0.0.1:{server.port}"
    return running_nginx(directory, site, upstream, PAGE_ROOT=site)


@pytest.fixture(scope="module")
def shared_nginx(tmp_path_factory, site, shared_server):
    with image_nginx(tmp_path_factory.mktemp("nginx"), site, shared_server) as nginx:
        yield nginx


@pytest.fixture
def wire(tmp_path, site, server_settings, server, shared_nginx):
    if not server_settings:
        with Wire(shared_nginx.port) as wire:
            yield wire
        return
    with image_nginx(tmp_path / "nginx", site, server) as nginx, Wire(nginx.port) as wire:
        yield wire


@pytest.fixture
def context(browser, wire):
    """A fresh profile, gone before the wire is."""
    context = browser.new_context(locale="en-GB", timezone_id="UTC")
    yield context
    context.close()


@pytest.fixture
def open_tab(context, wire, server):
    """``open_tab(token=…)``: a tab of the host application that backs up by itself, ready."""
    return lambda auto=True, token=None: open_host(context, wire, server, auto, token)


@pytest.fixture
def tab(open_tab):
    return open_tab()


@pytest.fixture
def page(context, wire):
    """The Backups page, opened; what breaks its policy or its scripts fails the test."""
    page, complaints = context.new_page(), []

    def note(message):
        # The browser's own line about an answer of 4xx or 5xx is what some tests are about.
        if message.type == "error" and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", note)
    yield open_page(page, wire)
    assert complaints == []


@pytest.fixture
def profile(playwright, tmp_path):
    profile = Profile(playwright, str(tmp_path / "profile"))
    yield profile
    if profile.context:
        profile.context.close()
