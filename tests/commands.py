"""The command line as an owner uses it, and backups of a certain day and content to use it on."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support import SETTINGS, inherited_environ, written

from backup_server import ids
from backup_server.cli import main
from backup_server.document import render
from backup_server.upload import check_upload

MODULE = [sys.executable, "-m", "backup_server"]
LAPTOP = {"deviceId": "laptop-of-the-owner", "device": "Laptop"}
PHONE = {"deviceId": "phone-of-the-owner", "device": "Phone"}


def environ(directory: Path, **settings: str) -> dict[str, str]:
    """Return an environment without settings but these."""
    return inherited_environ() | {"DATA_DIR": str(directory)} | settings


def run(directory: Path, *arguments: str, **settings: str) -> Result:
    """Run a command on a directory, in this process; ``settings`` go into its environment."""
    given = dict.fromkeys(SETTINGS) | {"DATA_DIR": str(directory)} | settings
    return CliRunner(env=given, catch_exceptions=False).invoke(main, arguments)


@contextmanager
def time_zone(name: str) -> Iterator[None]:
    """Make a time zone the system's for the length of the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", name)
        time.tzset()
        yield
    time.tzset()


def write_backup(
    directory: Path, made: datetime, counts: Mapping[str, int] | None = None, **head: str
) -> str:
    """Write a backup as the server would have at this time; return its id.

    ``head`` is what else an upload has there: deviceId and device.
    """
    body = {name: [{}] * count for name, count in (counts or {"atoms": 4}).items()}
    backup_id = ids.next_id("", made.astimezone(UTC))
    upload = check_upload(json.dumps(body | head).encode())
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / ids.file_name(backup_id)
    path.write_bytes(written(render(upload, backup_id, ids.iso(made), None)))
    path.chmod(0o600)
    return backup_id


def flip(path: Path) -> None:
    """Flip a bit deep in a file's data: its head alone does not tell."""
    text = bytearray(path.read_bytes())
    text[-20] ^= 1
    path.write_bytes(text)
