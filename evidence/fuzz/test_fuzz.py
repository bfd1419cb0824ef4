"""Inputs that nobody has thought of, for every reader of bytes from outside, for some time."""

import os
import subprocess
import sys
from pathlib import Path

from support import ROOT

from .requests import Fuzzing

TARGETS = ("uploads", "changes", "files")


def start(target: str, seconds: int, directory: Path) -> subprocess.Popen:
    """Start the fuzzing of a reader, whose files go into a directory of ours."""
    command = [sys.executable, "-m", "fuzz", target, "--seconds", str(seconds)]
    paths = os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    environ = {**os.environ, "TMPDIR": str(directory), "PYTHONPATH": paths}
    return subprocess.Popen(
        command,
        cwd=ROOT / "evidence",
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_no_input_is_read_otherwise_than_python_would(tmp_path, start_server, amount, figures):
    running = {target: start(target, amount.fuzz, tmp_path) for target in TARGETS}
    requests = Fuzzing(start_server(), amount.fuzz)
    failed = requests.run()
    figures(f"requests: {sum(requests.statuses.values())}, {dict(requests.statuses)}")
    for target, process in running.items():
        said, _ = process.communicate(timeout=120)
        figures(f"{target}: {said.partition('stat::number_of_executed_units:')[2].split()[:1]}")
        if process.returncode:
            failed.append(f"{target}: {said[-4000:]}")
    assert failed == []
