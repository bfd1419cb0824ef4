"""The short form of ``python -m browser.closing``."""

import subprocess
import sys
from pathlib import Path


def test_edits_leave_with_their_tab_and_cost_what_they_are():
    rounds = 2
    command = [sys.executable, "-m", "browser.closing", "--rounds", str(rounds)]
    answer = subprocess.run(
        [*command, "--sizes", "5 KB", "5 MB"],
        cwd=Path(__file__).parent.parent,
        check=True,
        capture_output=True,
        text=True,
        timeout=400,
    )
    lines = [line for line in answer.stdout.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    table = {row[1]: row[2:4] for row in rows}
    all_of_them = [f"{rounds} of {rounds}"] * 2
    assert table["edit, 1 s, close: arrived"] == all_of_them
    assert table["complete and closed in one task, 5 to 50 KB: arrived"] == all_of_them
    for place in ("sent for an edit of 5 KB: at the close", "at the next start", "while open"):
        for size in table[place]:
            assert 3.0 < float(size.removesuffix(" KB")) < 16.0, place
