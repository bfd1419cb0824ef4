"""check: what it finds, how it says so, and what it does not cry wolf about."""

import json
import os
import re
from datetime import UTC, datetime, timedelta

import pytest
from commands import run, write_backup
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
    ended = run(directory, "check", "--max-age", "3h", "--verify")
    newest = max(before)[7:-5]
    assert (ended.returncode, ended.stderr) == (0, "")
    ok = rf"OK: 2 backups, the newest, {newest}, is 2\.\d hours old; room for [\d,]+ days\n"
    assert re.fullmatch(ok, ended.stdout)
    assert backups_in(directory) == before


def test_as_json_it_tells_what_it_looked_at(directory):
    document = json.loads(run(directory, "check", "--json").stdout)
    assert document.pop("daysOfRoom") > 30
    newest = max(backups_in(directory))[7:-5]
    assert document == {
        "status": "ok",
        "problems": [],
        "backups": 2,
        "devices": [{"deviceId": None, "name": "(no device)", "newest": newest}],
    }


def test_no_backup_at_all_is_found(tmp_path):
    (tmp_path / "data").mkdir()
    found = problems(tmp_path / "data", "--max-age", "26h")
    assert found == ["there is no backup that can be read"]


@pytest.mark.parametrize(
    ("age", "is_found"),
    [("119m", True), ("1h", True), ("3h", False), ("2d", False), ("9999w", False)],
)
def test_a_newest_backup_that_is_too_old_is_found(directory, age, is_found):
    newest = max(backups_in(directory))[7:-5]
    found = problems(directory, "--max-age", age)
    assert [one[:-11] for one in found] == [f"the newest backup, {newest}, is 2."] * is_found


def test_age_is_told_by_the_time_and_not_by_an_id_that_runs_ahead(directory):
    write_backup(directory, NOW - timedelta(days=4), FULL, backup_id="2031-01-01T00-00-00-0007")
    (found,) = problems(directory, "--max-age", "26h")
    assert "2031-01-01T00-00-00-0007, is 4.0 days old" in found


@pytest.mark.parametrize(
    ("timestamp", "age"),
    [
        ("long ago", "has no time"),
        ("9999-12-31T23:59:59-14:00", "has no time"),
        ("2026-01-01T24:00:00Z", "has no time"),
        ((NOW + timedelta(days=400)).isoformat(), "days ahead of the clock"),
        ("9999-12-31T23:59:59+00:00", "days ahead of the clock"),
    ],
)
def test_a_time_that_cannot_be_or_is_to_come_is_no_young_one(tmp_path, timestamp, age):
    backup_id = "2026-01-01T00-00-00-123Z-ab12"
    text = json.dumps({"id": backup_id, "timestamp": timestamp, "data": {"atoms": []}})
    (tmp_path / file_name(backup_id)).write_text(text)
    (found,) = problems(tmp_path, "--max-age", "26h")
    assert found.endswith(age)


def test_a_head_that_cannot_be_read_is_found_and_passed_over(directory):
    newest = directory / max(backups_in(directory))
    newest.write_bytes(newest.read_bytes()[:-1])
    (found,) = problems(directory, "--max-age", "4h")
    assert found.startswith(f"{newest.name} is damaged: It has ")
    assert len(problems(directory, "--max-age", "150m")) == 2


def test_a_flipped_bit_is_found_with_verify(directory):
    oldest = directory / min(backups_in(directory))
    text = bytearray(oldest.read_bytes())
    text[-20] ^= 1
    oldest.write_bytes(text)
    assert problems(directory) == []
    (found,) = problems(directory, "--verify")
    assert found == f"{oldest.name} is damaged: Its bytes do not match its SHA-256"


@pytest.mark.parametrize(
    ("free", "age", "days"),
    [
        (9.9, timedelta(days=40), 29),  # a backup every three days
        (10.1, timedelta(days=40), None),
        (0, timedelta(days=40), 0),
        (9.9, timedelta(hours=1), 29),
        (None, timedelta(hours=1), None),
    ],
)
def test_room_for_less_than_a_month_is_found(tmp_path, monkeypatch, free, age, days):
    """``free`` is in sizes of the one backup."""
    write_backup(tmp_path / "data", NOW - age, {"atoms": 1000})
    (size,) = map(len, backups_in(tmp_path / "data").values())
    check_room(tmp_path / "data", monkeypatch, free and free * size, days)


def test_the_present_rate_is_what_was_stored_in_the_last_month(tmp_path, monkeypatch):
    for hour in range(100):
        write_backup(tmp_path / "data", NOW - timedelta(hours=hour))
    size = sum(map(len, backups_in(tmp_path / "data").values())) / 7
    check_room(tmp_path / "data", monkeypatch, 29.9 * size, 29)
    check_room(tmp_path / "data", monkeypatch, 30.1 * size, None)


def check_room(directory, monkeypatch, free: float | None, days: int | None) -> None:
    blocks = 0 if free is None else 10**9
    status = os.statvfs_result((1, 1, blocks, 0, int(free or 0), 1, 1, 1, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: status)
    room = f"the disk has room for {days} days at the present rate: delete old backups with prune,"
    assert problems(directory) == ([] if days is None else [f"{room} or make room"])


# --- losses ---------------------------------------------------------------------------------------


def test_a_category_that_lost_half_is_found_with_what_to_restore(directory):
    before = max(backups_in(directory))[7:-5]
    write_backup(directory, NOW - timedelta(hours=1), FULL | {"atoms": 20, "voiceNotes": 0})
    assert problems(directory) == [
        f"atoms fell from 41 to 20: restore it from {before}",
        f"voiceNotes fell from 1 to 0: restore it from {before}",
    ]


def test_a_loss_is_reported_for_a_week_or_as_long_as_one_wants(tmp_path):
    directory = tmp_path / "data"
    for days, atoms in ((20, 41), (6, 4), (0, 4)):
        write_backup(directory, NOW - timedelta(days=days), FULL | {"atoms": atoms})
    assert len(problems(directory)) == 1
    assert problems(directory, "--lost-within", "5d") == []
    assert len(problems(directory, "--lost-within", "156h")) == 1


def test_the_line_names_all_findings(directory):
    write_backup(directory, NOW - timedelta(hours=1), FULL | {"atoms": 0, "snapshots": 1})
    oldest = directory / min(backups_in(directory))
    oldest.write_bytes(b"{")
    found = problems(directory, "--max-age", "5m")
    words = ["is 1.", "is damaged", "atoms fell", "snapshots fell"]
    assert all(word in one for word, one in zip(words, found, strict=True))


# --- devices --------------------------------------------------------------------------------------

LAPTOP = {"deviceId": "laptop-of-the-owner", "device": "Laptop"}
PHONE = {"deviceId": "phone-of-the-owner", "device": "Phone"}


def test_devices_that_take_turns_lose_nothing_and_each_has_a_line(tmp_path):
    for hours, device, atoms in ((5, LAPTOP, 41), (4, PHONE, 3), (3, LAPTOP, 41), (2, PHONE, 3)):
        last = write_backup(tmp_path, NOW - timedelta(hours=hours), {"atoms": atoms}, **device)
    assert problems(tmp_path, "--max-age", "3h") == []
    ok, phone, laptop = run(tmp_path, "check").stdout.splitlines()
    assert ok.startswith(f"OK: 4 backups, the newest, {last}, is 2.")
    assert phone.startswith(f"Phone: the newest, {last}, is 2.")
    assert re.match(r"Laptop: the newest, \S+, is 3\.", laptop)
    document = json.loads(run(tmp_path, "check", "--json").stdout)
    assert [one["deviceId"] for one in document["devices"]] == [
        "phone-of-the-owner",
        "laptop-of-the-owner",
    ]


def test_a_loss_names_its_device(tmp_path):
    before = write_backup(tmp_path, NOW - timedelta(hours=5), {"atoms": 41}, **LAPTOP)
    for hours, device in ((4, PHONE), (3, LAPTOP), (2, PHONE)):
        write_backup(tmp_path, NOW - timedelta(hours=hours), {"atoms": 3}, **device)
    (found,) = problems(tmp_path)
    assert found == f"Laptop: atoms fell from 41 to 3: restore it from {before}"


def test_cleared_site_data_hide_no_loss(tmp_path):
    before = write_backup(tmp_path, NOW - timedelta(hours=5), {"atoms": 41}, **LAPTOP)
    write_backup(tmp_path, NOW - timedelta(hours=4), {"atoms": 3}, **PHONE)
    new = LAPTOP | {"deviceId": "given-anew"}
    write_backup(tmp_path, NOW - timedelta(hours=3), {"atoms": 0}, **new)
    (found,) = problems(tmp_path)
    assert found == (f"Laptop (given-an): atoms fell from 41 to 0: restore it from {before}")
    write_backup(tmp_path, NOW - timedelta(hours=2), {"atoms": 40}, **new)
    assert problems(tmp_path) == []
