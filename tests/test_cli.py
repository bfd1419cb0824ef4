"""The command line: list, verify, help, errors, and what no command does."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from commands import MODULE, PHONE, environ, run, write_backup
from support import ROOT, backups_in

from backup_server import __version__
from backup_server.ids import file_name

EXPRESS = ROOT / "tests" / "samples" / "express-data"
TOO_EARLY = "It cannot be read: The body is not valid JSON: it ends too early (byte 1)."
OURS = ["2027-03-01T12-00-00", "2027-03-02T12-00-00"]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A storage directory with three backups of the Express server and two of ours."""
    shutil.copytree(EXPRESS, tmp_path / "data")
    for day, counts in ((1, {"atoms": 6}), (2, {"snapshots": 2})):
        write_backup(tmp_path / "data", datetime(2027, 3, day, 12, tzinfo=UTC), counts)
    return tmp_path / "data"


# --- verify and list ------------------------------------------------------------------------------


def flip(text: bytes, at: int) -> bytes:
    return text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]


DAMAGE = {
    "nothing": None,
    "a bit of the data": lambda text: flip(text, len(text) // 2),
    "a bit of the last item": lambda text: flip(text, text.rindex(b"1")),
    "a bit of the head": lambda text: flip(text, text.index(b"timestamp") + 14),
    "a digit of the sum": lambda text: flip(text, text.index(b'"sha256":"') + 10),
    "no sum": lambda text: re.sub(rb',"sha256":"\w+"', b"", text),
    "the last byte": lambda text: text[:-1],
    "half of it": lambda text: text[: len(text) // 2],
    "all of it": lambda text: b"",
    "another backup's name": lambda text: text.replace(OURS[1].encode(), OURS[0].encode(), 1),
    "half of an Express file": lambda text: text[:7] + b'x","timestamp":"x","data":{',
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_verify_names_what_is_damaged_and_ends_with_1(directory, damage):
    path, before = directory / file_name(OURS[1]), backups_in(directory)
    if damage:
        path.write_bytes(damage(path.read_bytes()))
        assert path.read_bytes() != before[path.name]
    ended = run(directory, "verify")
    *lines, summary = ended.stdout.splitlines()
    assert ended.returncode == len(lines) == bool(damage)
    assert all(line.startswith(f"{path.name}: ") and line.endswith(".") for line in lines)
    assert summary == f"5 backups in {directory}, {len(lines)} damaged."


def test_list_prints_what_is_stored_newest_first_with_a_column_of_several_devices(directory):
    lines = [re.split(r"  +", line) for line in run(directory, "list").stdout.splitlines()]
    files = sorted(directory.glob("backup-*"), key=lambda path: path.stem, reverse=True)
    counts = ["2 snapshots", "6 atoms", "1 compositions", "6 atoms", "6 atoms"]
    assert lines == [
        [path.name[7:-5], f"{path.stat().st_size:,}", count]
        for path, count in zip(files, counts, strict=True)
    ]
    write_backup(directory, datetime(2027, 3, 3, 12, tzinfo=UTC), {}, **PHONE)
    (directory / file_name(OURS[0])).write_bytes(b"{")
    lines = [re.split(r"  +", line) for line in run(directory, "list").stdout.splitlines()]
    assert lines.pop(2) == [OURS[0], f"damaged: {TOO_EARLY}"]
    assert [line[2] for line in lines] == ["Phone", *["(no device)"] * 4]


def test_list_as_json_is_what_the_api_lists_and_what_is_damaged(directory, client):
    write_backup(directory, datetime(2027, 3, 3, tzinfo=UTC), **PHONE)
    (directory / file_name(OURS[0])).write_bytes(b"{")
    document = json.loads(run(directory, "list", "--json").stdout)
    assert document["damaged"] == [{"id": OURS[0], "error": TOO_EARLY}]
    listed = client.get("/api/backup/list").json["backups"]
    for backup in listed:
        backup.pop("clientTimestamp")
    of_none = {"deviceId": None, "device": None}
    assert document["backups"] == [of_none | backup for backup in listed]


LOOKING = [["list"], ["verify"], ["check"], ["prune", "--keep-last", "1", "--yes"]]


ESCAPES = "\x1b]0;owned\x07 \x9b31m \u202egnp\r\n\x7f \ud83d"


@pytest.mark.parametrize("arguments", [
        ["verify"], ["list"], ["list", "--json"], ["check"], ["check", "--json"],
        ["prune", "--keep-last", "1"], ["prune", "--forget-series", "?"],
    ])  # fmt: skip
def test_no_text_of_a_file_acts_on_the_terminal(tmp_path, arguments):
    for document in (
        {"id": ESCAPES, "timestamp": ESCAPES, "clientTimestamp": ESCAPES, "data": {}},
        {"id": "x", "timestamp": "x", "data": {}, ESCAPES: "{"},
        {"id": 1, "timestamp": ESCAPES, "data": {ESCAPES: []}},
        {"id": "x", "timestamp": "more digits than Python reads", "data": {}},
    ):
        text = json.dumps(document).replace('"more digits than Python reads"', "9" * 5000)
        number = len(list(tmp_path.iterdir()))
        (tmp_path / file_name(f"2026-01-01T00-00-00-00{number}Z-abcd")).write_text(text)
    device = ESCAPES.rstrip("\ud83d")
    for hour in range(2):
        made = datetime(2026, 1, 4, hour, tzinfo=UTC)
        write_backup(tmp_path, made, deviceId=f"device-{hour}", device=device)
    ended = run(tmp_path, *arguments)
    assert ended.stdout + ended.stderr
    assert all(letter.isprintable() or letter == "\n" for letter in ended.stdout + ended.stderr)


# --- help and errors ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "serve", "list", "verify", "check", "prune"])
def test_help_is_shown_whatever_the_settings_are(tmp_path, name):
    ended = run(tmp_path / "none", *name.split(), "--help", PORT="http")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("Usage: ")
    assert re.search("Exit status:|Example: portfolio-backup|Example: DATA_DIR=", ended.stdout)
    assert len(ended.stdout.splitlines()) <= 40, "a screen"
    assert not (tmp_path / "none").exists()


def test_the_version_is_that_of_the_changelog(directory):
    assert run(directory, "--version").stdout == f"portfolio-backup {__version__}\n"
    newest = re.search(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest[1] == __version__


WRONG = {
    "nonsense": "No such command",
    "--nonsense": "No such option",
    "verify --nonsense": "No such option",
    "list nonsense": "unexpected extra argument",
    "prune --yes": "at least one --keep-",
    "prune --keep-last many": "--keep-last",
    "prune --keep-last 0": "--keep-last",
    "prune --keep-last 1 --timezone Mars/Olympus": "no time zone 'Mars/Olympus'",
    "prune --keep-last 1 --timezone Europe": "no time zone 'Europe'",
    "prune --keep-last 1 --timezone ../../etc/passwd": "no time zone '../../etc/passwd'",
    "prune --forget-series nobody --yes": "no series 'nobody'; there are: (no device).",
    "check --max-age 26": "--max-age",
    "check --max-age 26x": "--max-age",
    "check --max-age 999999999w": "not a time",
    "check --lost-within 99999w9999w": "--lost-within",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_usage_ends_with_2_and_one_line(directory, arguments):
    before = sorted(os.listdir(directory))
    ended = run(directory, *arguments.split())
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert WRONG[arguments] in line
    assert sorted(os.listdir(directory)) == before


@pytest.mark.parametrize("arguments", LOOKING, ids=lambda arguments: arguments[0])
def test_what_they_cannot_start_with_is_named_in_one_line(directory, monkeypatch, arguments):
    def fails(line: str, path: Path, **settings: str) -> None:
        ended = run(path, *arguments, **settings)
        assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"{line}\n")

    typo = directory / "typo"
    fails(f"DATA_DIR is '{typo}': there is no such directory.", typo)
    assert not typo.exists()
    fails("PORT is 'http': give a port from 1 to 65535", directory, PORT="http")

    def fail(path, *rest):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", fail)
    fails(f"{directory}: Permission denied.", directory)


# --- as a process ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [MODULE, [str(Path(sys.executable).with_name("portfolio-backup"))]]
)
def test_both_ways_of_starting_it_are_one(command, directory):
    ended = subprocess.run([*command, "list"], env=environ(directory), capture_output=True)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.decode() == run(directory, "list").stdout


@pytest.mark.parametrize(("way", "status"), [("reader goes away", 1), ("Ctrl-C", 130)])
def test_a_command_that_is_broken_off_ends_without_a_word(directory, way, status):
    for number in range(3000):
        (directory / file_name(f"2020-01-01T00-00-00-{number:04}")).write_bytes(b"{")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*MODULE, "list"], env=environ(directory), **pipes) as command:
        assert command.stdout.readline().startswith(OURS[1].encode())
        if way == "Ctrl-C":
            command.send_signal(signal.SIGINT)
            command.stdout.read()
        command.stdout.close()
        assert command.stderr.read().strip() == b""
    assert command.returncode == status


def test_output_that_cannot_be_written_is_one_line(directory):
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [*MODULE, "list"], env=environ(directory), stdout=full, stderr=subprocess.PIPE
        )
    assert (ended.returncode, ended.stderr) == (2, b"No space left on device.\n")


def test_letters_that_the_terminal_does_not_have_are_replaced(tmp_path):
    (tmp_path / "dłtł").mkdir()
    given = environ(tmp_path / "dłtł", PYTHONIOENCODING="latin-1")
    ended = subprocess.run([*MODULE, "verify"], env=given, capture_output=True)
    assert ended.stdout.startswith(f"0 backups in {tmp_path}/d?t?, ".encode())
