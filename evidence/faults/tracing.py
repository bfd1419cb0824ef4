"""strace on a running server: which system calls a request makes, and one of them made to fail."""

import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from support import Server, wait_until

_CALL = re.compile(r"([a-z0-9_]+)\((.*)")


class Call(NamedTuple):
    """The ``nth`` call of this name by the thread that answers, counted from 1."""

    name: str
    nth: int
    text: str

    def __str__(self) -> str:
        return f"{self.name} {self.nth}: {self.text[:160]}"


def answering_thread(server: Server) -> int:
    """Return the only thread that answers, of a server with one worker and one such thread.

    gunicorn's main thread makes calls of its own at its own times, which are not to be counted.
    """
    wait_until(lambda: len(server.pids()) == 2)
    worker = server.pids()[1]
    wait_until(lambda: len(os.listdir(f"/proc/{worker}/task")) == 2)
    (thread,) = {int(name) for name in os.listdir(f"/proc/{worker}/task")} - {worker}
    # What it does after an answer was sent is of the request before.
    wait_until(lambda: "futex" in Path(f"/proc/{worker}/task/{thread}/wchan").read_text())
    return thread


@contextmanager
def traced(thread: int, log: Path, *options: str, dies: bool = False) -> Iterator[None]:
    """Trace a thread into a file, until the block ends or the process dies."""
    command = ["strace", "-y", "-s", "200", "-o", str(log), *options, "-p", str(thread)]
    strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        line = strace.stderr.readline()
        assert "attached" in line, line
        yield
    finally:
        if not dies:
            strace.send_signal(signal.SIGINT)
        try:
            strace.communicate(timeout=10)
        finally:
            strace.kill()


def calls(log: Path, answer: str) -> list[Call]:
    """Return what the thread did until it sent an answer with this text."""
    counts, found = Counter(), []
    for match in filter(None, map(_CALL.match, log.read_text().splitlines())):
        counts[match[1]] += 1
        found.append(Call(match[1], counts[match[1]], match[2]))
        if answer in match[2]:
            return found
    raise AssertionError(f"{answer} was not sent")
