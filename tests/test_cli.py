"""An operator's commands: verify and list, through python -m."""

import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, SETTINGS, backups_in

from backup_server.ids import file_name
from backup_server.storage import Storage
from backup_server.upload import check_upload

EXPRESS = ROOT / "tests" / "samples" / "express-data"
WAYS = {
    "python -m": [sys.executable, "-m", "backup_server"],
}


@pytest.fixture
def directory(tmp_path: Path, sample: bytes) -> Path:
    """A storage directory with three backups of the Express server and two of ours."""
    shutil.copytree(EXPRESS, tmp_path / "data")
    storage = Storage(tmp_path / "data")
    for body in (sample, b'{"snapshots":[1,2]}'):
        storage.add(check_upload(body))
    return tmp_path / "data"


@pytest.fixture(params=WAYS.values(), ids=WAYS.keys())
def command(request, directory):
    """Run a command on the directory, in one of the two ways."""

    def run(*arguments: str, stderr=subprocess.PIPE) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*request.param, *arguments],
            env=environ(directory),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            timeout=60,
        )

    return run


def environ(directory: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    return inherited | {"DATA_DIR": str(directory), "BACKUP_TOKEN": "s3cret"}


def own(directory: Path) -> list[Path]:
    """Return the files that are not Express's, oldest first."""
    return [path for path in by_id(directory) if "Z-" not in path.name]


def by_id(directory: Path) -> list[Path]:
    """Return all backups' files in the order of their ids, which is not that of their names."""
    return sorted(directory.glob("backup-*"), key=lambda path: path.stem)


def test_verify_finds_nothing_where_nothing_is_damaged(command, directory):
    before = backups_in(directory)
    ended = command("verify")
    assert ended.returncode == 0
    assert ended.stdout.splitlines() == [
        "5 backups, 0 damaged; 3 of the Express server are valid JSON but have no SHA-256."
    ]
    assert "s3cret" not in ended.stdout + ended.stderr
    assert backups_in(directory) == before


def test_verify_of_an_empty_directory_finds_nothing(command, directory):
    for path in directory.glob("backup-*"):
        path.unlink()
    ended = command("verify")
    assert (ended.returncode, ended.stdout[:20]) == (0, "0 backups, 0 damaged")


def flip(text: bytes, at: int) -> bytes:
    return text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]


DAMAGE = {
    "a bit of the data": lambda text: flip(text, len(text) // 2),
    "a bit of the last item": lambda text: flip(text, text.rindex(b"2")),
    "a bit of the head": lambda text: flip(text, text.index(b"timestamp") + 14),
    "a digit of the sum": lambda text: flip(text, text.index(b'"sha256":"') + 10),
    "no sum": lambda text: re.sub(rb',"sha256":"\w+"', b"", text),
    "the last byte": lambda text: text[:-1],
    "half of it": lambda text: text[: len(text) // 2],
    "all of it": lambda text: b"",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_verify_names_what_is_damaged_and_ends_with_1(directory, damage):
    path = own(directory)[1]
    assert damage(path.read_bytes()) != path.read_bytes()
    path.write_bytes(damage(path.read_bytes()))
    ended = subprocess.run(
        [*WAYS["python -m"], "verify"],
        env=environ(directory),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    line, summary = ended.stdout.splitlines()
    assert line.startswith(f"{path.name}: ")
    assert line.endswith(".")
    assert summary.startswith("5 backups, 1 damaged")


def test_verify_names_every_damaged_file_of_either_server_and_a_swapped_one(command, directory):
    first, second = own(directory)
    swapped = directory / file_name("2031-01-01T00-00-00")
    shutil.copy(second, swapped)
    first.write_bytes(first.read_bytes()[:-5])
    express = [path for path in by_id(directory) if "Z-" in path.name]
    express[0].write_bytes(express[0].read_bytes()[:-5])
    express[1].rename(express[1].with_name(file_name("2020-01-01T00-00-00-000Z-abcd")))
    ended = command("verify")
    assert ended.returncode == 1
    *lines, summary = ended.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "backup-2020-01-01T00-00-00-000Z-abcd.json",
        express[0].name,
        first.name,
        swapped.name,
    ]
    assert summary.startswith("6 backups, 4 damaged; 1 of")


def test_verify_shows_its_progress_on_a_terminal(directory):
    controller, terminal = pty.openpty()
    with os.fdopen(controller, "rb", buffering=0) as screen:
        ended = subprocess.run(
            [*WAYS["python -m"], "verify"],
            env=environ(directory) | {"TERM": "xterm"},
            stdout=subprocess.PIPE,
            stderr=terminal,
            timeout=60,
        )
        shown = screen.read(65536)
        os.close(terminal)
    assert ended.returncode == 0
    assert b"Verifying" in shown
    assert b"100%" in shown
    assert b"Verifying" not in ended.stdout


def test_list_prints_what_is_stored_newest_first(command, directory):
    ended = command("list")
    assert ended.returncode == 0
    lines = [re.split(r"  +", line, maxsplit=2) for line in ended.stdout.splitlines()]
    files = by_id(directory)[::-1]
    assert [line[0] for line in lines] == [path.name[7:-5] for path in files]
    assert [int(line[1].replace(",", "")) for line in lines] == [
        path.stat().st_size for path in files
    ]
    assert lines[0][2] == "2 snapshots"
    assert [line[2] for line in lines[1:]] == ["6 atoms", "1 compositions", "6 atoms", "6 atoms"]
    assert "s3cret" not in ended.stdout + ended.stderr


def test_list_says_which_file_is_damaged_and_goes_on(command, directory):
    own(directory)[0].write_bytes(b"{")
    ended = command("list")
    assert ended.returncode == 0
    assert len(ended.stdout.splitlines()) == 5
    assert f"{own(directory)[0].name[7:-5]}  damaged: " in ended.stdout


@pytest.mark.parametrize("name", ["list", "verify"])
def test_what_only_bears_a_backups_name_is_nothing_to_them(command, directory, name):
    (directory / file_name("2026-01-01T00-00-00")).mkdir()
    (directory / file_name("2026-01-01T00-00-01")).symlink_to("/etc/hostname")
    ended = command(name)
    assert ended.returncode == 0
    assert "2026-01-01" not in ended.stdout
    if name == "verify":
        assert ended.stdout.startswith("5 backups, 0 damaged")


def test_they_work_while_a_server_runs_and_disturb_nothing(command, directory, start_server):
    server = start_server(directory)
    newest = server.upload({})["id"]
    assert command("list").stdout.startswith(newest)
    assert command("verify").stdout.startswith("6 backups, 0 damaged")
    assert server.get("/api/backup/latest").json["id"] == newest


def test_an_unknown_command_is_named(command):
    ended = command("nonsense")
    assert ended.returncode == 2
    assert "nonsense" in ended.stderr


@pytest.mark.parametrize("name", ["list", "verify"])
def test_a_directory_that_is_not_there_is_not_made_and_is_no_success(tmp_path, name):
    ended = subprocess.run(
        [*WAYS["python -m"], name],
        env=environ(tmp_path / "typo"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert "DATA_DIR" in ended.stderr
    assert not (tmp_path / "typo").exists()


def test_verify_names_what_others_can_read(command, directory):
    directory.chmod(0o755)
    path = own(directory)[0]
    path.chmod(0o644)
    ended = command("verify")
    assert ended.returncode == 0
    assert f"{path.name} can be read by other users" in ended.stderr
    assert own(directory)[1].name not in ended.stderr
    directory.chmod(0o700)
    assert "can be read" not in command("verify").stderr
