"""The wheel: what pipx installs, and that it serves."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support import ROOT, Server

from backup_server import __version__


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from what is needed for it, in a place of its own."""
    place = tmp_path_factory.mktemp("wheel")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "backup_server", place / "backup_server", ignore=ignore)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", place / "out", place]
    subprocess.run(command, check=True, timeout=300)
    (path,) = (place / "out").iterdir()
    return path


def test_it_has_all_modules_and_its_version(wheel):
    assert wheel.name == f"portfolio_backup_server-{__version__}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "backup_server").rglob("*.py")}
    assert modules == {name for name in names if ".dist-info" not in name}


def test_pipx_installs_one_command_that_serves(wheel, tmp_path, sample):
    environ = os.environ | {
        "PIPX_DEFAULT_BACKEND": "pip",
        "PIPX_HOME": str(tmp_path / "pipx"),
        "PIPX_BIN_DIR": str(tmp_path / "bin"),
        "PIPX_MAN_DIR": str(tmp_path / "man"),
        "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
    }
    command = [sys.executable, "-m", "pipx", "install", str(wheel)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert os.listdir(tmp_path / "bin") == ["portfolio-backup"]
    program = str(tmp_path / "bin" / "portfolio-backup")
    version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    assert version.stdout == f"portfolio-backup {__version__}\n"
    server = Server(tmp_path / "data", command=[program]).start()
    try:
        assert server.listed() == []
        assert server.upload(sample)["counts"]["atoms"] == 6
    finally:
        assert server.stop() == 0
