"""Each system call that an upload makes on the storage directory fails once, or is the last.

strace injects an errno at the n-th call of a name, or SIGKILL in its place. What is counted is
one upload of each kind; a test first finds out which calls there are, so none is forgotten when
the code changes. ``close`` is not made to fail: strace would leave the descriptor open, which
Linux never does; nor is ``mmap``, whose calls the memory allocator makes uncountable.
"""

import errno
import os
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import pytest
from support import Server, assert_error, backups_in, require_tool, strays_in

from .tracing import Call, calls, injected, traced, worker_of

FULL = ("ENOSPC", "EDQUOT")
ERRORS = {
    "openat": ("EMFILE", "ENOSPC", "EIO"),
    "write": ("ENOSPC", "EDQUOT", "EIO"),
    "pwrite64": ("ENOSPC", "EIO"),
    "fsync": ("EIO", "ENOSPC"),
    "link": ("ENOSPC", "EIO"),
    "symlink": ("ENOSPC", "EIO"),
    "mkdir": ("ENOSPC", "EIO"),
    "flock": ("ENOLCK",),
}
NEVER_FAIL = ("close", "mmap", "ioctl")


class Kind(NamedTuple):
    """One way through the storing code.

    What is longer than 64 KiB comes in through a file; what is longer than a megabyte is hashed in
    a thread of its own.
    """

    keyed: bool
    padding: int  # bytes that are sent
    base: int = 0  # bytes of the base, if it is a change to one

    @property
    def body(self) -> bytes:
        if self.base:
            return b'{"atoms":{"put":[{"slug":"new","pad":"%s"}]}}' % (b"x" * self.padding)
        return b'{"atoms":["%s"]}' % (b"x" * self.padding)

    @property
    def atoms(self) -> bytes:
        """What is to be stored."""
        if self.base:
            new = self.body.partition(b"[")[2].removesuffix(b"]}}")
            return b"[%s,%s]" % (old_record(self.base), new)
        return self.body.partition(b":")[2].removesuffix(b"}")


KINDS = {
    "plain": Kind(False, 2000),
    "keyed": Kind(True, 2000),
    "large": Kind(False, 1_050_000),
    "keyed change": Kind(True, 2000, base=2000),
}
# Its calls are those of the others, but for many more that read and write pieces.
LARGE_CHANGE = {"change of a large base": Kind(False, 2000, base=150_000)}


def old_record(size: int) -> bytes:
    return b'{"slug":"old","pad":"%s"}' % (b"y" * size)


# gunicorn's own worker, in which one thread does all that an upload needs, so that its calls can be
# told by their numbers; with ours the same code runs in threads by the kind of work.
ONE_THREAD = [
    *(sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--threads", "1"),
    "backup_server:create_app()",
]


class Bench:
    """A server that is restarted as needed, and what must be in its directory."""

    def __init__(self, data_dir: Path):
        self.log = data_dir.with_name("strace.log")
        self.server = Server(data_dir, ONE_THREAD, WEB_CONCURRENCY="1").start()
        # .keys is made by the first upload with a key, which is thus unlike the others.
        self.server.upload({"atoms": ["first"]}, f"?key={secrets.token_hex(16)}")
        self.bases = {
            kind.base: self.server.upload(b'{"atoms":[%s]}' % old_record(kind.base))["id"]
            for kind in (KINDS | LARGE_CHANGE).values()
            if kind.base
        }
        self.kept = backups_in(data_dir)

    def upload(self, kind: Kind, *strace: str) -> tuple[str, object]:
        """Upload under strace; return the query and the answer, None if none came."""
        # The first upload of a process opens more files than others: modules.
        self.forget(self.server.post("/api/backup" + self.query(kind), kind.body).json["id"])
        query = self.query(kind)
        dies = any("SIGKILL" in option for option in strace)
        with traced(worker_of(self.server), self.log, *strace, dies=dies):
            try:
                answer = self.server.post("/api/backup" + query, kind.body)
            except OSError:
                answer = None
        return query, answer

    def query(self, kind: Kind) -> str:
        base = {"base": self.bases[kind.base]} if kind.base else {}
        key = {"key": secrets.token_hex(16)} if kind.keyed else {}
        return "?" + urlencode(base | key)

    def storage_calls(self, kind: Kind) -> list[Call]:
        """Find out which calls on the storage directory a good upload makes."""
        _, answer = self.upload(kind)
        assert answer.status == 201
        self.forget(answer.json["id"])
        inside = re.compile(re.escape(str(self.server.data_dir)) + r'[/">]')
        return [call for call in calls(self.log, '"HTTP/1.1 201') if inside.search(call.text)]

    def forget(self, backup_id: str) -> None:
        assert self.server.request("DELETE", f"/api/backup/{backup_id}").status == 200

    def new_ids(self) -> list[str]:
        """Check that the old backups are as they were; return the ids of the others, all whole."""
        now = backups_in(self.server.data_dir)
        assert self.kept.items() <= now.items()
        others = {name[7:-5] for name in now.keys() - self.kept.keys()}
        listed = self.server.listed()
        assert set(listed) == others | {name[7:-5] for name in self.kept}
        return [backup_id for backup_id in listed if backup_id in others]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    require_tool("strace")
    bench = Bench(tmp_path_factory.mktemp("syscalls") / "data")
    yield bench
    bench.server.stop()


@contextmanager
def placed(what: str) -> Iterator[None]:
    """Say at which call it was that a check has failed."""
    try:
        yield
    except Exception as error:
        error.add_note(what)
        raise


def check_stored(bench: Bench, kind: Kind, backup_id: str) -> None:
    """Check that a backup is byte for byte what this kind of upload sends."""
    part = bench.server.post("/api/restore", {"backupId": backup_id, "items": ["atoms"]}).body
    assert part.endswith(b'"data":{"atoms":%s}}' % kind.atoms)


@pytest.mark.parametrize("kind", (KINDS | LARGE_CHANGE).values(), ids=KINDS | LARGE_CHANGE)
def test_a_system_call_that_fails_is_an_answer_and_leaves_nothing_behind(bench, kind):
    faults = 0
    for call in bench.storage_calls(kind):
        for error in () if call.name in NEVER_FAIL else ERRORS.get(call.name, ("EIO",)):
            with placed(f"{error} at {call.name} {call.nth}: {call.text}"):
                check_failing(bench, kind, call, error)
            faults += 1
    assert faults > 15
    assert bench.server.process.poll() is None


def check_failing(bench: Bench, kind: Kind, call: Call, error: str) -> None:
    inject = f"inject={call.name}:error={error}:when={call.nth}"
    query, answer = bench.upload(kind, "-e", f"trace={call.name}", "-e", inject)
    assert injected(bench.log)
    assert answer is not None
    left = strays_in(bench.server.data_dir)
    if call.name == "unlink" and ".upload-" in call.text:
        assert len(left) == 1  # which is what has failed
        os.unlink(bench.server.data_dir / left[0])
    else:
        assert left == []
    stored = bench.new_ids()
    if answer.status == 201:
        assert stored == [answer.json["id"]]
        check_stored(bench, kind, stored[0])
    elif kind.base and f"backup-{bench.bases[kind.base]}.json" in call.text:
        assert_error(answer, 503 if error == "EMFILE" else 409)
        assert stored == []
    else:
        reason = [os.strerror(getattr(errno, error))] if call.name in ERRORS else []
        assert_error(answer, 507 if error in FULL else 503, *reason)
        assert stored == [] or kind.keyed
    # Without a restart: the same again stores it, once.
    again = bench.server.post("/api/backup" + query, kind.body)
    assert again.status == (200 if kind.keyed and stored else 201)
    for backup_id in {*stored, again.json["id"]}:
        check_stored(bench, kind, backup_id)
        bench.forget(backup_id)
    assert bench.new_ids() == []


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_server_killed_at_any_system_call_leaves_all_or_nothing(bench, kind):
    kills = 0
    for call in bench.storage_calls(kind):
        # The spool, which never had a name, is closed by whichever thread lets go of it last.
        if call.name == "mmap" or (call.name == "close" and "/#" in call.text):
            continue
        with placed(f"killed at {call.name} {call.nth}: {call.text}"):
            check_killed(bench, kind, call)
        kills += 1
    assert kills > 15


def check_killed(bench: Bench, kind: Kind, call: Call) -> None:
    inject = f"inject={call.name}:signal=SIGKILL:when={call.nth}"
    for _ in range(3):
        query, answer = bench.upload(kind, "-e", f"trace={call.name}", "-e", inject)
        assert injected(bench.log)
        bench.server.kill()
        bench.server.start()
        if answer is None:
            break
        # Another thread's call was the first of this name, on a busy machine after the 201.
        bench.forget(answer.json["id"])
    assert answer is None
    assert strays_in(bench.server.data_dir) == []
    stored = bench.new_ids()
    assert len(stored) <= 1
    again = bench.server.post("/api/backup" + query, kind.body)
    assert again.status == (200 if kind.keyed and stored else 201)
    for backup_id in {*stored, again.json["id"]}:
        check_stored(bench, kind, backup_id)
        bench.forget(backup_id)
    assert bench.new_ids() == []


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_201_comes_after_the_bytes_their_name_and_the_directory_were_synced(bench, kind):
    directory = str(bench.server.data_dir)
    _, answer = bench.upload(kind)
    bench.forget(answer.json["id"])
    order = [
        what
        for call in calls(bench.log, '"HTTP/1.1 201')
        for what, pattern in {
            "write": rf'^\d+<{directory}/\.upload-[0-9a-f]+\.tmp>, "',
            "sync the bytes": rf"^\d+<{directory}/\.upload-[0-9a-f]+\.tmp>\)",
            "key": rf'^"\.\./backup-.*", "{directory}/\.keys/',
            "name": rf'^"{directory}/\.upload-[0-9a-f]+\.tmp", "{directory}/backup-',
            "sync the keys": rf"^\d+<{directory}/\.keys>\)",
            "sync the directory": rf"^\d+<{directory}>\)",
            "201": r'^\d+<.*>, "HTTP/1\.1 201',
        }.items()
        if call.name in ("write", "pwrite64", "fsync", "symlink", "link", "sendto")
        and re.match(pattern, call.text)
    ]
    names = ["key", "sync the keys", "name"] if kind.keyed else ["name"]
    written = order.index("sync the bytes")
    assert set(order[:written]) == {"write"}
    assert order[written:] == ["sync the bytes", *names, "sync the directory", "201"]
