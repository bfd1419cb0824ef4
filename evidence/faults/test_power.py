"""No power cut loses or halves what was acknowledged; a short form of ``power.py``."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import require_tool

from .crash import FAILURES, table
from .power import FILE_SYSTEMS, TOOLS, UNSYNCED, Disk, torment


@pytest.fixture
def make_disk(monkeypatch) -> Iterator:
    """Make disks in memory; only root can mount them."""
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin:/sbin")
    for tool in TOOLS:
        require_tool(tool)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield lambda file_system: Disk(Path(directory), file_system)


@pytest.mark.parametrize("file_system", FILE_SYSTEMS)
def test_a_power_cut_loses_halves_doubles_and_revives_nothing(make_disk, file_system):
    ledger = torment(make_disk(file_system), cuts=2)
    print(table(ledger))
    assert {name: ledger.counts[name] for name in FAILURES} == dict.fromkeys(FAILURES, 0), (
        ledger.complaints
    )
    assert ledger.counts["acknowledged"] > 5


def test_a_server_that_does_not_sync_is_found_out(make_disk):
    ledger = torment(make_disk("ext4"), cuts=3, command=UNSYNCED)
    assert ledger.counts["lost"] + ledger.counts["partial"] > 0
