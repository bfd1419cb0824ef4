"""A real Chromium, on a site built from the sources, behind the real nginx and backup server.

    browser  →  wire (faults on demand)  →  nginx (its template)  →  backup server  →  DATA_DIR

``site`` holds the page as deployed, under ``/host/`` a bare host of the client module, and under
``/application/`` a site like the portfolio application, which uses ``compat``.
"""

import subprocess
from pathlib import Path

import pytest
from nginx import running_nginx
from support import ROOT, require_tool

from .driving import Profile, open_host, stored_backups
from .wire import Wire

PORTFOLIO = ROOT / "portfolio"


@pytest.fixture(scope="session", autouse=True)
def tools():
    for name in ("chromium", "nginx", "node", "npm"):
        require_tool(name)


def build_site(root):
    """Build into this directory what nginx serves: the page, and two applications."""
    if not (PORTFOLIO / "node_modules").exists():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=PORTFOLIO, check=True)
    build = ["npx", "--no-install", "vite", "build", "--logLevel", "warn", "--emptyOutDir"]
    subprocess.run([*build, "--outDir", str(root)], cwd=PORTFOLIO, check=True)
    for name in ("host", "application"):
        source = str(Path(__file__).parent / name)
        subprocess.run([*build, source, "--outDir", str(root / name)], cwd=PORTFOLIO, check=True)
    return root


@pytest.fixture(scope="session")
def site(tools, tmp_path_factory):
    return build_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def server_settings():
    """What a test overrides to have a server of its own, with these settings."""
    return {}


@pytest.fixture
def server(server_settings, start_server, shared_server):
    """A server that stores nothing yet; one for all tests of a module, as starting takes time."""
    if server_settings:
        return start_server(**server_settings)
    for backup in stored_backups(shared_server):
        shared_server.request("DELETE", f"/api/backup/{backup['id']}")
    return shared_server


def image_nginx(directory, site, server):
    """Run nginx with the policy that the page has in its image."""
    upstream = f"127.0.0.1:{server.port}"
    return running_nginx(directory, site, upstream, PAGE_ROOT=site)


@pytest.fixture(scope="module")
def shared_nginx(tmp_path_factory, site, shared_server):
    directory = tmp_path_factory.mktemp("nginx")
    with image_nginx(directory, site, shared_server) as nginx:
        yield nginx


@pytest.fixture
def nginx(tmp_path, site, server_settings, server, shared_nginx):
    if not server_settings:
        yield shared_nginx
        return
    with image_nginx(tmp_path / "nginx", site, server) as nginx:
        yield nginx


@pytest.fixture
def wire(nginx):
    with Wire(nginx.port) as wire:
        yield wire


@pytest.fixture
def context(browser, wire):
    """A fresh profile, gone before the wire is."""
    context = browser.new_context(locale="en-GB", timezone_id="UTC")
    yield context
    context.close()


@pytest.fixture
def kinds(context):
    """What the browser calls each upload of an open page: ``ping`` is a beacon."""
    kinds = []

    def note(request):
        if "/api/backup?" in request.url:
            kinds.append(request.resource_type)

    context.on("request", note)
    return kinds


@pytest.fixture
def tab(context, wire):
    """``tab(auto=True, token=...)``: the host application in a new tab, ready."""

    def open_tab(auto=False, token=None):
        return open_host(context, wire, auto, token)

    return open_tab


@pytest.fixture
def profile(playwright, tmp_path):
    profile = Profile(playwright, str(tmp_path / "profile"))
    yield profile
    if profile.context:
        profile.context.close()
