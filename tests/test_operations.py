"""What docs/operations.md tells the owner to type does what it says."""

import re
import subprocess
import sys

import click
import pytest
from support import ROOT, Server, backups_in

from backup_server.cli import main

OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
TEXTS = [path.read_text() for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))]
SHOWN = sorted(
    {
        (command, flag)
        for text in TEXTS
        for command, rest in re.findall(
            r"(?:portfolio-backup|-m backup_server) ([a-z]+)([^\n`;&|)#]*)", text
        )
        for flag in re.findall(r"(?<!\S)--[a-z-]+", rest)
    }
)


def test_a_file_can_be_checked_without_the_server(server: Server, sample):
    name = f"backup-{server.upload(sample)['id']}.json"
    command = re.search(r"`(sed '1s/.*?) backup-….json \| sha256sum`", OPERATIONS)[1]
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


def test_the_way_out_of_ids_that_run_ahead_of_the_clock(start_server, sample):
    server = start_server()
    present = server.upload(sample)["id"]
    (server.data_dir / ".last-id").write_text("2035-05-05T05-05-05\n")
    body = {"atoms": ["é", 1.0], "other": "x"}
    future = [server.upload(body, f"?key=key-of-upload-{n:04}")["id"] for n in range(2)]
    data = [server.get(f"/api/backup/{one}").body.partition(b"\n")[2] for one in future]
    server.stop()
    way_out = re.search(r"<!-- test: way-out -->\n```sh\n(.*?)```", OPERATIONS, re.DOTALL)[1]
    environ = {**server.environ, "LC_ALL": "C"}
    subprocess.run(["sh", "-euc", way_out], env=environ, check=True)
    verify = [sys.executable, "-m", "backup_server", "verify"]
    subprocess.run(verify, env=server.environ, check=True)
    server.start()
    second, first, last = server.listed()
    assert present == last < first < second < server.upload(sample)["id"] < "2030"
    for one, old in zip((first, second), data, strict=True):
        document = server.get(f"/api/backup/{one}")
        assert document.json["id"] == one
        assert document.body.partition(b"\n")[2] == old


@pytest.mark.parametrize(("command", "flag"), SHOWN)
def test_every_command_has_the_flags_it_is_shown_with(command, flag):
    shown = main.get_command(click.Context(main), command)
    assert flag in {name for parameter in shown.params for name in parameter.opts}


def test_commands_are_shown():
    assert {("check", "--max-age"), ("prune", "--keep-daily")} <= set(SHOWN)
