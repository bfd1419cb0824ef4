"""``openapi.yaml`` and the server say the same: every request schemathesis can think of."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import yaml
from support import ROOT, Server, assert_error

from backup_server import create_app
from backup_server.settings import Settings

SPECIFICATION = ROOT / "openapi.yaml"
TOKEN = "schemathesis-knows-it"
_ACCESS_LINE = re.compile(r"^[A-Z]+ \S+ (\d{3}) \d+ \d+$", re.MULTILINE)


def run_schemathesis(server: Server, specification: Path, *options: str) -> str:
    """Run every phase and check; return what was printed, or raise with it if one has failed."""
    command = [
        *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
        *("--config-file", str(Path(__file__).with_name("schemathesis.toml"))),
        *("run", str(specification), "--url", f"http://127.0.0.1:{server.port}", "--no-color"),
    ]
    run = subprocess.run(
        [*command, *options],
        cwd=server.data_dir.parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert run.returncode == 0, run.stdout
    return run.stdout


def statuses(server: Server) -> Counter:
    """Count the answers in the server's log, by status."""
    return Counter(map(int, _ACCESS_LINE.findall(server.log)))


def test_every_route_is_described_and_nothing_else(tmp_path):
    app = create_app(Settings(data_dir=tmp_path))
    routes = {
        (re.sub("<(.*?)>", "{...}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    described = {
        (re.sub("{.*?}", "{...}", path), method)
        for path, operations in yaml.safe_load(SPECIFICATION.read_text())["paths"].items()
        for method, operation in operations.items()
        if method != "parameters" and not operation["summary"].startswith("Never")
    }
    assert described == routes


def test_the_server_answers_as_described(start_server, amount):
    server = start_server()
    for path in (ROOT / "tests" / "samples" / "express-data").iterdir():
        shutil.copy(path, server.data_dir)
    run_schemathesis(server, SPECIFICATION, "--max-examples", str(amount.examples))
    seen = statuses(server)
    assert {200, 201, 206, 304, 400, 404, 405, 409, 415} <= seen.keys()
    assert max(seen) < 500


def test_with_a_token_nothing_but_health_answers_without_it(start_server, tmp_path, amount):
    server = start_server(BACKUP_TOKEN=TOKEN)
    specification = yaml.safe_load(SPECIFICATION.read_text())
    specification["security"].remove({})
    strict = tmp_path / "openapi.yaml"
    strict.write_text(yaml.safe_dump(specification))
    authorization = f"Authorization: Bearer {TOKEN}"
    run_schemathesis(
        server, strict, "--header", authorization, "--max-examples", str(amount.examples // 2)
    )
    seen = statuses(server)
    assert {200, 201, 400, 401, 404} <= seen.keys()
    assert max(seen) < 500
    assert TOKEN not in server.log


def test_the_examples_in_the_description_are_accepted(server):
    schemas = yaml.safe_load(SPECIFICATION.read_text())["components"]["schemas"]
    (upload,) = schemas["Upload"]["examples"]
    backup_id = server.upload(upload)["id"]
    (change,) = schemas["Change"]["examples"]
    base = server.upload({"atoms": [{"slug": "old-one"}]})["id"]
    assert_error(server.post(f"/api/backup?base={base}", change), 409, "atoms has 1 items, not 41")
    change["counts"] = {"atoms": 1, "snapshots": 1}
    assert server.upload(change, f"?base={base}")["counts"]["snapshots"] == 1
    (restore,) = schemas["RestoreRequest"]["examples"]
    part = server.post("/api/restore", restore | {"backupId": backup_id}).json
    assert part["data"] == {"atoms": upload["atoms"]}
