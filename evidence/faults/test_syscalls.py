"""Each system call that stores or deletes a backup fails once, or is the last.

strace injects an errno, or SIGKILL, at the n-th call of a name. Which calls there are is found out
from a good request, so none is forgotten when the code changes. Every injection has a server and a
directory of its own, and has to be seen in strace's log.

Not made to fail: ``close``, whose descriptor strace would leave open, which Linux never does;
``mmap``, whose calls the memory allocator makes uncountable; calls that cannot fail on a file.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import pytest
from support import Server, assert_error, backups_in, strays_in, wait_until

CANNOT_FAIL = {"close", "mmap", "ioctl", "lseek"}
KEY = "0123456789abcdef"
#: One thread does all that a request needs, so that its calls can be identified by their numbers.
ONE_THREAD = [
    *(sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--threads", "1"),
    "backup_server:create_app()",
]


class Kind(NamedTuple):
    """A request; ``atoms`` is what it stores, ``{base}`` is the id of the backup that is there."""

    method: str
    path: str
    body: bytes
    atoms: bytes
    order: tuple[str, ...]


OLD, NEW, LARGE = (
    b'{"slug":"%s","pad":"%s"}' % (slug, b"x" * size)
    for slug, size in ((b"old", 150_000), (b"new", 2000), (b"new", 1_050_000))
)
SYNCED = ("write", "sync the bytes", "name", "sync the directory", "answer")
SYNCED_KEY = (*SYNCED[:2], "key", "sync the keys", *SYNCED[2:])
DELETED = ("remove the name", "sync the directory", "answer")
CHANGED = (b'{"atoms":{"put":[%s]}}' % NEW, b"[%s,%s]" % (OLD, NEW))
ADDED, ADDED_LARGE = ((b'{"atoms":[%s]}' % record, b"[%s]" % record) for record in (NEW, LARGE))
KINDS = {
    "change with a key": Kind("POST", f"?base={{base}}&key={KEY}", *CHANGED, SYNCED_KEY),
    "deletion": Kind("DELETE", "/{base}", b"", b"", DELETED),
    "upload": Kind("POST", "", *ADDED, SYNCED),
    "upload with a key": Kind("POST", f"?key={KEY}", *ADDED, SYNCED_KEY),
    "large upload": Kind("POST", "", *ADDED_LARGE, SYNCED),
}
#: Of the others the short form looks at the order of the calls alone.
SHORT = ("change with a key", "deletion")


class Call(NamedTuple):
    """The ``nth`` call of this name by the thread that answers, counted from 1."""

    name: str
    nth: int
    text: str


class Bench:
    """A server on a directory with one backup."""

    def __init__(self, data_dir: Path, kind: Kind):
        self.log = data_dir.with_name("strace.log")
        self.server = Server(data_dir, ONE_THREAD, WEB_CONCURRENCY="1").start()
        base = self.server.upload(b'{"atoms":[%s]}' % OLD, "?key=key-of-the-old-one")["id"]
        self.kind, self.path = kind, "/api/backup" + kind.path.format(base=base)
        self.kept = backups_in(data_dir)
        self.may_be_repeated = KEY in self.path or kind.method == "DELETE"

    def send(self):
        """Send the request; None if no whole answer came."""
        headers = {"Content_Type": "application/json"} if self.kind.body else {}
        try:
            return self.server.request(self.kind.method, self.path, self.kind.body, **headers)
        except (OSError, HTTPException):
            return None

    def send_traced(self, *options: str, dies: bool = False):
        """Send it, while the only thread that answers is traced."""
        wait_until(lambda: len(self.server.pids()) == 2)
        worker = self.server.pids()[1]
        wait_until(lambda: len(os.listdir(f"/proc/{worker}/task")) == 2)
        (thread,) = {*os.listdir(f"/proc/{worker}/task")} - {str(worker)}
        # What it does after an answer was sent is of the request before.
        wait_until(lambda: "futex" in Path(f"/proc/{worker}/task/{thread}/wchan").read_text())
        command = ["strace", "-y", "-s", "200", "-o", self.log, *options, "-p", thread]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
            try:
                assert "attached" in strace.stderr.readline()
                answer = self.send()
                if not dies:
                    strace.send_signal(signal.SIGINT)
                strace.communicate(timeout=10)
            finally:
                strace.kill()
        return answer

    def calls(self) -> list[Call]:
        """Return what the thread did until it sent a good answer."""
        counts, found = Counter(), []
        for name, text in re.findall(r"^([a-z0-9_]+)\((.*)", self.log.read_text(), re.MULTILINE):
            counts[name] += 1
            found.append(Call(name, counts[name], text))
            if '"HTTP/1.1 20' in text:
                return found
        raise AssertionError("no good answer was sent")

    def is_done(self) -> bool:
        """Tell whether what was asked for is done; check that nothing else has changed."""
        now = backups_in(self.server.data_dir)
        changed = {name for name in now | self.kept if now.get(name) != self.kept.get(name)}
        if not changed:
            return False
        (name,) = changed
        if self.kind.method == "DELETE":
            return name[7:-5] in self.path and name not in now
        assert b'\n"data":{"atoms":%s,' % self.kind.atoms in now[name]
        return name not in self.kept

    def check(self, call: Call, fault: str) -> None:
        """Let a call fail, or the server be killed at it, and check what became of the request."""
        dies, data_dir = fault == "SIGKILL", self.server.data_dir
        inject = f"inject={call.name}:{'signal' if dies else 'error'}={fault}:when={call.nth}"
        answer = self.send_traced("-e", f"trace={call.name}", "-e", inject, dies=dies)
        found = re.findall(r".*\(INJECTED\).*|.*killed by SIGKILL.*", self.log.read_text())
        assert found
        assert dies or all(str(data_dir) in line for line in found)
        if dies:
            assert answer is None
            self.server.kill()
            self.server.start()
        left = strays_in(data_dir)
        removing = call.name.startswith("unlink") and ".upload-" in call.text
        assert len(left) == (removing and not dies)
        for name in left:
            os.unlink(data_dir / name)
        done = self.is_done()
        if not dies and answer.status >= 400:
            conflicts = answer.status == 409 and "base=" in self.path and "/backup-" in call.text
            assert_error(answer, 409 if conflicts else 507 if fault == "ENOSPC" else 503)
            assert not done or self.may_be_repeated
        else:
            assert done or dies
        if not done or self.may_be_repeated:  # the same succeeds, and is done once
            first, repeated = (200, 404) if self.kind.method == "DELETE" else (201, 200)
            assert self.send().status == (repeated if done else first)
            assert self.is_done()


@pytest.mark.parametrize("name", KINDS)
def test_a_call_that_fails_is_an_answer_and_a_kill_at_any_leaves_all_or_nothing(
    tmp_path, name, amount, subtests
):
    @contextmanager
    def bench():
        (tmp_path / "one").mkdir()
        one = Bench(tmp_path / "one" / "data", KINDS[name])
        try:
            yield one
        finally:
            one.server.kill()
            shutil.rmtree(tmp_path / "one")

    with bench() as one:
        assert one.send_traced().status in (200, 201)
        assert one.is_done()
        found = one.calls()
        assert order_of(found, one.server.data_dir) == one.kind.order
        inside = re.compile(re.escape(str(one.server.data_dir)) + r'[/">]')
    faults = []
    for call in found:
        if call.name in CANNOT_FAIL or not inside.search(call.text):
            continue
        # The short form takes the first call of each name, and what is synced.
        if amount.long or (name in SHORT and (call.nth == 1 or call.name == "fsync")):
            chosen = ("ENOSPC", "EIO", "SIGKILL") if amount.long else ("EIO", "SIGKILL")
            faults += [(call, fault) for fault in chosen]
    for call, fault in faults:
        with subtests.test(f"{fault} at {call}"), bench() as one:
            one.check(call, fault)
    print(f"{len(faults)} faults")


#: By the name of a call and what it is called with.
ORDER = {
    "key": (r"symlink(at)?", r"\.keys"),
    "sync the keys": (r"fsync", r"^\d+<DATA/\.keys>\)"),
    "write": (r"p?write(v|64)?", r"^\d+<DATA/(\.upload-|#)[^>]*>(\(deleted\))?, "),
    "sync the bytes": (r"f(data)?sync", r"^\d+<DATA/(\.upload-|#)[^>]*>(\(deleted\))?\)"),
    "name": (r"link(at)?|rename(at2?)?", r"backup-[^\"]+\.json"),
    "remove the name": (r"unlink(at)?", r"backup-[^\"]+\.json"),
    "sync the directory": (r"fsync", r"^\d+<DATA>\)"),
    "answer": (r"send(to|msg)", r'"HTTP/1\.1 20'),
}


def order_of(calls: list[Call], data_dir: Path) -> tuple[str, ...]:
    """Return what happened in which order, each thing where it happened last."""
    found = []
    for call in calls:
        for what, (name, pattern) in ORDER.items():
            pattern = pattern.replace("DATA", re.escape(str(data_dir)))
            if re.fullmatch(name, call.name) and re.search(pattern, call.text):
                found = [*(other for other in found if other != what), what]
    return tuple(found)
