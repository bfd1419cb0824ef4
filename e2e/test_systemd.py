"""The units: what systemd says of them, and the server under a real systemd with their sandbox."""

import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from commands import write_backup
from support import ROOT, Server

UNITS = sorted((ROOT / "systemd").iterdir())
#: The most exposed each service may be, of 10; docs/operations.md tells them.
EXPOSURES = {
    "portfolio-backup.service": 1.1,
    "portfolio-backup-check.service": 0.7,
    "portfolio-backup-off-site.service": 2.5,
    "portfolio-backup-prune.service": 0.7,
}


def analyze(*arguments: str) -> str:
    command = ["systemd-analyze", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_finds_no_fault_with_the_units(tmp_path):
    """But that the programs are not installed where they say, so here they are where they are."""
    for unit in UNITS:
        text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.M)
        (tmp_path / unit.name).write_text(text)
    assert analyze("verify", *(str(path) for path in tmp_path.iterdir())) == ""


def test_no_service_is_more_exposed_than_the_docs_say():
    assert EXPOSURES.keys() == {unit.name for unit in UNITS if unit.suffix == ".service"}
    for unit, limit in EXPOSURES.items():
        threshold = f"--threshold={round(limit * 10)}"
        analyze("security", "--offline=true", threshold, str(ROOT / "systemd" / unit))
        assert f"`{unit}` {limit}" in (ROOT / "docs" / "operations.md").read_text()


# --- run by systemd -------------------------------------------------------------------------------


Boot = Callable[..., Callable[[Callable[[str], Any]], None]]


@pytest.fixture
def boot(tmp_path) -> Iterator[Boot]:
    """Boot a private systemd with a unit, which finds the backups of ``data``; see the script.

    Returns a function that waits until a condition on its log holds.
    """
    if os.geteuid() != 0 or "cgroup2" not in Path("/proc/mounts").read_text():
        pytest.fail("only root can boot a systemd, with cgroups to give it")
    console, errors, booted = tmp_path / "console", tmp_path / "errors", []
    console.touch()

    def start(unit: str, port: int = 3081) -> Callable[[Callable[[str], Any]], None]:
        command = [ROOT / "e2e/private_systemd.sh", ROOT / "systemd" / unit, str(port)]
        command += [sys.executable, console, tmp_path / "data"]
        with open(errors, "wb") as log:
            booted.append(subprocess.Popen(command, stdout=log, stderr=log))

        def wait(is_so: Callable[[str], Any]) -> None:
            deadline = time.monotonic() + 60
            while not is_so(log := console.read_text()):
                so_far = log + errors.read_text()
                assert time.monotonic() < deadline, so_far
                assert booted[-1].poll() is None, so_far
                time.sleep(0.1)

        return wait

    yield start
    for process in booted:
        process.terminate()
        process.wait(30)


def main_process(port: int) -> Path:
    """Return the /proc entry of the process that was started with this port."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environ = (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes()
        except OSError:  # it has ended, or is none of ours
            continue
        if f"PORT={port}".encode() in environ and b"backup_server\0serve" in command:
            return process
    raise AssertionError("there is no such process")


def test_the_server_works_in_the_sandbox_of_its_unit(boot, tmp_path, sample):
    server = Server(tmp_path / "unused")
    boot("portfolio-backup.service", server.port)(lambda log: "Booting worker" in log)
    receipt = server.upload(sample, "?key=key-of-this-upload")
    large = server.upload({"atoms": ["x" * 20_000_000]})
    again = server.post("/api/backup?key=key-of-this-upload", sample)
    assert (again.status, again.json) == (200, receipt)
    assert len(server.get(f"/api/backup/{large['id']}").body) == large["size"]
    assert server.request("DELETE", f"/api/backup/{large['id']}").status == 200
    assert server.listed() == [receipt["id"]]

    process = main_process(server.port)
    status = dict(re.findall(r"^(\w+):\t(.*)$", (process / "status").read_text(), re.MULTILINE))
    assert status["Uid"].split() == ["999"] * 4
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
    root = process / "root"
    data_dir = root / "var/lib/portfolio-backup"
    assert data_dir.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in data_dir.glob("backup-*")} == {0o600}
    for place in ("", "usr", "etc", "var", "home", "root"):
        assert os.statvfs(root / place).f_flag & os.ST_RDONLY, place
    assert not list((root / "root").iterdir()), "and homes are not to be seen"
    assert not list((root / "tmp").glob("pytest-*"))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # above which no unit can go
    files = str(min(65536, most) if most > 0 else 65536)
    limits = (process / "limits").read_text()
    assert re.search(r"Max open files +(\d+) +(\d+)", limits).groups() == (files, files)


@pytest.mark.parametrize(
    ("unit", "line"),
    [
        ("portfolio-backup-check.service", "OK: 30 backups, the newest, "),
        ("portfolio-backup-prune.service", r"Deleted \d+ of 30 backups in "),
    ],
)
def test_a_command_works_in_the_sandbox_of_its_unit(boot, tmp_path, unit, line):
    for hour in range(30):
        made = datetime.now(UTC).replace(minute=0) - timedelta(hours=hour)
        write_backup(tmp_path / "data", made)
    boot(unit)(lambda log: re.search(line, log))
