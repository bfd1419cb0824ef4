"""check: what it finds, how it says so, and what it does not cry wolf about."""

import json
import os
import re
from datetime import UTC, datetime, timedelta

import pytest
from commands import LAPTOP, PHONE, run, write_backup
from support import backups_in

from backup_server.ids import file_name

NOW = datetime.now(UTC)
FULL = {"atoms": 41, "snapshots": 12, "voiceNotes": 1}


@pytest.fixture
def directory(tmp_path):
    """A storage directory with a backup of three hours ago and one of two."""
    for hours in (3, 2):
        write_backup(tmp_path / "data", NOW - timedelta(hours=hours), FULL)
    return tmp_path / "data"


def problems(directory, *arguments: str) -> list[str]:
    """Return what is found, from JSON; check that the line says all of it, with the same status."""
    ended = run(directory, "check", *arguments, "--json")
    document = json.loads(ended.stdout)
    found = document["problems"]
    line, *devices = run(directory, "check", *arguments).stdout.splitlines()
    assert (ended.returncode, ended.stderr) == (bool(found), "")
    assert document["status"] == ("problem" if found else "ok")
    assert line == f"PROBLEM: {'; '.join(found)}" if found else line.startswith("OK: ")
    assert len(devices) == (len(document["devices"]) if len(document["devices"]) > 1 else 0)
    return found


def test_where_all_is_well_it_is_one_line_and_0(directory):
    before = backups_in(directory)
    newest = max(before)[7:-5]
    ended = run(directory, "check", "--max-age", "3h", "--verify")
    assert (ended.returncode, ended.stderr) == (0, "")
    ok = rf"OK: 2 backups, the newest, {newest}, is 2\.\d hours old; room for [\d,]+ days\n"
    assert re.fullmatch(ok, ended.stdout)
    document = json.loads(run(directory, "check", "--json").stdout)
    assert document.pop("daysOfRoom") > 30
    device = {"deviceId": None, "name": "(no device)", "newest": newest}
    assert document == {"status": "ok", "problems": [], "backups": 2, "devices": [device]}
    assert backups_in(directory) == before


def test_no_backup_at_all_is_found(tmp_path):
    assert problems(tmp_path, "--max-age", "26h") == ["there is no backup that can be read"]


@pytest.mark.parametrize(
    ("age", "is_found"),
    [("119m", True), ("1h", True), ("3h", False), ("2d", False), ("9999w", False)],
)
def test_a_newest_backup_that_is_too_old_is_found(directory, age, is_found):
    newest = max(backups_in(directory))[7:-5]
    found = problems(directory, "--max-age", age)
    assert [one[:-11] for one in found] == [f"the newest backup, {newest}, is 2."] * is_found


@pytest.mark.parametrize(
    ("timestamp", "age"),
    [
        ("long ago", "has no time"),
        ("9999-12-31T23:59:59-14:00", "has no time"),
        ("2026-01-01T24:00:00Z", "has no time"),
        ((NOW + timedelta(days=400)).isoformat(), "days ahead of the clock"),
        ("9999-12-31T23:59:59+00:00", "days ahead of the clock"),
        ((NOW - timedelta(days=4)).isoformat(), "2031-01-01T00-00-00-123Z-ab12, is 4.0 days old"),
    ],
)
def test_age_is_told_by_the_time_whatever_the_id(tmp_path, timestamp, age):
    backup_id = "2031-01-01T00-00-00-123Z-ab12"
    text = json.dumps({"id": backup_id, "timestamp": timestamp, "data": {"atoms": []}})
    (tmp_path / file_name(backup_id)).write_text(text)
    (found,) = problems(tmp_path, "--max-age", "26h")
    assert found.endswith(age)


def test_a_damaged_backup_is_found_and_with_verify_a_flipped_bit(directory):
    oldest, newest = (directory / name for name in sorted(backups_in(directory)))
    text = bytearray(oldest.read_bytes())
    text[-20] ^= 1
    oldest.write_bytes(text)
    assert problems(directory) == []
    flipped = f"{oldest.name} is damaged: Its bytes do not match its SHA-256"
    assert problems(directory, "--verify") == [flipped]
    newest.write_bytes(newest.read_bytes()[:-1])
    too_old, cut = problems(directory, "--max-age", "150m")
    assert oldest.name[7:-5] in too_old
    assert cut.startswith(f"{newest.name} is damaged: It has ")


@pytest.mark.parametrize(
    ("free", "ages", "days"),
    [
        (9.9, [40], 29),  # one every three days
        (10.1, [40], None),
        (0, [40], 0),
        (59.5, [day / 2 for day in range(100)], 29),  # two a day
        (61.5, [day / 2 for day in range(100)], None),
        (None, [1], None),
    ],
)
def test_room_for_less_than_a_month_is_found(tmp_path, monkeypatch, free, ages, days):
    """``free`` is in sizes of one backup; None is a file system that does not say it."""
    for age in ages:
        write_backup(tmp_path, NOW - timedelta(days=age), {"atoms": 1000})
    size = len(next(iter(backups_in(tmp_path).values())))
    blocks = 0 if free is None else 10**9
    status = os.statvfs_result((1, 1, blocks, 0, int((free or 0) * size), 1, 1, 1, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: status)
    room = f"the disk has room for {days} days at the present rate: use prune, or make room"
    assert problems(tmp_path) == ([] if days is None else [room])


def test_a_loss_is_found_with_what_to_restore_for_a_week_or_as_long_as_one_wants(tmp_path):
    ids = [
        write_backup(tmp_path, NOW - timedelta(days=days), counts)
        for days, counts in ((20, FULL), (6, FULL | {"atoms": 20, "voiceNotes": 0}))
    ]
    lost = [
        f"atoms fell from 41 to 20: restore it from {ids[0]}",
        f"voiceNotes fell from 1 to 0: restore it from {ids[0]}",
    ]
    assert problems(tmp_path) == problems(tmp_path, "--lost-within", "156h") == lost
    assert problems(tmp_path, "--lost-within", "5d") == []


def test_each_device_has_a_line_and_a_loss_names_its_device(tmp_path):
    for hours, device, atoms in ((5, LAPTOP, 41), (4, PHONE, 3), (3, LAPTOP, 41), (2, PHONE, 3)):
        last = write_backup(tmp_path, NOW - timedelta(hours=hours), {"atoms": atoms}, **device)
    assert problems(tmp_path, "--max-age", "3h") == []
    ok, phone, laptop = run(tmp_path, "check").stdout.splitlines()
    assert ok.startswith(f"OK: 4 backups, the newest, {last}, is 2.")
    assert phone.startswith(f"Phone: the newest, {last}, is 2.")
    before = re.match(r"Laptop: the newest, (\S+), is 3\.", laptop)[1]
    devices = json.loads(run(tmp_path, "check", "--json").stdout)["devices"]
    assert [one["deviceId"] for one in devices] == [PHONE["deviceId"], LAPTOP["deviceId"]]
    write_backup(tmp_path, NOW - timedelta(hours=1), {"atoms": 3}, **LAPTOP)
    lost = f"Laptop: atoms fell from 41 to 3: restore it from {before}"
    assert problems(tmp_path) == [lost]
