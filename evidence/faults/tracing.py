"""strace on a running server: which system calls an upload makes, and one of them made to fail."""

import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from support import Server, require_tool

_CALL = re.compile(r"^(\d+) +([a-z0-9_]+)\((.*)")


class Call(NamedTuple):
    """The ``nth`` call of this name by the thread that stores, counted from 1."""

    name: str
    nth: int
    text: str


def worker_of(server: Server) -> int:
    """Return the process id of a server's only worker, once it is there."""
    master = server.process.pid
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        if len(children) == 1:
            return int(children[0])
        time.sleep(0.01)
    raise AssertionError(f"not one worker: {children}")


@contextmanager
def traced(pid: int, log: Path, *options: str, dies: bool = False) -> Iterator[None]:
    """Trace every thread of a process into a file, until the block ends or the process dies."""
    command = [require_tool("strace"), "-f", "-y", "-o", str(log), *options, "-p", str(pid)]
    strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        line = strace.stderr.readline()
        if "attached" not in line:
            pytest.fail(f"strace cannot trace the server: {line}")
        while not all(map(_is_traced, Path(f"/proc/{pid}/task").iterdir())):
            time.sleep(0.001)
        yield
    finally:
        if not dies:
            strace.send_signal(signal.SIGINT)
        try:
            strace.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            strace.kill()
            strace.communicate()
            raise


def _is_traced(task: Path) -> bool:
    return "TracerPid:\t0\n" not in (task / "status").read_text()


def calls(log: Path, until: str) -> list[Call]:
    """Return what the thread did that made a call with this text in it, up to that call."""
    lines = [match for line in log.read_text().splitlines() if (match := _CALL.match(line))]
    last = next(number for number, line in enumerate(lines) if until in line[3])
    thread, counts, found = lines[last][1], Counter(), []
    for line in lines[: last + 1]:
        if line[1] == thread:
            counts[line[2]] += 1
            found.append(Call(line[2], counts[line[2]], line[3]))
    return found


def injected(log: Path) -> bool:
    """Tell whether the fault that was asked for did happen."""
    text = log.read_text()
    return "(INJECTED)" in text or "killed by SIGKILL" in text
