"""The command line: verify, list, help, errors, and what no command does."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from commands import MODULE, environ, run, write_backup
from support import ROOT, backups_in

from backup_server import __version__
from backup_server.ids import file_name
from backup_server.storage import Storage
from backup_server.upload import check_upload

EXPRESS = ROOT / "tests" / "samples" / "express-data"
WAYS = {
    "python -m": MODULE,
    "portfolio-backup": [str(Path(sys.executable).with_name("portfolio-backup"))],
}
COMMANDS = ["serve", "list", "verify", "check", "prune"]


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

    def run(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*request.param, *arguments],
            env=environ(directory, BACKUP_TOKEN="s3cret"),
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


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
        f"5 backups in {directory}, 0 damaged; "
        "3 of the Express server are valid JSON but have no SHA-256."
    ]
    assert "s3cret" not in ended.stdout + ended.stderr
    assert backups_in(directory) == before


def test_verify_of_an_empty_directory_finds_nothing(command, directory):
    for path in directory.glob("backup-*"):
        path.unlink()
    ended = command("verify")
    assert ended.returncode == 0
    assert ended.stdout.startswith(f"0 backups in {directory}, 0 damaged")


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
    ended = run(directory, "verify")
    assert ended.returncode == 1
    line, summary = ended.stdout.splitlines()
    assert line.startswith(f"{path.name}: ")
    assert line.endswith(".")
    assert summary.startswith(f"5 backups in {directory}, 1 damaged")


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
    assert summary.startswith(f"6 backups in {directory}, 4 damaged; 1 of")


def test_verify_shows_its_progress_on_a_terminal(directory):
    controller, terminal = pty.openpty()
    with os.fdopen(controller, "rb", buffering=0) as screen:
        ended = subprocess.run(
            [*MODULE, "verify"],
            env=environ(directory, TERM="xterm"),
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
        assert ended.stdout.startswith(f"5 backups in {directory}, 0 damaged")


def test_they_work_while_a_server_runs_and_disturb_nothing(command, directory, start_server):
    server = start_server(directory)
    newest = server.upload({})["id"]
    assert command("list").stdout.startswith(newest)
    assert command("verify").stdout.startswith(f"6 backups in {directory}, 0 damaged")
    assert server.get("/api/backup/latest").json["id"] == newest


def test_an_unknown_command_is_named(command):
    ended = command("nonsense")
    assert ended.returncode == 2
    assert "nonsense" in ended.stderr


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


# --- JSON -----------------------------------------------------------------------------------------


def test_list_as_json_is_what_the_api_lists_and_what_is_damaged(directory, start_server):
    server = start_server(directory)
    path = own(directory)[0]
    path.write_bytes(b"{")
    ended = run(directory, "list", "--json")
    document = json.loads(ended.stdout)
    assert document["directory"] == str(directory)
    assert document["backups"] == server.get("/api/backup/list").json["backups"]
    (damaged,) = document["damaged"]
    assert damaged["id"] == path.name[7:-5]
    assert damaged["error"] == "It does not end like a backup."
    assert ended.stderr == ""


def test_verify_as_json_names_what_is_damaged_and_what_others_can_read(directory):
    path = own(directory)[0]
    path.write_bytes(flip(path.read_bytes(), -10))
    directory.chmod(0o755)
    path.chmod(0o644)
    for other in directory.glob("*"):
        if other != path:
            other.chmod(0o600)
    ended = run(directory, "verify", "--json")
    assert (ended.returncode, ended.stderr) == (1, "")
    error = "Its bytes do not match its SHA-256."
    assert json.loads(ended.stdout) == {
        "directory": str(directory),
        "backups": 5,
        "withoutSha256": 3,
        "damaged": [{"id": path.name[7:-5], "file": path.name, "error": error}],
        "readableByOthers": ["data", path.name],
    }


# --- help -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_help_reads_like_a_manual_page(directory, name):
    ended = run(directory, *([name] if name else []), "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    parts = ["Usage: ", "Options:", "Exit status:", "Environment:\n", "Example:"]
    places = [ended.stdout.index(part) for part in parts]
    assert places == sorted(places)
    assert "..." not in ended.stdout.partition("Commands:")[2].partition("Exit status")[0]
    assert max(map(len, ended.stdout.splitlines())) <= 80
    assert len(ended.stdout.splitlines()) <= 48, "a screen"
    assert "DATA_DIR" in ended.stdout.partition("Environment:")[2]
    for flask in ("--app", "--debug", "  run ", "shell", "gunicorn.org"):
        assert flask not in ended.stdout


def test_help_is_shown_whatever_the_settings_are(tmp_path):
    ended = run(tmp_path / "none", "verify", "--help", PORT="http")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert not (tmp_path / "none").exists()


def test_the_version_is_ours(command):
    assert command("--version").stdout == f"portfolio-backup {__version__}\n"
    newest = re.search(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest[1] == __version__


# --- errors ---------------------------------------------------------------------------------------

WRONG = {
    "an unknown command": ["nonsense"],
    "an unknown option": ["--nonsense"],
    "an option of Flask's": ["--app", "backup_server"],
    "an unknown option of a command": ["verify", "--nonsense"],
    "an argument too many": ["list", "nonsense"],
    "no rule": ["prune", "--yes"],
    "a rule of no number": ["prune", "--keep-last", "many"],
    "a rule that keeps nothing": ["prune", "--keep-last", "0"],
    "an unknown time zone": ["prune", "--keep-last", "1", "--timezone", "Mars/Olympus"],
    "a folder of time zones": ["prune", "--keep-last", "1", "--timezone", "Europe"],
    "a path for a time zone": ["prune", "--keep-last", "1", "--timezone", "../../etc/passwd"],
    "a time without unit": ["check", "--max-age", "26"],
    "a time of no unit": ["check", "--max-age", "26x"],
    "a time that is far too long": ["check", "--max-age", "999999999w"],
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG.keys())
def test_what_is_used_wrongly_ends_with_2_and_one_line(directory, arguments):
    before = sorted(os.listdir(directory))
    ended = run(directory, *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.endswith("--help.")
    assert sorted(os.listdir(directory)) == before


LOOKING = [["list"], ["verify"], ["check"], ["prune", "--keep-last", "1", "--yes"]]


@pytest.mark.parametrize("arguments", LOOKING, ids=lambda arguments: arguments[0])
@pytest.mark.parametrize("given", [True, False])
def test_a_directory_that_is_not_there_is_not_made_and_is_no_success(tmp_path, arguments, given):
    ended = subprocess.run(
        [*MODULE, *arguments],
        env=environ(tmp_path / "typo" if given else None),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"DATA_DIR is '{tmp_path}/typo'" if given else "DATA_DIR is not set")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", LOOKING, ids=lambda arguments: arguments[0])
def test_a_directory_that_cannot_be_read_is_named_in_one_line(directory, arguments):
    # As another user, if this is root, whom no mode stops; this interpreter that user may not read.
    code = f"import os, sys; from backup_server.cli import main; sys.argv[1:] = {arguments!r}; "
    if os.geteuid() == 0:
        code += "os.setgroups([]); os.setresgid(*[65534] * 3); os.setresuid(*[65534] * 3); "
    directory.chmod(0)
    ended = subprocess.run(
        [sys.executable, "-c", code + "sys.exit(main())"],
        env=environ(directory),
        capture_output=True,
        text=True,
        timeout=60,
    )
    directory.chmod(0o700)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert "Permission denied" in line
    assert str(directory) in line


def test_a_reader_that_goes_away_ends_a_command_without_a_word(directory):
    for number in range(3000):
        (directory / file_name(f"2020-01-01T00-00-00-{number:04}")).write_bytes(b"{")
    command = f"{' '.join(MODULE)} list | head -n 1"
    ended = subprocess.run(
        ["bash", "-c", f"{command}; echo ${{PIPESTATUS[0]}}"],
        env=environ(directory),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.stderr == ""
    assert ended.stdout.splitlines()[1:] == [str(128 + signal.SIGPIPE)]


def test_output_that_cannot_be_written_is_one_line(directory):
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [*MODULE, "list"],
            env=environ(directory),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert (ended.returncode, ended.stderr) == (2, "No space left on device.\n")


def test_a_command_that_is_interrupted_ends_with_130_and_no_traceback(tmp_path):
    directory = tmp_path / "data"
    for second in range(60):
        write_backup(directory, datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC), {"atoms": 100_000})
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [*MODULE, "verify"], env=environ(directory, TERM="xterm"), stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    shown = os.read(controller, 65536)  # it is at work
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    status = process.wait(30)
    try:
        while piece := os.read(controller, 65536):
            shown += piece
    except OSError:
        pass  # all was read, and nobody is there to write
    os.close(controller)
    assert status == 128 + signal.SIGINT
    assert b"Traceback" not in shown
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l"), "the cursor is back"
