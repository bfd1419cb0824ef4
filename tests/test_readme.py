"""The README's words: what it tells people to type does what it says."""

import json
import re
import subprocess

import pytest
from conftest import ROOT, SETTINGS, Server, backups_in, require_tool

from backup_server.settings import Settings

README = (ROOT / "README.md").read_text()


def block(marker: str) -> str:
    """Return the shell commands behind a marker, as CI does."""
    return re.search(rf"<!-- ci: {marker} -->\n```sh\n(.*?)```", README, re.DOTALL)[1]


def test_a_backup_goes_in_and_comes_out_with_the_curl_commands(server: Server, sample, tmp_path):
    require_tool("curl")
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    commands = block("use").replace("127.0.0.1:3081", f"127.0.0.1:{server.port}")
    subprocess.run(["bash", "-euo", "pipefail", "-c", commands], cwd=tmp_path, check=True)
    sent = json.loads(sample)
    stored = json.loads((tmp_path / "restored.json").read_bytes())
    assert stored["clientTimestamp"] == sent.pop("clientTimestamp")
    assert stored["data"] == sent


def test_a_file_can_be_checked_without_the_server(server: Server, sample):
    identifier = server.upload(sample)["id"]
    name = f"backup-{identifier}.json"
    command = re.search(r"`(sed '1s/.*?) backup-….json \| sha256sum`", README)[1]
    printed = subprocess.run(
        f"{command} {name} | sha256sum",
        shell=True,
        cwd=server.data_dir,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    first_line = backups_in(server.data_dir)[name].partition(b"\n")[0]
    assert f'"sha256":"{printed.split()[0]}"'.encode() in first_line


def test_every_setting_is_in_the_table_with_its_default():
    table = README.partition("## Configuration")[2].partition("\n\nEnvironment")[2]
    rows = re.findall(r"^\| `([A-Z_`, ]+)` \| (.*?) \|", table.partition("## ")[0], re.MULTILINE)
    defaults = {name: default for names, default in rows for name in names.split("`, `")}
    assert set(defaults) == set(SETTINGS) - {"GUNICORN_CMD_ARGS"}
    settings = Settings()
    assert defaults["PORT"] == defaults["HOST"] == f"`{settings.port}`, `{settings.host}`"
    assert defaults["DATA_DIR"] == f"`./{settings.data_dir}`"
    assert defaults["MAX_BODY_BYTES"] == f"`{settings.max_body_bytes}`"
    assert defaults["WEB_CONCURRENCY"] == f"`{settings.workers}`"


@pytest.mark.parametrize("marker", ["run", "test"])
def test_one_command_installs_and_runs(marker):
    """CI runs them on a clean checkout; here only that they are there, and are one."""
    (command,) = block(marker).splitlines()
    assert command.startswith("python3 -m venv .venv && ")
