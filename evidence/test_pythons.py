"""The tests of ``tests/`` on other Pythons that this machine has, the system's or pyenv's."""

import shutil
import subprocess
import sys
from pathlib import Path

from support import ROOT

SUPPORTED = ("3.11", "3.12", "3.13", "3.14")


def others() -> list[str]:
    """Return the supported Pythons but this one, of which environments can be made."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = []
    for version in (version for version in SUPPORTED if version != own):
        pyenv = Path.home().glob(f".pyenv/versions/{version}.*/bin/python3")
        candidates = [shutil.which(f"python{version}"), *map(str, pyenv)]
        found += [python for python in candidates if python and makes_environments(python)][:1]
    return found


def makes_environments(python: str) -> bool:
    ask = [python, "-c", "import ensurepip, venv"]
    return subprocess.run(ask, capture_output=True).returncode == 0


def test_the_tests_pass_on_other_pythons(tmp_path, amount, figures):
    """On one of them, and without those on a real server, in the short form."""
    chosen = others() if amount.long else others()[-1:]
    less = [] if amount.long else ["--ignore=tests/test_server.py"]
    for python in chosen:
        run(python, "-m", "venv", tmp_path / "environment", "--clear")
        own = tmp_path / "environment" / "bin" / "python"
        run(own, "-m", "pip", "install", "-q", "-c", "constraints.txt", "-e", ".[test]")
        run(own, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", *less)
    figures(", ".join(chosen) or "this machine has no other Python from 3.11 on")


def run(*command: str | Path) -> None:
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, f"{command}: {ended.stdout[-4000:]}{ended.stderr[-4000:]}"
