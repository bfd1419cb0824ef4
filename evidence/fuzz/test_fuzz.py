"""Inputs that nobody has thought of, for every reader of bytes from outside, for some time."""

import os
import subprocess
import sys

import pytest
from support import ROOT


@pytest.mark.parametrize("target", ["uploads", "changes", "files"])
def test_no_input_is_read_otherwise_than_python_would(tmp_path, amount, target):
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", "--seconds", str(amount.fuzz), target],
        cwd=ROOT / "evidence",
        env=os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    print(f"inputs: {done.stderr.partition('stat::number_of_executed_units:')[2].split()[0]}")
