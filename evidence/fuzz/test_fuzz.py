"""Inputs that nobody has thought of, for every reader of bytes from outside, for some time."""

import os
import subprocess
import sys

from support import ROOT

TARGETS = ("uploads", "changes", "files")


def test_no_input_is_read_otherwise_than_python_would(tmp_path, amount, figures):
    environ = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT / "tests")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    failed = []
    command = [sys.executable, "-m", "fuzz", "--seconds", str(amount.fuzz)]
    running = {
        target: subprocess.Popen([*command, target], cwd=ROOT / "evidence", env=environ, **pipes)
        for target in TARGETS
    }
    for target, process in running.items():
        said, _ = process.communicate(timeout=amount.fuzz + 120)
        inputs = said.partition("stat::number_of_executed_units:")[2].split()[:1]
        figures(f"{target}: {inputs} inputs")
        if process.returncode:
            failed.append(f"{target}: {said[-4000:]}")
    assert failed == []
