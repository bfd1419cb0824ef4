"""check: what it finds, how it says so, and what it does not cry wolf about."""

import json
import os
import re
from datetime import UTC, datetime, timedelta

import pytest
from commands import run, write_backup
from support import backups_in

from backup_server.ids import file_name
from backup_server.storage import iso

NOW = datetime.now(UTC)
FULL = {"atoms": 41, "snapshots": 12, "voiceNotes": 1}


@pytest.fixture
def directory(tmp_path):
    """A storage directory with a backup of three hours ago and one of two."""
    for hours in (3, 2):
        write_backup(tmp_path / "data", NOW - timedelta(hours=hours), FULL)
    return tmp_path / "data"


def findings(directory, *arguments: str) -> list[dict]:
    """Return what is found, as JSON; check that the line says all of it, with the same status."""
    ended = run(directory, "check", *arguments, "--json")
    document = json.loads(ended.stdout)
    found = document["findings"]
    line = run(directory, "check", *arguments)
    assert (ended.returncode, ended.stderr) == (line.returncode, line.stderr) == (bool(found), "")
    assert document["status"] == ("problem" if found else "ok")
    messages = "; ".join(finding["message"] for finding in found)
    assert line.stdout.startswith(f"PROBLEM: {messages}\n" if found else "OK: ")
    assert len(line.stdout.splitlines()) == 1 + len(document["devices"]) * (
        len(document["devices"]) > 1
    )
    return found


def kinds(directory, *arguments: str) -> list[str]:
    return [finding["kind"] for finding in findings(directory, *arguments)]


def test_where_all_is_well_it_is_one_line_and_0(directory):
    before = backups_in(directory)
    ended = run(directory, "check", "--max-age", "3h", "--verify")
    newest = max(before)[7:-5]
    assert (ended.returncode, ended.stderr) == (0, "")
    ok = f"OK: 2 backups, the newest, {newest}, is 2h"
    assert re.match(rf"{ok}\d+m old; room for [\d,]+ days at the present rate\n", ended.stdout)
    assert backups_in(directory) == before


def test_as_json_it_tells_what_it_looked_at(directory):
    document = json.loads(run(directory, "check", "--json").stdout)
    newest = max(backups_in(directory))[7:-5]
    assert document.pop("daysOfRoom") > 30
    assert document == {
        "directory": str(directory),
        "status": "ok",
        "backups": 2,
        "devices": [
            {
                "deviceId": None,
                "name": "(no device)",
                "newest": newest,
                "made": iso(NOW - timedelta(hours=2)),
            }
        ],
        "findings": [],
    }


def test_no_backup_at_all_is_found(tmp_path):
    (tmp_path / "data").mkdir()
    (found,) = findings(tmp_path / "data", "--max-age", "26h")
    assert found == {"kind": "none", "message": "there is no backup that can be read"}


@pytest.mark.parametrize(
    ("age", "is_found"),
    [("119m", True), ("1h", True), ("3h", False), ("2d", False), ("9999w", False)],
)
def test_a_newest_backup_that_is_too_old_is_found(directory, age, is_found):
    found = findings(directory, "--max-age", age)
    assert [one["kind"] for one in found] == ["age"] * is_found
    if is_found:
        newest = max(backups_in(directory))[7:-5]
        assert found[0]["message"].startswith(f"the newest backup, {newest}, is 2h")


def test_age_is_told_by_the_time_and_not_by_an_id_that_runs_ahead(directory):
    write_backup(directory, NOW - timedelta(days=4), FULL, backup_id="2031-01-01T00-00-00-0007")
    (found,) = findings(directory, "--max-age", "26h")
    assert "2031-01-01T00-00-00-0007, is 4d0h old" in found["message"]


@pytest.mark.parametrize(
    ("timestamp", "backup_id", "age"),
    [
        ("long ago", f"{NOW - timedelta(days=3):%Y-%m-%dT%H-%M-%S}", "is 3d0h old"),
        ("9999-12-31T23:59:59-14:00", f"{NOW - timedelta(days=3):%Y-%m-%dT%H-%M-%S}", "is 3d0h"),
        ("long ago", "9999-99-99T99-99-99", "has no time"),
        ((NOW + timedelta(days=400)).isoformat(), "2026-01-01T00-00-00", "is dated 399d"),
        ("9999-12-31T23:59:59+00:00", "2026-01-01T00-00-00", "ahead of the clock"),
    ],
)
def test_a_time_that_cannot_be_or_is_to_come_is_no_young_one(tmp_path, timestamp, backup_id, age):
    backup_id += "-123Z-ab12"
    text = json.dumps({"id": backup_id, "timestamp": timestamp, "data": {"atoms": []}})
    (tmp_path / file_name(backup_id)).write_text(text)
    (found,) = findings(tmp_path, "--max-age", "26h")
    assert found["kind"] == "age"
    assert age in found["message"]


def test_a_head_that_cannot_be_read_is_found_and_passed_over(directory):
    newest = directory / max(backups_in(directory))
    newest.write_bytes(newest.read_bytes()[:-1])
    (found,) = findings(directory, "--max-age", "4h")
    assert found["kind"] == "damaged"
    assert found["message"].startswith(f"{newest.name} is damaged: It has ")
    assert kinds(directory, "--max-age", "150m") == ["age", "damaged"]


def test_a_flipped_bit_is_found_with_verify(directory):
    oldest = directory / min(backups_in(directory))
    text = bytearray(oldest.read_bytes())
    text[-20] ^= 1
    oldest.write_bytes(text)
    assert findings(directory) == []
    (found,) = findings(directory, "--verify")
    assert found["kind"] == "damaged"
    assert found["message"].startswith(f"{oldest.name} is damaged: Its bytes do not match")


@pytest.mark.parametrize(
    ("free", "age", "room"),
    [
        (29.5 / 7, timedelta(hours=1), "29 days at the present rate"),
        (31 / 7, timedelta(hours=1), "4 more backups like the newest"),
        (31, timedelta(hours=1), None),
        (9.5, timedelta(days=40), "9 more backups like the newest"),
        (10.5, timedelta(days=40), None),
        (0, timedelta(days=40), "0 more backups like the newest"),
        (None, timedelta(hours=1), None),
    ],
)
def test_room_for_less_than_a_month_or_ten_backups_is_found(tmp_path, monkeypatch, free, age, room):
    """``free`` is in sizes of the one backup, of which a week's rate is a seventh a day."""
    write_backup(tmp_path / "data", NOW - age, {"atoms": 1000})
    (size,) = map(len, backups_in(tmp_path / "data").values())
    blocks = 0 if free is None else 10**9
    status = os.statvfs_result((1, 1, blocks, 0, int((free or 0) * size), 1, 1, 1, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: status)
    found = findings(tmp_path / "data")
    assert [one["kind"] for one in found] == ["room"] * bool(room)
    if room:
        assert found[0]["message"] == (
            f"the disk has room for {room}: delete old backups with prune, or make room"
        )


# --- losses ---------------------------------------------------------------------------------------


def test_a_category_that_lost_half_is_found_with_what_to_restore(directory):
    before = max(backups_in(directory))[7:-5]
    write_backup(directory, NOW - timedelta(hours=1), FULL | {"atoms": 20, "voiceNotes": 0})
    atoms, notes = findings(directory)
    assert atoms == {
        "kind": "lost",
        "message": f"atoms fell from 41 to 20: restore it from {before}",
    }
    assert notes["message"] == f"voiceNotes fell from 1 to 0: restore it from {before}"


def test_a_loss_is_reported_for_a_week_or_as_long_as_one_wants(tmp_path):
    directory = tmp_path / "data"
    for days, atoms in ((20, 41), (6, 4), (0, 4)):
        write_backup(directory, NOW - timedelta(days=days), FULL | {"atoms": atoms})
    assert kinds(directory) == ["lost"]
    assert kinds(directory, "--lost-within", "5d") == []
    assert kinds(directory, "--lost-within", "156h") == ["lost"]


def test_the_line_names_all_findings(directory):
    write_backup(directory, NOW - timedelta(hours=1), FULL | {"atoms": 0, "snapshots": 1})
    oldest = directory / min(backups_in(directory))
    oldest.write_bytes(b"{")
    assert kinds(directory, "--max-age", "5m") == ["age", "damaged", "lost", "lost"]


# --- devices --------------------------------------------------------------------------------------

LAPTOP = {"deviceId": "laptop-of-the-owner", "device": "Laptop"}
PHONE = {"deviceId": "phone-of-the-owner", "device": "Phone"}


def test_devices_that_take_turns_lose_nothing_and_each_has_a_line(tmp_path):
    for hours, device, atoms in ((5, LAPTOP, 41), (4, PHONE, 3), (3, LAPTOP, 41), (2, PHONE, 3)):
        last = write_backup(tmp_path, NOW - timedelta(hours=hours), {"atoms": atoms}, **device)
    assert findings(tmp_path, "--max-age", "3h") == []
    ok, phone, laptop = run(tmp_path, "check").stdout.splitlines()
    assert ok.startswith(f"OK: 4 backups, the newest, {last}, is 2h")
    assert phone.startswith(f"Phone: the newest, {last}, is 2h")
    assert re.match(r"Laptop: the newest, \S+, is 3h", laptop)
    document = json.loads(run(tmp_path, "check", "--json").stdout)
    assert [one["deviceId"] for one in document["devices"]] == [
        "phone-of-the-owner",
        "laptop-of-the-owner",
    ]


def test_a_loss_names_its_device(tmp_path):
    before = write_backup(tmp_path, NOW - timedelta(hours=5), {"atoms": 41}, **LAPTOP)
    for hours, device in ((4, PHONE), (3, LAPTOP), (2, PHONE)):
        write_backup(tmp_path, NOW - timedelta(hours=hours), {"atoms": 3}, **device)
    (found,) = findings(tmp_path)
    assert found["message"] == f"Laptop: atoms fell from 41 to 3: restore it from {before}"


def test_cleared_site_data_hide_no_loss(tmp_path):
    before = write_backup(tmp_path, NOW - timedelta(hours=5), {"atoms": 41}, **LAPTOP)
    write_backup(tmp_path, NOW - timedelta(hours=4), {"atoms": 3}, **PHONE)
    new = LAPTOP | {"deviceId": "given-anew"}
    write_backup(tmp_path, NOW - timedelta(hours=3), {"atoms": 0}, **new)
    (found,) = findings(tmp_path)
    assert found["message"] == (
        f"Laptop (given-an): atoms fell from 41 to 0: restore it from {before}"
    )
    write_backup(tmp_path, NOW - timedelta(hours=2), {"atoms": 40}, **new)
    assert findings(tmp_path) == []
