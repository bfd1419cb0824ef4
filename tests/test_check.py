"""check: what it finds, how it says so, and what it does not cry wolf about."""

import json
import os
import re
from datetime import UTC, datetime, timedelta

import pytest
from commands import LAPTOP, PHONE, flip, run, write_backup
from support import backups_in

from backup_server.ids import file_name

NOW = datetime.now(UTC)
FULL = {"atoms": 41, "snapshots": 12, "voiceNotes": 1}


def fill(directory, *rows: tuple) -> list[str]:
    """Write backups of rows (hours ago, counts, device); return their ids."""
    now = datetime.now(UTC)
    return [
        write_backup(directory, now - timedelta(hours=hours), counts, **dict(*device))
        for hours, counts, *device in rows
    ]


def problems(directory, *arguments: str) -> list[str]:
    """Return what is found, from JSON; check that the line says all of it, with the same status."""
    ended = run(directory, "check", *arguments, "--json")
    document = json.loads(ended.stdout)
    found = document["problems"]
    line, *devices = run(directory, "check", *arguments).stdout.splitlines()
    assert (ended.exit_code, ended.stderr) == (bool(found), "")
    assert document["status"] == ("problem" if found else "ok")
    assert line == f"PROBLEM: {'; '.join(found)}" if found else line.startswith("OK: ")
    assert len(devices) == (len(document["devices"]) if len(document["devices"]) > 1 else 0)
    return found


TURNS = [(5, {"atoms": 41}, LAPTOP), (4, {"atoms": 3}, PHONE), (3, {"atoms": 41}, LAPTOP)]


def test_where_all_is_well_it_is_a_line_and_one_for_each_device_and_0(tmp_path):
    *_, laptop, phone = fill(tmp_path, *TURNS, (2, {"atoms": 3}, PHONE))
    before = backups_in(tmp_path)
    ended = run(tmp_path, "check", "--max-age", "3h", "--verify")
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert re.fullmatch(
        rf"OK: 4 backups, the newest, {phone}, is 2\.0 hours old; room for [\d,]+ days\n"
        rf"Phone: the newest, {phone}, is 2\.0 hours old\n"
        rf"Laptop: the newest, {laptop}, is 3\.0 hours old\n",
        ended.stdout,
    )
    document = json.loads(run(tmp_path, "check", "--json").stdout)
    assert document.pop("daysOfRoom") > 30
    devices = [
        {"deviceId": PHONE["deviceId"], "name": "Phone", "newest": phone},
        {"deviceId": LAPTOP["deviceId"], "name": "Laptop", "newest": laptop},
    ]
    assert document == {"status": "ok", "problems": [], "backups": 4, "devices": devices}
    assert backups_in(tmp_path) == before


OLD, NEW = (24 * 20, FULL), (144, FULL | {"atoms": 20, "voiceNotes": 0})
LOST = ["atoms fell from 41 to 20: restore it from {0}"]
LOST += ["voiceNotes fell from 1 to 0: restore it from {0}"]
PHONES = ["Phone: atoms fell from 3 to 1: restore it from {0}"]
AGE = "the newest backup, {0}, is "
# The backups, the options, and the findings; {0} is the first backup's id.
FINDINGS = {
    "nothing": ([], "--max-age 26h", ["there is no backup that can be read"]),
    "older than minutes": ([(2, FULL)], "--max-age 119m", [AGE + "2.0 hours old"]),
    "older than hours": ([(2, FULL)], "--max-age 1h", [AGE + "2.0 hours old"]),
    "older than days": ([(49, FULL)], "--max-age 2d", [AGE + "2.0 days old"]),
    "younger than days": ([(47, FULL)], "--max-age 2d", []),
    "younger than weeks": ([(47, FULL)], "--max-age 9999w", []),
    "a loss of this week": ([OLD, NEW], "", LOST),
    "a loss of as long ago as one wants": ([OLD, NEW], "--lost-within 145h", LOST),
    "an older loss": ([OLD, NEW], "--lost-within 143h", []),
    "a loss that was made good": ([(3, FULL), (2, {"atoms": 1}), (1, FULL)], "", []),
    "a device's own loss": ([*TURNS[1:], (2, {"atoms": 1}, PHONE)], "", PHONES),
}


@pytest.mark.parametrize(("rows", "arguments", "found"), FINDINGS.values(), ids=FINDINGS.keys())
def test_it_finds(tmp_path, rows, arguments, found):
    ids = fill(tmp_path, *rows)
    assert problems(tmp_path, *arguments.split()) == [one.format(*ids) for one in found]


@pytest.mark.parametrize(
    ("timestamp", "age"),
    [
        ("long ago", "has no time"),
        (["long ago"], "has no time"),
        ("9999-12-31T23:59:59-14:00", "has no time"),
        ((NOW + timedelta(days=400)).isoformat(), "days ahead of the clock"),
        ((NOW - timedelta(days=4)).isoformat(), "2031-01-01T00-00-00-123Z-ab12, is 4.0 days old"),
    ],
)
def test_age_is_told_by_the_time_whatever_the_id(tmp_path, timestamp, age):
    """And a loss of unknown time is reported."""
    fill(tmp_path, (2, FULL))
    backup_id = "2031-01-01T00-00-00-123Z-ab12"
    text = json.dumps({"id": backup_id, "timestamp": timestamp, "data": {"atoms": []}})
    (tmp_path / file_name(backup_id)).write_text(text)
    found, *lost = problems(tmp_path, "--max-age", "26h")
    assert found.endswith(age)
    assert len(lost) == 3


def test_a_damaged_backup_is_found_and_with_verify_a_flipped_bit(tmp_path):
    first, last = (tmp_path / file_name(one) for one in fill(tmp_path, (3, FULL), (2, FULL)))
    flip(first)
    assert problems(tmp_path) == []
    flipped = f"{first.name} is damaged: Its bytes do not match its SHA-256"
    assert problems(tmp_path, "--verify") == [flipped]
    last.write_bytes(last.read_bytes()[:-1])
    too_old, cut = problems(tmp_path, "--max-age", "150m")
    assert first.name[7:-5] in too_old
    assert cut.startswith(f"{last.name} is damaged: It has ")


ONE, TWO_A_DAY = [40], [day / 2 for day in range(100)]  # ONE counts as one every three days
ROOM = [(9.9, ONE, 29), (10.1, ONE, None), (None, ONE, None)]
ROOM += [(59.5, TWO_A_DAY, 29), (61.5, TWO_A_DAY, None)]


@pytest.mark.parametrize(("free", "ages", "days"), ROOM)
def test_room_for_less_than_a_month_is_found(tmp_path, monkeypatch, free, ages, days):
    """``free`` is in sizes of one backup; None is a file system that does not say it."""
    fill(tmp_path, *((24 * age, {"atoms": 1000}) for age in ages))
    size = len(next(iter(backups_in(tmp_path).values())))
    blocks = 0 if free is None else 10**9
    status = os.statvfs_result((1, 1, blocks, 0, int((free or 0) * size), 1, 1, 1, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: status)
    room = f"the disk has room for {days} days at the present rate: use prune, or make room"
    assert problems(tmp_path) == ([] if days is None else [room])
