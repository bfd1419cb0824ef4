"""The short form of ``python -m walk.walk``."""

import os
import re
import subprocess
import sys

from support import ROOT


def test_the_status_is_true_after_each_step_of_a_random_walk():
    folders = ("tests", "e2e", "evidence")
    answer = subprocess.run(
        [sys.executable, "-m", "walk.walk", "--seeds", "1", "--steps", "40"],
        env={**os.environ, "PYTHONPATH": ":".join(str(ROOT / name) for name in folders)},
        check=True,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert re.fullmatch(r"seed 0: 40 steps, 0 lost, 0 doubled\n", answer.stdout)
