"""The tests of ``tests/`` on other Pythons that this machine has, the system's or pyenv's."""

import shutil
import subprocess
import sys
from pathlib import Path

from support import ROOT

SUPPORTED = ("3.11", "3.12", "3.13", "3.14")


def run(*command: str | Path) -> None:
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, f"{command}: {ended.stdout[-4000:]}{ended.stderr[-4000:]}"


def test_the_tests_pass_on_other_pythons(tmp_path, amount):
    """On one of them, and without those on a real server, in the short form."""
    found = []
    for version in SUPPORTED:
        pyenv = [*map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python3"))]
        for python in filter(None, [shutil.which(f"python{version}"), *pyenv]):
            ask = subprocess.run([python, "-c", "import ensurepip, venv"], capture_output=True)
            if ask.returncode == 0 and version != f"3.{sys.version_info.minor}":
                found.append(python)
                break
    chosen, less = (found, []) if amount.long else (found[-1:], ["--ignore=tests/test_server.py"])
    for python in chosen:
        run(python, "-m", "venv", tmp_path / "environment", "--clear")
        own = tmp_path / "environment" / "bin" / "python"
        run(own, "-m", "pip", "install", "-q", "-c", "constraints.txt", "-e", ".[test]")
        run(own, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", *less)
    print(", ".join(chosen) or "this machine has no other Python from 3.11 on")
