"""Fixtures of the end-to-end tests, and the programs that they need.

What a selected test needs and the machine lacks ends the run at once, with the whole list.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import CHROMIUM
from support import sample, server, shared_server, start_server

__all__ = ["sample", "server", "shared_server", "start_server"]

HERE = Path(__file__).parent
#: Programs by the folder or file whose tests run them; README.md says how to install them.
TOOLS = {
    "browser": ["chromium", "nginx", "node", "npm"],
    "site": ["nginx"],
    "containers": ["chromium", "docker", "node", "npm", "restic", "shellcheck"],
    "test_off_site.py": ["restic", "rclone"],
    "test_systemd.py": ["docker"],
}


def pytest_collection_finish(session: pytest.Session) -> None:
    """End the run if a program is missing that one of the selected tests needs."""
    places = {
        item.path.relative_to(HERE).parts[0] for item in session.items if HERE in item.path.parents
    }
    needed = {tool for place in places for tool in TOOLS.get(place, [])}
    if missing := sorted(tool for tool in needed if not shutil.which(tool)):
        pytest.exit(f"not installed: {', '.join(missing)}; see e2e/README.md", returncode=1)


@pytest.fixture(scope="session")
def playwright() -> Iterator[Any]:
    """Playwright's synchronous API, of which there can be only one in a process."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(playwright: Any) -> Iterator[Any]:
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM)
    yield browser
    browser.close()
