"""The command line as an owner uses it, and backups of a certain day and content to use it on."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from click.testing import CliRunner
from support import CATEGORIES, SETTINGS, written

from backup_server import ids
from backup_server.cli import main
from backup_server.document import render
from backup_server.ids import iso
from backup_server.upload import check_upload

MODULE = [sys.executable, "-m", "backup_server"]


def environ(directory: Path | None, **settings: str) -> dict[str, str]:
    """Return an environment without settings but these."""
    inherited = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    given = {} if directory is None else {"DATA_DIR": str(directory)}
    return inherited | given | settings


def run(directory: Path | None, *arguments: str, **settings: str) -> subprocess.CompletedProcess:
    """Run a command on a directory, in this process; ``settings`` go into its environment."""
    given = dict.fromkeys(SETTINGS) | settings
    if directory is not None:
        given["DATA_DIR"] = str(directory)
    ended = CliRunner(env=given).invoke(main, arguments)
    if not isinstance(ended.exception, SystemExit | None):
        raise ended.exception  # a traceback, for an owner
    return subprocess.CompletedProcess(arguments, ended.exit_code, ended.stdout, ended.stderr)


def write_backup(
    directory: Path,
    made: datetime,
    counts: Mapping[str, int] | None = None,
    backup_id: str | None = None,
    **head: str,
) -> str:
    """Write a backup as the server would have at this time; return its id.

    ``head`` is what else an upload has there: deviceId and device.
    """
    members = [
        f'"{name}":{[{"id": number} for number in range((counts or {"atoms": 4}).get(name, 0))]}'
        for name in CATEGORIES
    ]
    members = [member.replace("'", '"') for member in members]
    members += [f'"{name}":{json.dumps(value)}' for name, value in head.items()]
    body = "{" + ",".join(members) + "}"
    backup_id = backup_id or ids.next_id("", made.astimezone(UTC))
    text = written(render(check_upload(body.encode()), backup_id, iso(made), None))
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / ids.file_name(backup_id)
    path.write_bytes(text)
    path.chmod(0o600)
    return backup_id
