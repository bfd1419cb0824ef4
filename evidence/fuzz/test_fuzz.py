"""Inputs that nobody has thought of, for every reader of bytes from outside, for some time."""

import os
import subprocess
import sys

from support import ROOT


def test_no_input_is_read_otherwise_than_python_would(tmp_path, amount):
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", f"-max_total_time={amount.fuzz}"],
        cwd=ROOT / "evidence",
        env=os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    print(f"inputs: {done.stderr.partition('stat::number_of_executed_units:')[2].split()[0]}")
