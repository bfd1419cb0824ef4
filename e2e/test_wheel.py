"""The wheel: what pipx installs, and that it serves."""

import os
import shutil
import subprocess
import sys
import zipfile

from support import ROOT, Server

from backup_server import __version__


def test_the_wheel_has_all_modules_and_pipx_installs_one_command_that_serves(tmp_path, sample):
    source = tmp_path / "source"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "backup_server", source / "backup_server", ignore=ignore)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    environ = os.environ | {
        "PIPX_DEFAULT_BACKEND": "pip",
        "PIPX_HOME": str(tmp_path / "pipx"),
        "PIPX_BIN_DIR": str(tmp_path / "bin"),
        "PIPX_MAN_DIR": str(tmp_path / "man"),
        "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
    }

    def run(*command) -> str:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path / "out", source)
    (wheel,) = (tmp_path / "out").iterdir()
    assert wheel.name == f"portfolio_backup_server-{__version__}-py3-none-any.whl"
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info" not in name}
    assert names == {str(path.relative_to(ROOT)) for path in (ROOT / "backup_server").rglob("*.py")}

    run(sys.executable, "-m", "pipx", "install", wheel)
    assert os.listdir(tmp_path / "bin") == ["portfolio-backup"]
    program = str(tmp_path / "bin" / "portfolio-backup")
    assert run(program, "--version") == f"portfolio-backup {__version__}\n"
    server = Server(tmp_path / "data", command=[program]).start()
    try:
        assert server.upload(sample)["counts"]["atoms"] == 6
    finally:
        assert server.stop() == 0
