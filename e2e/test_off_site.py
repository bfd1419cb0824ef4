"""docs/off-site.md: a copy made during uploads brings everything back that was acknowledged."""

import os
import re
import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from commands import environ, run, write_backup
from support import ROOT, Server, backups_in, wait_until

TEXT = (ROOT / "docs" / "off-site.md").read_text()
UNIT = (ROOT / "systemd" / "portfolio-backup-off-site.service").read_text()
BIN = Path(sys.executable).parent


def recipe(name: str) -> str:
    """Return the block behind a marker, as it is printed."""
    return re.search(rf"<!-- off-site: {name} -->\n```\w+\n(.*?)```", TEXT, re.DOTALL)[1]


def cron(command: int) -> str:
    """Return one of the crontab's commands, after its settings, as a script."""
    lines = recipe("cron").splitlines()
    settings = [f"export {line}" for line in lines if re.match(r"\w+=", line)]
    commands = [line.split(maxsplit=6)[6] for line in lines if line[0].isdigit()]
    return "\n".join([*settings, f"PATH={BIN}:$PATH", commands[command]])


class Site:
    """A machine with a server's directory, and a place elsewhere that outlives it."""

    def __init__(self, place: Path):
        self.place = place
        self.data_dir = place / "var/lib/portfolio-backup"
        self.files_elsewhere = place / "mnt/elsewhere/files/portfolio-backup"
        for directory in ("etc/portfolio-backup", "mnt/elsewhere", "var/lib"):
            (place / directory).mkdir(parents=True)
        (place / "etc/portfolio-backup/password").write_text("correct horse\n")

    def run(self, script: str, status: int = 0) -> str:
        """Run a recipe as a shell would, its paths below a directory of the test's own."""
        here = re.sub(r"(?<![\w.])/(?=var/lib|mnt|etc)", f"{self.place}/", script)
        given = environ(
            self.data_dir,
            PATH=f"{BIN}:{os.environ['PATH']}",
            HOME=str(self.place),
            RCLONE_CONFIG_OFFSITE_TYPE="alias",
            RCLONE_CONFIG_OFFSITE_REMOTE=str(self.files_elsewhere.parent),
        )
        command, both = ["bash", "-euo", "pipefail", "-c", here], subprocess.STDOUT
        done = subprocess.run(
            command, env=given, cwd=self.place, stdout=subprocess.PIPE, stderr=both, text=True
        )
        assert done.returncode == status, done.stdout
        return done.stdout


@pytest.fixture
def site(tmp_path) -> Site:
    return Site(tmp_path)


RESTIC = recipe("restic settings")
RESTIC_BACK = RESTIC + recipe("restic restore")
SYSTEMD = re.search(r"^ExecStart=/usr/bin/(restic .*)$", UNIT, re.MULTILINE)[1]
WAYS = {
    "restic": (RESTIC + recipe("restic copy"), RESTIC_BACK),
    "rclone": (recipe("rclone copy"), recipe("rclone restore")),
    "restic by systemd": (RESTIC + SYSTEMD, RESTIC_BACK),
    "restic by cron": (cron(0), RESTIC_BACK),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_during_uploads_brings_back_all_that_was_acknowledged(site, sample, way):
    copy, restore = WAYS[way]
    if restore is RESTIC_BACK:
        site.run(RESTIC + recipe("restic make"))
    server, over = Server(site.data_dir).start(), threading.Event()

    def keep_uploading() -> None:
        while not over.is_set():
            server.upload(sample)

    uploading = threading.Thread(target=keep_uploading, daemon=True)
    uploading.start()
    try:
        wait_until(lambda: len(server.listed()) > 20, 60)
        names = [f"backup-{one}.json" for one in server.listed()]
        acknowledged = {name: (site.data_dir / name).read_bytes() for name in names}
        said = site.run(copy)
        assert len(server.listed()) > len(acknowledged), "uploads went on during the copy"
    finally:
        over.set()
        uploading.join()
        server.kill()
    assert said == "" or "cron" not in way, "cron would send a mail"
    shutil.rmtree(site.data_dir)

    site.run(restore)
    restored = backups_in(site.data_dir)
    assert {name: restored.get(name) for name in acknowledged} == acknowledged
    verified = run(site.data_dir, "verify")
    assert (verified.exit_code, verified.stderr) == (0, "")
    modes = {path.stat().st_mode & 0o777 for path in site.data_dir.glob("backup-*")}
    assert (site.data_dir.stat().st_mode & 0o777, modes) == (0o700, {0o600})


def test_a_second_copy_with_rclone_changes_nothing_that_is_there(site):
    """What rots or is deleted here does not take the good copy with it."""
    site.data_dir.mkdir()
    paths = [site.data_dir / f"backup-2026-01-0{day}T00-00-00.json" for day in (1, 2, 3)]
    for path in paths:
        path.write_text(path.name)
    site.run(recipe("rclone copy"))
    copied = backups_in(site.files_elsewhere)
    assert len(copied) == 3
    paths[0].unlink()
    paths[1].write_text("rotten")
    assert "immutable" in site.run(recipe("rclone copy"), status=6)
    assert backups_in(site.files_elsewhere) == copied


def test_crons_line_for_check_prints_only_what_is_found(site):
    now = datetime.now(UTC)
    write_backup(site.data_dir, now - timedelta(minutes=1), {"atoms": 6})
    assert site.run(cron(1)) == ""
    write_backup(site.data_dir, now, {"snapshots": 1})
    assert site.run(cron(1)).startswith("PROBLEM: atoms fell from 6 to 0")
