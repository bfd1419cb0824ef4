"""The command line: list, verify, help, errors, and what no command does."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import Mock

import pytest
from commands import MODULE, PHONE, environ, flip, run, write_backup
from support import ROOT

from backup_server.ids import file_name

OURS = ["2027-03-01T12-00-00", "2027-03-02T12-00-00"]
TOO_EARLY = "It cannot be read: The body is not valid JSON: it ends too early (byte 1)."


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A storage directory with three backups of the Express server and two of ours."""
    shutil.copytree(ROOT / "tests" / "samples" / "express-data", tmp_path / "data")
    for day, counts in ((1, {"atoms": 6}), (2, {"snapshots": 2})):
        write_backup(tmp_path / "data", datetime(2027, 3, day, 12, tzinfo=UTC), counts)
    return tmp_path / "data"


# --- verify and list ------------------------------------------------------------------------------


def test_verify_names_what_is_damaged_or_cannot_be_read_and_ends_with_1(directory, monkeypatch):
    assert run(directory, "verify").stdout == f"5 backups in {directory}, 0 damaged.\n"
    first, second = (directory / file_name(one) for one in OURS)
    flip(first)
    shutil.copy(first, second)
    ended = run(directory, "verify")
    assert ended.exit_code == 1
    assert ended.stdout.splitlines() == [
        f"{first.name}: Its bytes do not match its SHA-256.",
        f"{second.name}: It says that it is {OURS[0]}.",
        f"5 backups in {directory}, 2 damaged.",
    ]
    monkeypatch.setattr(os, "pread", Mock(side_effect=OSError(errno.EIO, "Input/output error")))
    ended = run(directory, "verify")
    assert ended.stdout.count("The storage failed: Input/output error.") == 5


def test_list_shows_what_the_api_lists_and_what_is_damaged(directory, client):
    lines = [re.split(r"  +", line) for line in run(directory, "list").stdout.splitlines()]
    assert [line[0] for line in lines] == client.listed()
    assert [line[2] for line in lines[:3]] == ["2 snapshots", "6 atoms", "1 compositions"]
    write_backup(directory, datetime(2027, 3, 3, 12, tzinfo=UTC), **PHONE)
    (directory / file_name(OURS[0])).write_bytes(b"{")
    lines = [re.split(r"  +", line) for line in run(directory, "list").stdout.splitlines()]
    assert lines.pop() == [OURS[0], f"damaged: {TOO_EARLY}"]
    document = json.loads(run(directory, "list", "--json").stdout)
    assert document["damaged"] == [{"id": OURS[0], "error": TOO_EARLY}]
    listed = client.get("/api/backup/list").json["backups"]
    assert [line[:3] for line in lines] == [
        [one["id"], f"{one['size']:,}", one.get("device", "(no device)")] for one in listed
    ]
    for backup, one in zip(document["backups"], listed, strict=True):
        for name in ("id", "size", "counts", "deviceId", "device"):
            assert backup[name] == one.get(name)
        times = [datetime.fromisoformat(of["timestamp"]) for of in (backup, one)]
        assert times[0] == times[1]


ESCAPES = "\x1b]0;owned\x07 \x9b31m \u202egnp\r\n\x7f \ud83d"
COMMANDS = ["verify", "list", "list --json", "check", "check --json", "prune --keep-last 1"]


@pytest.mark.parametrize("command", COMMANDS)
def test_no_text_of_a_file_acts_on_the_terminal(tmp_path, command):
    document = {"id": ESCAPES, "timestamp": ESCAPES, ESCAPES: ESCAPES, "data": {ESCAPES: []}}
    (tmp_path / file_name("2026-01-01T00-00-00-001Z-abcd")).write_text(json.dumps(document))
    for hour in range(2):
        head = {"deviceId": f"device-{hour}", "device": ESCAPES.rstrip("\ud83d")}
        write_backup(tmp_path, datetime(2026, 1, 4, hour, tzinfo=UTC), **head)
    ended = run(tmp_path, *command.split())
    assert len(ended.stdout) > 100
    assert all(letter.isprintable() or letter == "\n" for letter in ended.stdout)


# --- errors ---------------------------------------------------------------------------------------


WRONG = {
    "nonsense": "No such command",
    "verify --nonsense": "No such option",
    "list nonsense": "unexpected extra argument",
    "prune --yes": "at least one --keep-",
    "prune --keep-last 0": "--keep-last",
    "prune --forget-series nobody --yes": "no series 'nobody', only: (no device).",
    "check --max-age 26x": "--max-age",
    "check --lost-within 99999w": "--lost-within",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_usage_ends_with_2_and_one_line(directory, arguments):
    before = sorted(os.listdir(directory))
    ended = run(directory, *arguments.split())
    assert (ended.exit_code, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert WRONG[arguments] in line
    assert sorted(os.listdir(directory)) == before


@pytest.mark.parametrize("command", ["list", "verify", "check", "prune --keep-last 1 --yes"])
def test_what_they_cannot_start_with_is_named_in_one_line(directory, monkeypatch, command):
    def fails(line: str, path: Path, **settings: str) -> None:
        ended = run(path, *command.split(), **settings)
        assert (ended.exit_code, ended.stdout, ended.stderr) == (2, "", f"{line}\n")

    typo = directory / "typo"
    fails(f"DATA_DIR is '{typo}': there is no such directory.", typo)
    assert not typo.exists()
    fails("PORT is 'http': give a port from 1 to 65535", directory, PORT="http")
    denied = PermissionError(errno.EACCES, "Permission denied", str(directory))
    monkeypatch.setattr(os, "open", Mock(side_effect=denied))
    fails(f"The storage failed: {directory}: Permission denied.", directory)


# --- as a process ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("way", "status"), [("reader goes away", 1), ("Ctrl-C", 130)])
def test_a_command_that_is_broken_off_ends_without_a_word(directory, way, status):
    for number in range(3000):
        (directory / file_name(f"2020-01-01T00-00-00-{number:04}")).write_bytes(b"{")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # or jobs in the background ignore it
    with subprocess.Popen([*MODULE, "list"], env=environ(directory), **pipes) as command:
        assert command.stdout.readline().startswith(OURS[1].encode())
        if way == "Ctrl-C":
            command.send_signal(signal.SIGINT)
            command.stdout.read()
        command.stdout.close()
        assert command.stderr.read().strip() == b""
    assert command.returncode == status


def test_letters_that_the_terminal_does_not_have_are_replaced(tmp_path):
    (tmp_path / "dłtł").mkdir()
    given = environ(tmp_path / "dłtł", PYTHONIOENCODING="latin-1")
    ended = subprocess.run([*MODULE, "verify"], env=given, capture_output=True)
    assert ended.stdout.startswith(f"0 backups in {tmp_path}/d?t?, ".encode())


def test_output_that_cannot_be_written_is_one_line(directory):
    command = [*MODULE, "list"]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            command, env=environ(directory), stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert ended.returncode == 2
    assert ended.stderr.startswith("The storage failed: No space left on device")
