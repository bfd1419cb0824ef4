"""The command line: list, verify, help, errors, and what no command does."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from commands import MODULE, environ, run, write_backup
from support import ROOT, backups_in

from backup_server import __version__
from backup_server.ids import file_name

EXPRESS = ROOT / "tests" / "samples" / "express-data"
COMMANDS = ["serve", "list", "verify", "check", "prune"]
OURS = ["2027-03-01T12-00-00", "2027-03-02T12-00-00"]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A storage directory with three backups of the Express server and two of ours."""
    shutil.copytree(EXPRESS, tmp_path / "data")
    for day, counts in ((1, {"atoms": 6}), (2, {"snapshots": 2})):
        write_backup(tmp_path / "data", datetime(2027, 3, day, 12, tzinfo=UTC), counts)
    return tmp_path / "data"


def own(directory: Path) -> list[Path]:
    """Return the files that are not Express's, oldest first."""
    return [directory / file_name(backup_id) for backup_id in OURS]


def by_id(directory: Path) -> list[Path]:
    """Return all backups' files in the order of their ids, which is not that of their names."""
    return sorted(directory.glob("backup-*"), key=lambda path: path.stem)


def start(directory: Path, *arguments: str, **options) -> subprocess.Popen:
    """Start a command as a process of its own."""
    return subprocess.Popen([*MODULE, *arguments], env=environ(directory, TERM="xterm"), **options)


# --- verify ---------------------------------------------------------------------------------------


def test_verify_finds_nothing_where_nothing_is_damaged(directory):
    before = backups_in(directory)
    ended = run(directory, "verify")
    assert (ended.returncode, ended.stdout) == (
        0,
        f"5 backups in {directory}, 0 damaged.\n",
    )
    assert backups_in(directory) == before


def flip(text: bytes, at: int) -> bytes:
    return text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]


DAMAGE = {
    "a bit of the data": lambda text: flip(text, len(text) // 2),
    "a bit of the last item": lambda text: flip(text, text.rindex(b"1")),
    "a bit of the head": lambda text: flip(text, text.index(b"timestamp") + 14),
    "a digit of the sum": lambda text: flip(text, text.index(b'"sha256":"') + 10),
    "no sum": lambda text: re.sub(rb',"sha256":"\w+"', b"", text),
    "the last byte": lambda text: text[:-1],
    "half of it": lambda text: text[: len(text) // 2],
    "all of it": lambda text: b"",
    "another backup's name": lambda text: text.replace(OURS[1].encode(), OURS[0].encode(), 1),
    "half of an Express file": lambda text: (
        b'{"id":"%s","timestamp":"x","data":{' % OURS[1].encode()
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_verify_names_what_is_damaged_and_ends_with_1(directory, damage):
    path = own(directory)[1]
    assert damage(path.read_bytes()) != path.read_bytes()
    path.write_bytes(damage(path.read_bytes()))
    ended = run(directory, "verify")
    assert ended.returncode == 1
    line, summary = ended.stdout.splitlines()
    assert line.startswith(f"{path.name}: ")
    assert line.endswith(".")
    assert summary.startswith(f"5 backups in {directory}, 1 damaged")


# --- list -----------------------------------------------------------------------------------------


def test_list_prints_what_is_stored_newest_first(directory):
    ended = run(directory, "list")
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = [re.split(r"  +", line) for line in ended.stdout.splitlines()]
    files = by_id(directory)[::-1]
    assert [line[0] for line in lines] == [path.name[7:-5] for path in files]
    assert [int(line[1].replace(",", "")) for line in lines] == [
        path.stat().st_size for path in files
    ]
    counts = ["2 snapshots", "6 atoms", "1 compositions", "6 atoms", "6 atoms"]
    assert [line[2:] for line in lines] == [[count] for count in counts]


def test_list_has_a_column_of_devices_where_there_are_several(directory):
    made = datetime(2027, 3, 3, 12, tzinfo=UTC)
    write_backup(directory, made, {}, deviceId="phone-of-the-owner", device="Phone")
    lines = run(directory, "list").stdout.splitlines()
    devices = [re.split(r"  +", line)[2] for line in lines]
    assert devices == ["Phone", *["(no device)"] * 5]


def test_list_says_which_file_is_damaged_and_goes_on(directory):
    own(directory)[0].write_bytes(b"{")
    ended = run(directory, "list")
    assert ended.returncode == 0
    assert len(ended.stdout.splitlines()) == 5
    assert f"{OURS[0]}  damaged: " in ended.stdout


def test_list_as_json_is_what_the_api_lists_and_what_is_damaged(directory, client):
    write_backup(directory, datetime(2027, 3, 3, tzinfo=UTC), deviceId="phone", device="Phone")
    own(directory)[0].write_bytes(b"{")
    ended = run(directory, "list", "--json")
    assert ended.stderr == ""
    document = json.loads(ended.stdout)
    assert document["damaged"] == [{"id": OURS[0], "error": "It does not end like a backup."}]
    listed = client.get("/api/backup/list").json["backups"]
    for backup in listed:
        backup.pop("clientTimestamp")
    of_none = {"deviceId": None, "device": None}
    assert document["backups"] == [of_none | backup for backup in listed]


@pytest.mark.parametrize("name", ["list", "verify"])
def test_a_folder_or_a_link_of_a_backups_name_is_nothing_to_them(directory, name):
    (directory / file_name("2026-01-01T00-00-00")).mkdir()
    (directory / file_name("2026-01-01T00-00-01")).symlink_to("/etc/hostname")
    ended = run(directory, name)
    assert ended.returncode == 0
    assert "2026-01-01" not in ended.stdout


# --- what a file may hold -------------------------------------------------------------------------

ESCAPES = "\x1b]0;owned\x07 \x9b31m \u202egnp\r\n\x7f \ud83d"


@pytest.mark.parametrize("arguments", [
        ["verify"], ["list"], ["list", "--json"], ["check"], ["check", "--json"],
        ["prune", "--keep-last", "1"], ["prune", "--forget-series", "?"],
    ])  # fmt: skip
def test_no_text_of_a_file_acts_on_the_terminal(tmp_path, arguments):
    backup_id = "2026-01-01T00-00-00-000Z-abcd"
    for name, document in {
        backup_id: {"id": ESCAPES, "timestamp": ESCAPES, "clientTimestamp": ESCAPES, "data": {}},
        "2026-01-02T00-00-00-000Z-abcd": {"id": "x", "timestamp": "x", "data": {}, ESCAPES: "{"},
        "2026-01-03T00-00-00-000Z-abcd": {"id": 1, "timestamp": ESCAPES, "data": {ESCAPES: []}},
    }.items():
        (tmp_path / file_name(name)).write_text(json.dumps(document, ensure_ascii=True))
    number = '{"id":"x","timestamp":%s,"data":{}}' % ("9" * 5000)  # more digits than Python reads
    (tmp_path / file_name("2026-01-05T00-00-00")).write_text(number)
    device = ESCAPES.rstrip("\ud83d")
    for hour in range(2):
        made = datetime(2026, 1, 4, hour, tzinfo=UTC)
        write_backup(tmp_path, made, deviceId=f"device-{hour}", device=device)
    ended = run(tmp_path, *arguments)
    assert ended.stdout + ended.stderr
    assert all(letter.isprintable() or letter == "\n" for letter in ended.stdout + ended.stderr)


# --- help and errors ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_help_is_shown_whatever_the_settings_are(tmp_path, name):
    ended = run(tmp_path / "none", *([name] if name else []), "--help", PORT="http")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("Usage: ")
    assert re.search("Exit status:|Example: portfolio-backup|Example: DATA_DIR=", ended.stdout)
    assert len(ended.stdout.splitlines()) <= 48, "a screen"
    assert not (tmp_path / "none").exists()


def test_the_version_is_that_of_the_changelog(directory):
    assert run(directory, "--version").stdout == f"portfolio-backup {__version__}\n"
    newest = re.search(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest[1] == __version__


WRONG = {
    "an unknown command": ["nonsense"],
    "an unknown option": ["--nonsense"],
    "an unknown option of a command": ["verify", "--nonsense"],
    "an argument too many": ["list", "nonsense"],
    "no rule": ["prune", "--yes"],
    "a rule of no number": ["prune", "--keep-last", "many"],
    "a rule that keeps nothing": ["prune", "--keep-last", "0"],
    "an unknown time zone": ["prune", "--keep-last", "1", "--timezone", "Mars/Olympus"],
    "a folder of time zones": ["prune", "--keep-last", "1", "--timezone", "Europe"],
    "a path for a time zone": ["prune", "--keep-last", "1", "--timezone", "../../etc/passwd"],
    "a series that is not there": ["prune", "--forget-series", "nobody", "--yes"],
    "a time without unit": ["check", "--max-age", "26"],
    "a time of no unit": ["check", "--max-age", "26x"],
    "a time of too many digits": ["check", "--max-age", "999999999w"],
    "a time that is too long": ["check", "--lost-within", "99999w9999w"],
    "a time in two units": ["check", "--lost-within", "1w2d"],
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG.keys())
def test_wrong_usage_ends_with_2_and_one_line(directory, arguments):
    before = sorted(os.listdir(directory))
    ended = run(directory, *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.endswith("--help.")
    assert sorted(os.listdir(directory)) == before


LOOKING = [["list"], ["verify"], ["check"], ["prune", "--keep-last", "1", "--yes"]]


@pytest.mark.parametrize("arguments", LOOKING, ids=lambda arguments: arguments[0])
@pytest.mark.parametrize("given", [True, False])
def test_a_directory_that_is_not_there_is_not_made(tmp_path, monkeypatch, arguments, given):
    monkeypatch.chdir(tmp_path)
    ended = run(tmp_path / "typo" if given else None, *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"DATA_DIR is '{tmp_path}/typo'" if given else "DATA_DIR is not set")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", LOOKING, ids=lambda arguments: arguments[0])
def test_a_directory_that_cannot_be_read_is_named_in_one_line(directory, monkeypatch, arguments):
    def fail(path, *rest):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", fail)
    ended = run(directory, *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"{directory}: Permission denied.\n"


# --- as a process ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [MODULE, [str(Path(sys.executable).with_name("portfolio-backup"))]]
)
def test_both_ways_of_starting_it_are_one(command, directory):
    ended = subprocess.run([*command, "list"], env=environ(directory), capture_output=True)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.decode() == run(directory, "list").stdout


def test_a_reader_that_goes_away_ends_a_command_without_a_word(directory):
    for number in range(3000):
        (directory / file_name(f"2020-01-01T00-00-00-{number:04}")).write_bytes(b"{")
    with start(directory, "list", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        assert command.stdout.readline().startswith(OURS[1].encode())
        command.stdout.close()
        assert command.stderr.read() == b""
    assert command.returncode == 1


def test_output_that_cannot_be_written_is_one_line(directory):
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [*MODULE, "list"], env=environ(directory), stdout=full, stderr=subprocess.PIPE
        )
    assert (ended.returncode, ended.stderr) == (2, b"No space left on device.\n")


def test_letters_that_the_terminal_does_not_have_are_replaced(tmp_path):
    (tmp_path / "dätä").mkdir()
    ended = subprocess.run(
        [*MODULE, "verify"],
        env=environ(tmp_path / "dätä", PYTHONIOENCODING="ascii"),
        capture_output=True,
    )
    assert ended.stdout.startswith(f"0 backups in {tmp_path}/d?t?, ".encode())


def test_progress_is_shown_on_a_terminal_and_an_interrupted_command_ends_with_130(tmp_path):
    for number in range(9999):
        (tmp_path / file_name(f"2020-01-01T00-00-00-{number:04}")).write_bytes(b"{")
    controller, terminal = pty.openpty()
    process = start(tmp_path, "verify", stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = b""
    while b" 1%" not in shown:
        shown += os.read(controller, 65536)
    process.send_signal(signal.SIGINT)
    status = process.wait(30)
    try:
        while piece := os.read(controller, 65536):
            shown += piece
    except OSError:
        pass  # all was read, and nobody is there to write
    os.close(controller)
    assert status == 128 + signal.SIGINT
    assert b"Reading" in shown
    assert b"Traceback" not in shown
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l"), "the cursor is back"
