"""The README and the docs: what they tell people to type, set, open and read is there and works."""

import json
import re
import shlex
import subprocess
import sys

import pytest
from support import CATEGORIES, ROOT, SETTINGS, Server, backups_in, require_tool

from backup_server.settings import Settings

README = (ROOT / "README.md").read_text()
TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "portfolio/README.md"]
}
#: What is set in the environment of another program than the two containers.
OTHERS_SETTINGS = {"GUNICORN_CMD_ARGS", "DOCKER_HOST", "BENCH_DIR", "CI", "PATH"} | {
    "PIPX_HOME",
    "PIPX_BIN_DIR",
    "RESTIC_REPOSITORY",
    "RESTIC_PASSWORD_FILE",
}


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
    command = re.search(r"`(sed '1s/.*?) backup-….json \| sha256sum`", TEXTS["docs/operations.md"])[
        1
    ]
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


def test_the_way_out_of_ids_that_run_ahead_of_the_clock(start_server, sample, tmp_path):
    server = start_server()
    present = [server.upload(sample)["id"] for _ in range(2)]
    (server.data_dir / ".last-id").write_text("2035-05-05T05-05-05\n")
    body = {"atoms": ["é", 1.0], "other": "x", "clientTimestamp": "\ud83d"}
    future = [server.upload(body, f"?key=key-of-upload-{n:04}")["id"] for n in range(2)]
    assert future > present
    assert "ahead of the clock" in server.log
    server.stop()
    before = backups_in(server.data_dir)
    way_out = re.search(
        r"<!-- test: way-out -->\n```sh\n(.*?)```", TEXTS["docs/operations.md"], re.DOTALL
    )[1]
    environ = {**server.environ, "LC_ALL": "C"}
    subprocess.run(["sh", "-euc", way_out], env=environ, check=True)
    renamed = [name for name in sorted(backups_in(server.data_dir)) if name not in before]
    assert renamed[0] < renamed[1] < "backup-2030"
    verify = [sys.executable, "-m", "backup_server", "verify"]
    subprocess.run(verify, env=server.environ, check=True)
    server.start()
    assert server.listed() == [name[7:-5] for name in reversed(renamed)] + present[::-1]
    for name, old in zip(renamed, future, strict=True):
        document = server.get(f"/api/backup/{name[7:-5]}")
        assert document.json["id"] == name[7:-5]
        empty = {category: [] for category in CATEGORIES}
        assert document.json["data"] == empty | {"atoms": ["é", 1.0], "other": "x"}
        data = before[f"backup-{old}.json"].partition(b"\n")[2]
        assert document.body.partition(b"\n")[2] == data
    assert renamed[1][7:-5] < server.upload(sample)["id"] < "2030"


def test_every_setting_is_in_the_table_with_its_default():
    table = README.partition("## Configuration")[2].partition("## ")[0]
    rows = re.findall(r"^\| `([A-Z_`, ]+)` \| (.*?) \|", table, re.MULTILINE)
    defaults = {name: default for names, default in rows for name in names.split("`, `")}
    assert set(defaults) == set(SETTINGS) - {"GUNICORN_CMD_ARGS"}
    settings = Settings()
    assert defaults["PORT"] == defaults["HOST"] == f"`{settings.port}`, `{settings.host}`"
    assert defaults["DATA_DIR"] == f"`./{settings.data_dir}`"
    assert defaults["MAX_BODY_BYTES"] == f"`{settings.max_body_bytes}`"
    assert settings.workers is None
    assert defaults["WEB_CONCURRENCY"] == "`2`, or `1` on one processor"  # gunicorn_conf.py


@pytest.mark.parametrize("marker", ["run", "test"])
def test_one_command_installs_and_runs(marker):
    """CI runs them on a clean checkout; here only that they are there, and are one."""
    (command,) = block(marker).splitlines()
    assert command.startswith("python3 -m venv .venv && ")


def test_the_readme_is_one_page():
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    assert len(README.splitlines()) <= 130
    assert len(prose.split()) <= 800, "three minutes at 250 words a minute"


# --- every document -------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", TEXTS)
def test_every_link_leads_somewhere(document):
    links = re.findall(r"\]\(([^)\s]+)\)", TEXTS[document])
    for link in links:
        if re.match("https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("document", TEXTS)
def test_every_file_of_ours_that_is_named_exists(document):
    folders = "|".join(
        path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."
    )
    named = re.findall(rf"(?<![\w./@-])((?:{folders})/[\w./-]*\w)(?![\w*])", TEXTS[document])
    bases = [ROOT, ROOT / "tests", ROOT / "portfolio"]
    for path in named:
        assert any((base / path).exists() for base in bases), path


@pytest.mark.parametrize("document", TEXTS)
def test_every_setting_that_is_named_is_known(document):
    example = (ROOT / ".env.example").read_text()
    known = {*SETTINGS, *OTHERS_SETTINGS, *re.findall(r"^#([A-Z_]+)=", example, re.MULTILINE)}
    code = " ".join(re.findall(r"```.*?```|`[^`]*`", TEXTS[document], re.DOTALL))
    named = {*re.findall(r"\b([A-Z]+_[A-Z_]+)\b", code), *re.findall(r"\b([A-Z_]{2,})=", code)}
    assert named <= known


def commands_of(text: str) -> list[list[str]]:
    """Return the commands of a document that start a Python module or script of ours, as words."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        match = re.search(
            r"(?<!\S)\S*python3? (-m (?:backup_server|\w+\.\w+)|bench/\S+)([^;&|)#<>]*)", line
        )
        if match:
            found.append(shlex.split(match[1] + match[2]))
    return found


COMMANDS = [
    pytest.param(words, id=" ".join(words))
    for text in TEXTS.values()
    for words in commands_of(text)
    if words != ["-m", "backup_server"]  # which serves; CI runs it as printed
]


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_knows_the_flags_it_is_shown_with(words, tmp_path):
    at = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    script = [
        word if word.startswith("-m") or "/" not in word else str(ROOT / word)
        for word in words[:at]
    ]
    done = subprocess.run(
        [sys.executable, *script, "--help"],
        cwd=ROOT / "tests",
        env={"PATH": "/usr/bin:/bin", "DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    for flag in (word.partition("=")[0] for word in words[at:] if word.startswith("--")):
        assert flag in done.stdout


def test_there_are_commands_to_check():
    shown = {" ".join(parameter.values[0]) for parameter in COMMANDS}
    assert {"-m backup_server verify", "-m faults.crash --kills 1000"} <= shown
