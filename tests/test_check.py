"""check: what it finds, how it says so, and what it does not cry wolf about."""

import json
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from commands import MODULE, environ, run, write_backup
from support import backups_in, require_tool

from backup_server.ids import file_name

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
    assert ended.stderr == ""
    assert ended.returncode == (1 if found else 0)
    assert document["status"] == ("problem" if found else "ok")
    line = run(directory, "check", *arguments)
    assert (line.returncode, line.stderr) == (ended.returncode, "")
    assert len(line.stdout.splitlines()) == 1
    if found:
        messages = "; ".join(finding["message"] for finding in found)
        assert line.stdout == f"PROBLEM: {messages}\n"
    else:
        assert line.stdout.startswith("OK: ")
    return found


def test_where_all_is_well_it_is_one_line_and_0(directory):
    before = backups_in(directory)
    ended = run(directory, "check", "--max-age", "3h", "--verify")
    newest = max(before)[7:-5]
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"OK: 2 backups, the newest, {newest}, is 2h")
    assert len(ended.stdout.splitlines()) == 1
    assert backups_in(directory) == before


def test_as_json_it_tells_what_it_looked_at(directory):
    document = json.loads(run(directory, "check", "--json").stdout)
    newest = document.pop("newest")
    assert document.pop("freeBytes") > 0
    assert document == {
        "directory": str(directory),
        "status": "ok",
        "backups": 2,
        "findings": [],
    }
    assert newest["id"] == max(backups_in(directory))[7:-5]
    assert newest["size"] == len(max(backups_in(directory).items())[1])
    assert 7200 <= newest["ageSeconds"] < 10_800  # it is made when the tests begin
    assert datetime.fromisoformat(newest["made"]) == (NOW - timedelta(hours=2)).replace(
        microsecond=NOW.microsecond // 1000 * 1000
    )


def test_no_backup_at_all_is_found(tmp_path):
    (tmp_path / "data").mkdir()
    (found,) = findings(tmp_path / "data", "--max-age", "26h")
    assert found == {"kind": "none", "message": "there is no backup that can be read"}


@pytest.mark.parametrize(
    ("age", "is_found"),
    [("119m", True), ("1h59m", True), ("3h", False), ("2d", False), ("1w", False)],
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


def test_without_a_time_in_it_a_backups_id_tells_its_age(tmp_path):
    """One of the Express server whose timestamp was edited away."""
    (tmp_path / "data").mkdir()
    name = f"{NOW - timedelta(days=3):%Y-%m-%dT%H-%M-%S}-123Z-ab12"
    text = json.dumps({"id": name, "timestamp": "long ago", "data": {"atoms": []}})
    (tmp_path / "data" / file_name(name)).write_text(text)
    (found,) = findings(tmp_path / "data", "--max-age", "26h")
    assert found["message"] == f"the newest backup, {name}, is 3d0h old"


def test_a_newest_backup_of_the_future_is_no_young_one(directory):
    write_backup(directory, NOW + timedelta(days=400), FULL)
    (found,) = findings(directory, "--max-age", "26h")
    assert found["kind"] == "age"
    assert "is dated 399d" in found["message"]
    assert found["message"].endswith("ahead of the clock")


def test_a_head_that_cannot_be_read_is_found_and_passed_over(directory):
    newest = directory / max(backups_in(directory))
    newest.write_bytes(newest.read_bytes()[:-1])
    (found,) = findings(directory, "--max-age", "4h")
    assert (found["kind"], found["file"]) == ("damaged", newest.name)
    assert found["message"].startswith(f"{newest.name} is damaged: It has ")
    assert [one["kind"] for one in findings(directory, "--max-age", "150m")] == ["age", "damaged"]


def test_a_flipped_bit_is_found_with_verify(directory):
    oldest = directory / min(backups_in(directory))
    text = bytearray(oldest.read_bytes())
    text[-20] ^= 1
    oldest.write_bytes(text)
    assert findings(directory) == []
    (found,) = findings(directory, "--verify")
    assert (found["kind"], found["file"]) == ("damaged", oldest.name)


def test_a_disk_with_room_for_less_than_ten_more_is_found(tmp_path):
    require_tool("unshare")
    script = (
        'mount -t tmpfs -o size=2m none "$DATA_DIR" && cp -a "$DATA_DIR.was/." "$DATA_DIR" && '
        'exec "$@"'
    )
    directory = tmp_path / "data"
    write_backup(tmp_path / "data.was", NOW, {"atoms": 18_000})
    directory.mkdir()
    ended = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script, "-", *MODULE, "check", "--json"],
        env=environ(directory),
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "permitted" in ended.stderr or "denied" in ended.stderr:
        pytest.skip("only root can mount")
    assert ended.returncode == 1, ended.stderr
    document = json.loads(ended.stdout)
    (found,) = document["findings"]
    assert found["kind"] == "room"
    size = document["newest"]["size"]
    assert size < document["freeBytes"] < 10 * size
    assert f"{document['freeBytes']:,} bytes are free" in found["message"]


# --- losses ---------------------------------------------------------------------------------------


def test_a_category_that_lost_half_is_found_with_what_to_restore(directory):
    before = max(backups_in(directory))[7:-5]
    write_backup(directory, NOW - timedelta(hours=1), FULL | {"atoms": 20, "voiceNotes": 0})
    atoms, notes = findings(directory)
    assert atoms == {
        "kind": "lost",
        "message": f"atoms fell from 41 to 20: restore it from {before}",
        "category": "atoms",
        "had": 41,
        "has": 20,
        "restore": before,
    }
    assert notes["message"] == f"voiceNotes fell from 1 to 0: restore it from {before}"


def test_a_smaller_loss_is_not_found(directory):
    write_backup(directory, NOW - timedelta(hours=1), FULL | {"atoms": 21})
    assert findings(directory) == []


def test_a_loss_is_still_told_when_backups_were_made_after_it(directory):
    """A browser that lost its data goes on making backups; check runs once an hour."""
    before = max(backups_in(directory))[7:-5]
    for minutes in (50, 40, 30):
        write_backup(directory, NOW - timedelta(minutes=minutes), FULL | {"atoms": 2})
    (found,) = findings(directory)
    assert found["restore"] == before


def test_a_loss_that_was_made_good_is_not_told_any_more(directory):
    write_backup(directory, NOW - timedelta(minutes=50), FULL | {"atoms": 2})
    write_backup(directory, NOW - timedelta(minutes=40), FULL)
    assert findings(directory) == []


def test_a_loss_in_two_steps_is_restored_from_before_the_first(directory):
    before = max(backups_in(directory))[7:-5]
    for minutes, atoms in ((50, 20), (40, 5)):
        write_backup(directory, NOW - timedelta(minutes=minutes), FULL | {"atoms": atoms})
    (found,) = findings(directory)
    assert (found["had"], found["restore"]) == (41, before)


def test_what_was_deleted_on_purpose_is_told_for_a_week_or_as_long_as_one_wants(tmp_path):
    directory = tmp_path / "data"
    for days, atoms in ((20, 41), (6, 4), (0, 4)):
        write_backup(directory, NOW - timedelta(days=days), FULL | {"atoms": atoms})
    assert len(findings(directory)) == 1
    assert findings(directory, "--lost-within", "5d") == []
    assert len(findings(directory, "--lost-within", "6d12h")) == 1


def test_the_line_names_all_findings(directory):
    write_backup(directory, NOW - timedelta(hours=1), FULL | {"atoms": 0, "snapshots": 1})
    oldest = directory / min(backups_in(directory))
    oldest.write_bytes(b"{")
    kinds = [one["kind"] for one in findings(directory, "--max-age", "5m")]
    assert kinds == ["age", "damaged", "lost", "lost"]
