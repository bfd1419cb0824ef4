"""What the evidence needs, and how much of it there is."""

import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from faults.mounts import keep_mounts_private
from support import sample, server, shared_server, start_server

__all__ = ["sample", "server", "shared_server", "start_server"]

HERE = Path(__file__).parent
#: Programs by the folder whose tests run them; README.md has their Debian packages.
FAULTS = """strace mount mkfs.ext4 mkfs.xfs mkfs.btrfs losetup nbdkit nbdfuse fusermount3
glusterd gluster ip nsenter setpriv"""
TOOLS = {"faults": FAULTS.split(), "walk": ["chromium", "nginx", "node", "npm"]}
#: How much is done by each test, in the short form and in the long one.
AMOUNTS = {
    "kills": (10, 1000, "kills of the whole server"),
    "cuts": (2, 100, "power cuts on each file system"),
    "seconds": (6, 300, "seconds under a load on a full disk, on GlusterFS, and of many clients"),
    "fuzz": (20, 3600, "seconds of fuzzing"),
    "walks": (1, 10, "random walks in Chromium"),
    "steps": (40, 200, "steps of each"),
    "examples": (10, 1000, "requests of schemathesis for each operation"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("evidence")
    group.addoption("--long", action="store_true", help="the form for a release: hours")
    for name, (short, long, what) in AMOUNTS.items():
        group.addoption(f"--{name}", type=int, help=f"{what}: {short}, or {long} with --long")


@pytest.fixture(scope="session")
def amount(request) -> SimpleNamespace:
    """How much to do: one attribute for each of ``AMOUNTS``, and ``long``."""
    option = request.config.getoption
    amounts = {name: option(name) or form[option("long")] for name, form in AMOUNTS.items()}
    return SimpleNamespace(long=option("long"), **amounts)


def pytest_configure(config: pytest.Config) -> None:
    # As after Ctrl-C, what was started ends: servers, file systems.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    config.addinivalue_line("markers", "long: of the long form alone")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("long"):
        later = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if item not in later]
        config.hook.pytest_deselected(items=later)


def pytest_collection_finish(session: pytest.Session) -> None:
    """End the run if a program, or root, is missing that a selected test needs."""
    places = {
        item.path.relative_to(HERE).parts[0] for item in session.items if HERE in item.path.parents
    }
    needed = {tool for place in places for tool in TOOLS.get(place, [])}
    missing = sorted(tool for tool in needed if not shutil.which(tool))
    if "faults" in places and os.geteuid():
        missing.append("root")
    if missing:
        pytest.exit(f"missing: {', '.join(missing)}; see evidence/README.md", returncode=1)
    if "faults" in places:
        keep_mounts_private()
