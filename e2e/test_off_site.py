"""docs/off-site.md: a copy made during uploads brings everything back that was acknowledged."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from commands import environ, run
from support import ROOT, Server, backups_in, wait_until

from backup_server.retention import decide
from backup_server.series import Backup

TEXT = (ROOT / "docs" / "off-site.md").read_text()
UNIT = (ROOT / "systemd" / "portfolio-backup-off-site.service").read_text()
BIN = Path(sys.executable).parent


def recipe(name: str) -> str:
    """Return the block behind a marker, as it is printed."""
    return re.search(rf"<!-- off-site: {name} -->\n```\w+\n(.*?)```", TEXT, re.DOTALL)[1]


def here(text: str, place: Path) -> str:
    """Move a recipe's paths below a directory of the test's own."""
    return re.sub(r"(?<![\w.])/(?=var/lib|mnt|etc)", f"{place}/", text)


class Site:
    """A machine with a server's directory, and a place elsewhere that outlives it."""

    def __init__(self, place: Path):
        self.data_dir = place / "var/lib/portfolio-backup"
        self.place = place
        (place / "etc/portfolio-backup").mkdir(parents=True)
        (place / "etc/portfolio-backup/password").write_text("correct horse\n")
        (place / "mnt/elsewhere").mkdir(parents=True)
        self.data_dir.parent.mkdir(parents=True)
        self.environ = environ(self.data_dir) | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(place),
            "RESTIC_CACHE_DIR": str(place / "cache"),
            "RCLONE_CONFIG_OFFSITE_TYPE": "alias",
            "RCLONE_CONFIG_OFFSITE_REMOTE": str(place / "mnt/elsewhere/files"),
        }

    def run(self, script: str, **settings: str) -> str:
        """Run a recipe as a shell would; every command in it has to succeed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", here(script, self.place)],
            env=self.environ | settings,
            cwd=self.place,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def settings(self) -> dict[str, str]:
        """Return what the restic settings export."""
        exported = re.findall(r"(\w+)=(\S+)", here(recipe("restic settings"), self.place))
        return dict(exported)


@pytest.fixture
def site(tmp_path) -> Site:
    return Site(tmp_path)


def with_restic(site: Site) -> None:
    site.run(recipe("restic settings") + recipe("restic copy"))


def restore_with_restic(site: Site) -> None:
    site.run(recipe("restic settings") + recipe("restic restore"))


def with_rclone(site: Site) -> None:
    site.run(recipe("rclone copy"))


def restore_with_rclone(site: Site) -> None:
    site.run(recipe("rclone restore"))


def by_timer(site: Site) -> None:
    """Run what the unit runs, with its settings."""
    command = re.search(r"^ExecStart=(.*)$", here(UNIT, site.place), re.MULTILINE)[1]
    words = shlex.split(command)
    assert words[0] == "/usr/bin/restic"
    subprocess.run(
        ["restic", *words[1:]],
        env=site.environ | site.settings(),
        check=True,
        capture_output=True,
        timeout=120,
    )


def cron_lines(site: Site) -> tuple[dict[str, str], list[str]]:
    """Return the settings and the commands of the crontab, as crontab(5) reads it."""
    lines = here(recipe("cron"), site.place).splitlines()
    settings = dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))
    commands = [line.split(maxsplit=6)[6] for line in lines if line[0].isdigit()]
    settings["PATH"] = f"{BIN}:{settings['PATH']}"
    return settings, commands


def by_cron(site: Site) -> None:
    settings, commands = cron_lines(site)
    done = subprocess.run(
        ["/bin/sh", "-c", commands[0]],
        env=site.environ | settings,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), "cron would send a mail"


WAYS: dict[str, tuple[Callable, Callable]] = {
    "restic": (with_restic, restore_with_restic),
    "rclone": (with_rclone, restore_with_rclone),
    "restic by systemd": (by_timer, restore_with_restic),
    "restic by cron": (by_cron, restore_with_restic),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_during_uploads_brings_back_all_that_was_acknowledged(site, sample, way):
    copy, restore = WAYS[way]
    if restore is restore_with_restic:
        site.run(recipe("restic settings") + recipe("restic make"))
    server = Server(site.data_dir).start()
    done = threading.Event()
    uploaders = [
        threading.Thread(target=upload_until, args=(server, sample, done), daemon=True)
        for _ in range(2)
    ]
    for thread in uploaders:
        thread.start()
    try:
        wait_until(lambda: len(server.listed()) > 20, 60)
        acknowledged = backups_in_listing(server)
        copy(site)
        later = len(server.listed())
    finally:
        done.set()
        for thread in uploaders:
            thread.join()
        server.kill()
    assert later > len(acknowledged), "uploads went on during the copy"
    shutil.rmtree(site.data_dir)

    restore(site)
    restored = backups_in(site.data_dir)
    assert {name: restored.get(name) for name in acknowledged} == acknowledged
    verified = run(site.data_dir, "verify")
    assert (verified.returncode, verified.stderr) == (0, ""), "whole, and for nobody else to read"
    assert site.data_dir.stat().st_mode & 0o777 == 0o700
    server = Server(site.data_dir).start()
    try:
        assert server.listed() == sorted((name[7:-5] for name in restored), reverse=True)
        assert server.upload(sample)["id"] > max(server.listed()[1:])
    finally:
        server.stop()


def test_a_second_copy_with_rclone_changes_nothing_that_is_there(site, sample):
    """What rots or is deleted here does not take the good copy with it."""
    server = Server(site.data_dir).start()
    for _ in range(3):
        server.upload(sample)
    server.stop()
    with_rclone(site)
    copied = backups_in(site.place / "mnt/elsewhere/files/portfolio-backup")
    first, second, _ = sorted(site.data_dir.glob("backup-*"))
    first.unlink()
    second.write_bytes(b"rotten")
    done = subprocess.run(
        ["bash", "-c", here(recipe("rclone copy"), site.place)],
        env=site.environ,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode != 0
    assert b"immutable" in done.stderr
    assert backups_in(site.place / "mnt/elsewhere/files/portfolio-backup") == copied


def test_crons_line_for_check_prints_only_what_is_found(site, sample):
    server = Server(site.data_dir).start()
    server.upload(sample)
    settings, commands = cron_lines(site)

    def check() -> str:
        done = subprocess.run(
            ["/bin/sh", "-c", commands[1]],
            env=site.environ | settings,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stderr == ""
        return done.stdout

    assert check() == ""
    server.upload({})
    server.stop()
    assert check().startswith("PROBLEM: atoms fell from 6 to 0")


def upload_until(server: Server, sample: bytes, done: threading.Event) -> None:
    while not done.is_set():
        server.upload(sample)


def backups_in_listing(server: Server) -> dict[str, bytes]:
    """Return the bytes of every backup that is acknowledged by now, by file name."""
    listed = server.listed()
    return {f"backup-{one}.json": server.get(f"/api/backup/{one}").body for one in listed}


# --- the rules of restic forget -------------------------------------------------------------------


def test_prune_keeps_what_restic_forget_keeps(tmp_path):
    """Around midnight, a month's, a year's and an ISO week's end, and summer time's beginning."""
    texts = """2023-12-31T22:30 2023-12-31T23:30 2024-01-01T00:30 2024-03-30T22:59 2024-03-30T23:01
        2024-03-31T21:59 2024-03-31T22:01 2024-12-29T12:00 2024-12-30T12:00 2025-01-01T12:00"""
    made = [datetime.fromisoformat(f"{text}+00:00") for text in texts.split()]
    zone = ZoneInfo("Europe/Zurich")
    (tmp_path / "file").write_text("x")
    environ = os.environ | {
        "RESTIC_REPOSITORY": str(tmp_path / "repository"),
        "RESTIC_PASSWORD": "x",
        "RESTIC_CACHE_DIR": str(tmp_path / "cache"),
        "TZ": zone.key,
    }

    def restic(*arguments: str) -> str:
        command = ["restic", *arguments]
        return subprocess.run(
            command, env=environ, check=True, capture_output=True, text=True
        ).stdout

    restic("init")
    for number, moment in enumerate(made):
        local = moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
        restic("backup", "--host", f"h{number % 2}", "--time", local, str(tmp_path / "file"))
    backups = [
        Backup(f"{moment:%Y-%m-%dT%H-%M-%S}", moment, 1, {}, device_id=f"h{number % 2}")
        for number, moment in enumerate(made)
    ]
    for rules in (
        {"last": 3},
        {"daily": 4},
        {"weekly": 3},
        {"monthly": 2},
        {"yearly": 2},
        {"last": 1, "daily": 2, "weekly": 3, "monthly": 4, "yearly": 5},
        {"daily": 100},
    ):
        flags = [f"--keep-{rule}={number}" for rule, number in rules.items()]
        groups = json.loads(restic("forget", "--dry-run", "--json", *flags))
        kept = {
            datetime.fromisoformat(one["time"]).astimezone(UTC)
            for group in groups
            for one in group["keep"]
        }
        assert len(groups) == 2
        ours = {verdict.backup.made for verdict in decide(backups, rules, zone) if verdict.reasons}
        assert ours == kept, rules
