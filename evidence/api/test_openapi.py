"""``openapi.yaml`` and the server say the same: every request schemathesis can think of."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support import ROOT

from backup_server import create_app
from backup_server.settings import Settings

SPECIFICATION = yaml.safe_load((ROOT / "openapi.yaml").read_text())
TOKEN = "schemathesis-knows-it"


def test_every_route_is_described_and_nothing_else(tmp_path):
    app = create_app(Settings(data_dir=tmp_path))
    routes = {
        (re.sub("<(.*?)>", "{...}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    described = {
        (re.sub("{.*?}", "{...}", path), method)
        for path, operations in SPECIFICATION["paths"].items()
        for method, operation in operations.items()
        if method != "parameters" and not operation["summary"].startswith("Never")
    }
    assert described == routes


@pytest.mark.parametrize("token", ["", TOKEN])
def test_the_server_answers_as_described(start_server, tmp_path, amount, token):
    """Also that with a token nothing but health answers without it."""
    server = start_server(**({"BACKUP_TOKEN": token} if token else {}))
    for path in (ROOT / "tests" / "samples" / "express-data").iterdir():
        shutil.copy(path, server.data_dir)
    security = SPECIFICATION["security"]
    strict = SPECIFICATION | {"security": [one for one in security if one or not token]}
    (tmp_path / "openapi.yaml").write_text(yaml.safe_dump(strict))
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
    command += ["--config-file", str(Path(__file__).with_name("schemathesis.toml"))]
    command += ["run", str(tmp_path / "openapi.yaml"), "--no-color"]
    command += ["--url", f"http://127.0.0.1:{server.port}", "--max-examples", str(amount.examples)]
    command += ["--header", f"Authorization: Bearer {token}"] if token else []
    run = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert run.returncode == 0, run.stdout
    seen = {*map(int, re.findall(r"^[A-Z]+ \S+ (\d{3}) \d+ \d+$", server.log, re.MULTILINE))}
    assert {200, 201, 400, 404} | ({401} if token else {405, 415}) <= seen
    assert max(seen) < 500
    assert TOKEN not in server.log
