"""prune: what it shows, what it deletes, and what it never does (its rules: test_retention.py)."""

import errno
import os
import re
import time
from datetime import UTC, datetime, timedelta

import pytest
from commands import LAPTOP, PHONE, run, write_backup
from support import backups_in

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def directory(tmp_path):
    """A storage directory with two backups on each of ten days, of four atoms each."""
    for day in range(10):
        for hour in (0, 3):
            write_backup(tmp_path / "data", START + timedelta(days=day, hours=hour))
    return tmp_path / "data"


def left(directory) -> list[str]:
    """Return the ids that are left, newest first."""
    return sorted((name[7:-5] for name in backups_in(directory)), reverse=True)


def test_it_shows_what_it_would_do_and_with_yes_does_that_and_no_more(directory):
    before = backups_in(directory)
    rules = ["--keep-daily", "3", "--keep-weekly", "2", "--timezone", "UTC"]
    shown = run(directory, "prune", *rules)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert backups_in(directory) == before
    size = len(before["backup-2026-03-10T12-00-00.json"])
    lines = shown.stdout.splitlines()
    assert lines[:3] == [
        "keep    2026-03-10T15-00-00  newest, daily, weekly",
        f"delete  2026-03-10T12-00-00  {size} bytes",
        "keep    2026-03-09T15-00-00  daily",
    ]
    plan = f"delete 17 of 20 backups in {directory}, {17 * size:,} bytes"
    assert lines[20:] == [f"Would {plan}; --yes does it."]
    done = run(directory, "prune", *rules, "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [*lines[:20], f"{plan.replace('delete', 'Deleted')}."]
    assert left(directory) == [f"2026-03-{day}T15-00-00" for day in ("10", "09", "08")]
    assert backups_in(directory).items() <= before.items()
    again = run(directory, "prune", *rules, "--yes")
    assert again.stdout.splitlines()[-1] == f"Deleted 0 of 3 backups in {directory}, 0 bytes."


def test_a_damaged_backup_is_kept_and_takes_no_good_ones_place(directory):
    """The newest of a day has a flipped bit, deep in its data: its head alone would not tell."""
    rotten = directory / "backup-2026-03-10T15-00-00.json"
    text = bytearray(rotten.read_bytes())
    text[-20] ^= 1
    rotten.write_bytes(text)
    ended = run(directory, "prune", "--keep-daily", "1", "--yes")
    assert ended.returncode == 1
    assert left(directory) == ["2026-03-10T15-00-00", "2026-03-10T12-00-00"]
    assert "keep    2026-03-10T15-00-00  damaged\n" in ended.stdout
    assert "keep    2026-03-10T12-00-00  newest, daily\n" in ended.stdout


def test_days_are_those_of_the_time_zone_that_is_named_or_the_systems(tmp_path, monkeypatch):
    evening = write_backup(tmp_path, datetime(2026, 7, 1, 21, 30, tzinfo=UTC))
    night = write_backup(tmp_path, datetime(2026, 7, 1, 22, 30, tzinfo=UTC))

    def kept(zone: str, *arguments: str) -> list[str]:
        with monkeypatch.context() as patch:
            patch.setenv("TZ", zone)
            time.tzset()
            shown = run(tmp_path, "prune", "--keep-daily", "2", *arguments).stdout
        time.tzset()
        return re.findall(r"^keep +(\S+) .*daily", shown, re.MULTILINE)

    assert kept("UTC", "--timezone", "Europe/Zurich") == [night, evening]
    assert kept("Europe/Zurich", "--timezone", "UTC") == [night]
    assert kept("Europe/Zurich") == [night, evening]


# --- devices --------------------------------------------------------------------------------------


@pytest.fixture
def devices(tmp_path):
    """A laptop that was used on the first, a phone that is daily, and the time before both."""
    write_backup(tmp_path, START - timedelta(days=1))
    write_backup(tmp_path, START, **LAPTOP)
    for day in range(1, 5):
        write_backup(tmp_path, START + timedelta(days=day), **PHONE)
    return tmp_path


def test_each_device_is_thinned_alone_under_its_name(devices):
    (devices / "backup-2026-03-10T12-00-00.json").write_text("{")
    ended = run(devices, "prune", "--keep-last", "2", "--yes")
    lines = [re.sub(r" +\d+ bytes", "", line) for line in ended.stdout.splitlines()]
    assert lines[:-1] == [
        "(damaged):",
        "keep    2026-03-10T12-00-00  damaged",
        "(no device):",
        "keep    2026-02-28T12-00-00  newest, last, oldest",
        "Laptop:",
        "keep    2026-03-01T12-00-00  newest, last, oldest",
        "Phone:",
        "keep    2026-03-05T12-00-00  newest, last",
        "keep    2026-03-04T12-00-00  last",
        "delete  2026-03-03T12-00-00",
        "delete  2026-03-02T12-00-00",
    ]
    assert len(left(devices)) == 5


@pytest.mark.parametrize(
    ("arguments", "days"),
    [
        (["--forget-series", "laptop-of-the-owner"], ["02-28", "03-02", "03-03", "03-04", "03-05"]),
        (["--forget-series", "(no device)", "--keep-last", "1"], ["03-01", "03-05"]),
        (["--forget-series", "(no device)", "--forget-series", "phone-of-the-owner"], ["03-01"]),
    ],
)
def test_a_series_that_is_forgotten_goes_whole(devices, arguments, days):
    ended = run(devices, "prune", *arguments, "--yes")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert left(devices) == [f"2026-{day}T12-00-00" for day in days[::-1]]


# --- beside others --------------------------------------------------------------------------------


def test_beside_a_server_uploads_are_kept_and_deletes_are_no_error(
    directory, client, sample, monkeypatch
):
    unlink, stored = os.unlink, []

    def unlink_after_others(*arguments, **options):
        monkeypatch.setattr(os, "unlink", unlink)
        assert client.request("DELETE", f"/api/backup/{left(directory)[2]}").status == 200
        stored.append(client.upload(sample)["id"])
        unlink(*arguments, **options)

    monkeypatch.setattr(os, "unlink", unlink_after_others)
    ended = run(directory, "prune", "--keep-last", "1", "--yes")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert left(directory) == client.listed() == [*stored, "2026-03-10T15-00-00"]


def test_a_failing_disk_is_one_line_and_loses_nothing(directory, monkeypatch):
    def fail(*arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    before = backups_in(directory)
    monkeypatch.setattr(os, "unlink", fail)
    ended = run(directory, "prune", "--keep-last", "1", "--yes")
    assert ended.returncode == 2
    assert ended.stderr == "The backup could not be deleted: Read-only file system.\n"
    assert backups_in(directory) == before
