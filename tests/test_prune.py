"""prune: what it shows, what it deletes, and what it never does (its rules: test_retention.py)."""

import os
from datetime import UTC, datetime

import pytest
from commands import LAPTOP, PHONE, flip, run, time_zone, write_backup
from support import backups_in

OF_NONE, OF_LAPTOP = "2026-02-28T12-00-00", "2026-03-01T12-00-00"
PHONES = [f"2026-03-0{day}T{hour}-00-00" for day in (5, 4, 3, 2) for hour in (15, 12)]
LAST = PHONES[0]


@pytest.fixture
def directory(tmp_path):
    """A phone with two backups a day, a laptop before it, and before both one without a device."""
    write_backup(tmp_path / "data", datetime(2026, 2, 28, 12, tzinfo=UTC))
    write_backup(tmp_path / "data", datetime(2026, 3, 1, 12, tzinfo=UTC), **LAPTOP)
    for day in range(2, 6):
        for hour in (12, 15):
            write_backup(tmp_path / "data", datetime(2026, 3, day, hour, tzinfo=UTC), **PHONE)
    with time_zone("UTC"):
        yield tmp_path / "data"


def left(directory) -> list[str]:
    """Return the ids that are left, newest first."""
    return sorted((name[7:-5] for name in backups_in(directory)), reverse=True)


def test_it_shows_what_it_would_do_for_each_device_and_with_yes_does_that_and_no_more(directory):
    before = backups_in(directory)
    rules = ["--keep-daily", "2", "--keep-last", "1"]
    shown = run(directory, "prune", *rules)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert backups_in(directory) == before
    size = len(before["backup-2026-03-05T12-00-00.json"])
    *lines, last = shown.stdout.splitlines()
    assert [*lines[:4], *lines[9:]] == [
        "Phone:",
        "keep    2026-03-05T15-00-00  newest, last, daily",
        f"delete  2026-03-05T12-00-00  {size}",
        "keep    2026-03-04T15-00-00  daily",
        "Laptop:",
        "keep    2026-03-01T12-00-00  newest, last, daily, oldest",
        "(no device):",
        "keep    2026-02-28T12-00-00  newest, last, daily, oldest",
    ]
    plan = f"6 of 10 backups in {directory}, {6 * size:,} bytes"
    assert last == f"Would delete {plan}; --yes does it."
    done = run(directory, "prune", *rules, "--yes")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [*lines, f"Deleted {plan}."]
    assert left(directory) == [LAST, "2026-03-04T15-00-00", OF_LAPTOP, OF_NONE]
    assert backups_in(directory).items() <= before.items()
    again = run(directory, "prune", *rules, "--yes")
    assert again.stdout.endswith(f"Deleted 0 of 4 backups in {directory}, 0 bytes.\n")


def test_a_damaged_backup_is_kept_and_takes_no_good_ones_place(directory):
    flip(directory / f"backup-{LAST}.json")
    ended = run(directory, "prune", "--keep-daily", "1", "--yes")
    assert ended.exit_code == 1
    assert left(directory) == [*PHONES[:2], OF_LAPTOP, OF_NONE]
    assert ended.stdout.startswith(f"keep    {LAST}  damaged\n")
    assert "Deleted 6 of 10 backups" in ended.stdout


@pytest.mark.parametrize(("zone", "number"), [("UTC", 1), ("Europe/Zurich", 2)])
def test_days_are_those_of_the_systems_time_zone(tmp_path, zone, number):
    for hour in (21, 22):
        write_backup(tmp_path, datetime(2026, 7, 1, hour, 30, tzinfo=UTC))
    with time_zone(zone):
        assert run(tmp_path, "prune", "--keep-daily=2").stdout.count("daily") == number


def test_a_series_that_is_forgotten_goes_whole_and_without_rules_no_other(directory):
    forgotten = ["--forget-series", "(no device)", "--forget-series", LAPTOP["deviceId"]]
    ended = run(directory, "prune", *forgotten, "--yes")
    assert (ended.exit_code, ended.stderr, left(directory)) == (0, "", PHONES)


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
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert left(directory) == client.listed() == [*stored, LAST, OF_LAPTOP, OF_NONE]
