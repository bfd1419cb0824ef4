"""What README.md and docs/ tell the owner to set, type and open is there and does what they say."""

import re
import subprocess

import pytest
from commands import MODULE
from support import ROOT, SETTINGS, backups_in

from backup_server.cli import main
from backup_server.settings import Settings

OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for folder in (".", "docs", "portfolio", "e2e", "evidence")
    for path in ROOT.glob(f"{folder}/*.md")
}


def test_every_setting_is_in_the_readmes_table_with_its_default():
    table = TEXTS["README.md"].partition("## Configuration")[2].partition("## ")[0]
    rows = re.findall(r"^\| `([A-Z_`, ]+)` \| (.*?) \|", table, re.MULTILINE)
    defaults = {name: default for names, default in rows for name in names.split("`, `")}
    assert set(defaults) == set(SETTINGS) - {"GUNICORN_CMD_ARGS"}
    settings = Settings()
    assert defaults["PORT"] == defaults["HOST"] == f"`{settings.port}`, `{settings.host}`"
    assert defaults["DATA_DIR"] == f"`./{settings.data_dir}`"
    assert defaults["MAX_BODY_BYTES"] == f"`{settings.max_body_bytes}`"
    assert settings.web_concurrency is None
    assert defaults["WEB_CONCURRENCY"] == "`2`, or `1` on one processor"  # gunicorn_conf.py


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", TEXTS)
def test_every_link_leads_somewhere(document):
    for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", TEXTS[document]):
        path, _, anchor = link.partition("#")
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


def test_every_command_has_the_flags_it_is_shown_with():
    shown = re.compile(r"(?:portfolio-backup|-m backup_server) ([a-z]+)([^\n`;&|)#]*)")
    flags = [
        (command, flag)
        for text in TEXTS.values()
        for command, rest in shown.findall(text)
        for flag in re.findall(r"(?<!\S)--[a-z-]+", rest)
    ]
    assert {("check", "--max-age"), ("prune", "--keep-daily")} <= set(flags)
    for command, flag in flags:
        known = [name for parameter in main.commands[command].params for name in parameter.opts]
        assert flag in known, command


def test_a_file_can_be_checked_without_the_server(client, sample):
    name = f"backup-{client.upload(sample)['id']}.json"
    command = re.search(r"`(sed '1s/.*?) backup-….json \| sha256sum`", OPERATIONS)[1]
    check = f"{command} {name} | sha256sum"
    printed = subprocess.check_output(check, shell=True, cwd=client.data_dir)
    first_line = backups_in(client.data_dir)[name].partition(b"\n")[0]
    assert b'"sha256":"%s"' % printed.split()[0] in first_line


def test_the_way_out_of_ids_that_run_ahead_of_the_clock(start_server, sample):
    server = start_server()
    present = server.upload(sample)["id"]
    (server.data_dir / ".last-id").write_text("2035-05-05T05-05-05\n")
    body = {"atoms": ["é", 1.0], "other": "x"}
    future = [server.upload(body, f"?key=key-of-upload-{n:04}")["id"] for n in range(2)]
    data = [server.get(f"/api/backup/{one}").body.partition(b"\n")[2] for one in future]
    server.stop()
    way_out = re.search(r"<!-- test: way-out -->\n```sh\n(.*?)```", OPERATIONS, re.DOTALL)[1]
    subprocess.run(["sh", "-euc", way_out], env=server.environ | {"LC_ALL": "C"}, check=True)
    subprocess.run([*MODULE, "verify"], env=server.environ, check=True)
    server.start()
    second, first, last = server.listed()
    assert present == last < first < second < server.upload(sample)["id"] < "2030"
    for one, old in zip((first, second), data, strict=True):
        document = server.get(f"/api/backup/{one}")
        assert document.json["id"] == one
        assert document.body.partition(b"\n")[2] == old
