"""Fixtures of the evidence, and the programs that it needs.

What a selected test needs and the machine lacks ends the run at once, with the whole list.
"""

import os
import shutil
from pathlib import Path

import pytest
from support import sample, server, shared_server, start_server

__all__ = ["sample", "server", "shared_server", "start_server"]

HERE = Path(__file__).parent
#: Programs by the folder whose tests run them, and whether root has to; README.md tells more.
TOOLS = {
    "faults": [
        "strace",
        "unshare",
        "mount",
        "mkfs.ext4",
        "mkfs.xfs",
        "mkfs.btrfs",
        "nbdkit",
        "nbdfuse",
        "fusermount3",
        "glusterd",
        "ip",
    ],
}
AS_ROOT = {"faults"}


def pytest_collection_finish(session: pytest.Session) -> None:
    """End the run if a program, or root, is missing that one of the selected tests needs."""
    places = {
        item.path.relative_to(HERE).parts[0] for item in session.items if HERE in item.path.parents
    }
    needed = {tool for place in places for tool in TOOLS.get(place, [])}
    missing = sorted(tool for tool in needed if not shutil.which(tool))
    if places & AS_ROOT and os.geteuid():
        missing.append("root")
    if missing:
        pytest.exit(f"missing: {', '.join(missing)}; see evidence/README.md", returncode=1)
