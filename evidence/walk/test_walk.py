"""The short form of ``python -m walk.walk``."""

import os
import re
import subprocess
import sys

from support import ROOT


def test_the_status_is_true_after_each_step_of_a_random_walk(amount):
    folders = ("tests", "e2e", "evidence")
    answer = subprocess.run(
        [sys.executable, "-m", "walk.walk", f"--seeds={amount.walks}", f"--steps={amount.steps}"],
        env={**os.environ, "PYTHONPATH": ":".join(str(ROOT / name) for name in folders)},
        check=True,
        capture_output=True,
        text=True,
        timeout=600 * amount.walks,
    )
    walks = re.findall(r"^seed \d+: (\d+) steps, 0 lost, 0 doubled$", answer.stdout, re.MULTILINE)
    assert walks == [str(amount.steps)] * amount.walks
