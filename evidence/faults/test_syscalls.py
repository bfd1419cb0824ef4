"""Each system call that a request makes on the storage directory fails once, or is the last.

strace injects an errno, or SIGKILL, at the n-th call of a name. Which calls there are is found out
from a good request, so none is forgotten when the code changes. Every injection has a server and a
directory of its own, and has to be seen in strace's log.

Not made to fail: ``close``, whose descriptor strace would leave open, which Linux never does;
``mmap``, whose calls the memory allocator makes uncountable; calls that cannot fail on a file.
"""

import http.client
import os
import re
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from support import Answer, Server, assert_error, backups_in, strays_in

from .tracing import Call, answering_thread, calls, traced

FULL = ("ENOSPC", "EDQUOT")
CREATING = ("EMFILE", "ENOSPC", "EIO")
ERRORS = {
    "openat": ("EMFILE", "EIO"),
    "write": ("ENOSPC", "EDQUOT", "EIO"),
    "pwrite64": ("ENOSPC", "EIO"),
    "fsync": ("EIO", "ENOSPC"),
    "link": ("ENOSPC", "EIO"),
    "symlink": ("ENOSPC", "EIO"),
    "flock": ("ENOLCK",),
    "fcntl": ("EMFILE",),
}
CANNOT_FAIL = {"close", "mmap", "ioctl", "lseek"}
KEY = "0123456789abcdef"
#: One thread does all that a request needs, so that its calls can be told by their numbers.
ONE_THREAD = [
    *(sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--threads", "1"),
    "backup_server:create_app()",
]


class Kind(NamedTuple):
    """A request; ``atoms`` is what it stores, ``{small}`` and ``{large}`` are ids of backups."""

    method: str
    path: str
    body: bytes = b""
    atoms: bytes | None = None

    @property
    def changes(self) -> bool:
        return self.atoms is not None or self.method == "DELETE"


def record(slug: str, size: int) -> bytes:
    return b'{"slug":"%s","pad":"%s"}' % (slug.encode(), b"x" * size)


def upload(size: int, query: str = "") -> Kind:
    atoms = b"[%s]" % record("new", size)
    return Kind("POST", "/api/backup" + query, b'{"atoms":%s}' % atoms, atoms)


def change(base: str, query: str) -> Kind:
    body = b'{"atoms":{"put":[%s]}}' % record("new", 2000)
    atoms = b"[%s,%s]" % (record("old", SEEDS[base]), record("new", 2000))
    return Kind("POST", f"/api/backup?base={{{base}}}{query}", body, atoms)


SEEDS = {"small": 2000, "large": 150_000}
KINDS = {
    "change with a key": change("small", f"&key={KEY}"),
    "deletion": Kind("DELETE", "/api/backup/{small}"),
    "upload": upload(2000),
    "upload with a key": upload(2000, f"?key={KEY}"),
    "large upload": upload(1_050_000),
    "change of a large base": change("large", ""),
    "read": Kind("GET", "/api/backup/{small}"),
    "restore": Kind("POST", "/api/restore", b'{"backupId":"{large}","items":["atoms"]}'),
    "list": Kind("GET", "/api/backup/list"),
    "latest": Kind("GET", "/api/backup/latest"),
}
SHORT = ("change with a key", "deletion")


def kinds(*names: str) -> list:
    marks = {name: [] if name in SHORT else [pytest.mark.long] for name in names}
    return [pytest.param(KINDS[name], id=name, marks=marks[name]) for name in names]


class Bench:
    """A server on a copy of a directory with two backups, of which the small one has a key."""

    def __init__(self, directory: Path, ids: dict[str, str], kind: Kind):
        self.log = directory / "strace.log"
        self.server = Server(directory / "data", ONE_THREAD, WEB_CONCURRENCY="1").start()
        self.kept = backups_in(directory / "data")
        self.kind, self.path, self.body = kind, kind.path.format_map(ids), kind.body
        self.body = kind.body.replace(b"{large}", ids["large"].encode())
        self.may_be_repeated = KEY in self.path or kind.method == "DELETE"

    def send(self) -> Answer | None:
        """Send the request; None if no whole answer came."""
        headers = {"Content_Type": "application/json"} if self.body else {}
        try:
            return self.server.request(self.kind.method, self.path, self.body, **headers)
        except (OSError, http.client.HTTPException):
            return None

    def send_traced(self, *options: str, dies: bool = False) -> Answer | None:
        with traced(answering_thread(self.server), self.log, *options, dies=dies):
            return self.send()

    def is_done(self) -> bool:
        """Tell whether what was asked for is done; check that nothing else has changed."""
        now = backups_in(self.server.data_dir)
        changed = {name for name in now | self.kept if now.get(name) != self.kept.get(name)}
        if not changed:
            return False
        (name,) = changed
        if self.kind.method == "DELETE":
            return name[7:-5] in self.path and name not in now
        asked = {"backupId": name[7:-5], "items": ["atoms"]}
        part = self.server.post("/api/restore", asked).body
        assert part.endswith(b'"data":{"atoms":%s}}' % self.kind.atoms)
        assert name[7:-5] in self.server.listed()
        return name not in self.kept

    def check_again(self, was_done: bool, good: bytes) -> None:
        """Check that the same request succeeds without a restart, and is done once."""
        if not self.kind.changes:
            assert self.send().body == good
        elif not was_done or self.may_be_repeated:
            first, repeated = (200, 404) if self.kind.method == "DELETE" else (201, 200)
            assert self.send().status == (repeated if was_done else first)
            assert self.is_done()


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """A directory to copy, and the ids of the backups in it by their size."""
    server = Server(tmp_path_factory.mktemp("seeds") / "data").start()
    ids = {
        name: server.upload(b'{"atoms":[%s]}' % record("old", size), f"?key={name * 4}")["id"]
        for name, size in SEEDS.items()
    }
    server.stop()
    return server.data_dir, ids


@pytest.fixture
def bench(seeds, tmp_path):
    """Make benches, each for a block."""

    @contextmanager
    def make(kind: Kind):
        directory = Path(tempfile.mkdtemp(dir=tmp_path))
        shutil.copytree(seeds[0], directory / "data", symlinks=True)
        bench = Bench(directory, seeds[1], kind)
        try:
            yield bench
        finally:
            bench.server.kill()
            shutil.rmtree(directory)

    return make


def good_request(bench, kind: Kind, everything: bool) -> tuple[bytes, list[Call]]:
    """Return the answer to a request when nothing fails, and its calls that may fail.

    In the short form only the first of each name, and what is synced.
    """
    with bench(kind) as one:
        answer = one.send_traced()
        assert answer.status in (200, 201)
        assert one.is_done() == kind.changes
        inside = re.compile(re.escape(str(one.server.data_dir)) + r'[/">]')
        found = [call for call in calls(one.log, '"HTTP/1.1 20') if inside.search(call.text)]
    can_fail = [call for call in found if call.name not in CANNOT_FAIL]
    return answer.body, [
        call for call in can_fail if everything or call.nth == 1 or call.name == "fsync"
    ]


@pytest.mark.parametrize("kind", kinds(*KINDS))
def test_a_system_call_that_fails_is_an_answer_and_leaves_nothing_behind(
    bench, kind, amount, figures, subtests
):
    good, found = good_request(bench, kind, amount.long)
    for call in found:
        creating = "O_CREAT" in call.text or "O_TMPFILE" in call.text
        errors = CREATING if creating else ERRORS.get(call.name.removesuffix("at"), ("EIO",))
        for error in errors if amount.long else errors[-1:]:
            with subtests.test(f"{error} at {call}"), bench(kind) as one:
                check_failing(one, call, error, good)
    figures(f"{len(found)} system calls")


def check_failing(bench: Bench, call: Call, error: str, good: bytes) -> None:
    inject = f"inject={call.name}:error={error}:when={call.nth}"
    answer = bench.send_traced("-e", f"trace={call.name}", "-e", inject)
    hit = [line for line in bench.log.read_text().splitlines() if "(INJECTED)" in line]
    assert [line for line in hit if str(bench.server.data_dir) in line] == hit != []
    left = strays_in(bench.server.data_dir)
    assert len(left) == (call.name.startswith("unlink") and ".upload-" in call.text)
    for name in left:  # whose removal has failed
        os.unlink(bench.server.data_dir / name)
    done = bench.is_done()
    if answer is None:
        assert not bench.kind.changes, "no answer"
    elif answer.status >= 400:
        is_of_base = "base=" in bench.path and "/backup-" in call.text
        assert_error(answer, 507 if error in FULL else 409 if answer.status == 409 else 503)
        assert answer.status != 409 or is_of_base
        assert not done or bench.may_be_repeated
    elif bench.kind.changes:
        assert done
    elif answer.body != good:  # a file that cannot be read is left out
        assert error == "EIO"
        assert "backup-" in call.text
        assert bench.path.endswith(("/list", "/latest"))
    bench.check_again(done, good)


@pytest.mark.parametrize("kind", kinds(*[name for name in KINDS if KINDS[name].changes]))
def test_a_server_killed_at_any_system_call_leaves_all_or_nothing(
    bench, kind, amount, figures, subtests
):
    _, found = good_request(bench, kind, amount.long)
    for call in found:
        with subtests.test(f"killed at {call}"), bench(kind) as one:
            inject = f"inject={call.name}:signal=SIGKILL:when={call.nth}"
            assert one.send_traced("-e", f"trace={call.name}", "-e", inject, dies=True) is None
            assert "killed by SIGKILL" in one.log.read_text()
            one.server.kill()
            one.server.start()
            assert strays_in(one.server.data_dir) == []
            one.check_again(one.is_done(), b"")
    figures(f"{len(found)} system calls")


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


def order_of(bench: Bench) -> list[str]:
    """Return what happened in which order, each thing where it happened last."""
    found = []
    for call in calls(bench.log, '"HTTP/1.1 20'):
        for what, (name, pattern) in ORDER.items():
            pattern = pattern.replace("DATA", re.escape(str(bench.server.data_dir)))
            if re.fullmatch(name, call.name) and re.search(pattern, call.text):
                found = [*(other for other in found if other != what), what]
    return found


STORED = ["name", "sync the directory", "answer"]
WRITTEN = ["write", "sync the bytes"]
ORDERS = {
    "upload": [*WRITTEN, *STORED],
    "large upload": [*WRITTEN, *STORED],
    "upload with a key": [*WRITTEN, "key", "sync the keys", *STORED],
    "change with a key": [*WRITTEN, "key", "sync the keys", *STORED],
    "deletion": ["remove the name", "sync the directory", "answer"],
}


@pytest.mark.parametrize("name", ORDERS)
def test_what_is_answered_was_synced_before_and_the_key_before_the_name(bench, name):
    with bench(KINDS[name]) as one:
        one.send_traced()
        assert order_of(one) == ORDERS[name]


def test_directories_that_are_made_are_synced_into_those_above(tmp_path):
    log = tmp_path / "log"
    watch = ["strace", "-D", "-f", "-y", "-e", "trace=mkdir,mkdirat,fsync", "-o", str(log)]
    data_dir = tmp_path / "parent" / "data"
    server = Server(data_dir, command=[*watch, sys.executable, "-m", "backup_server"])
    server.log_path = tmp_path / "server.log"
    server.start().stop()
    found = re.findall(
        r'(mkdir|fsync)(?:at)?\((?:AT_FDCWD<.*?>, |\d+<.*?>, )?[^/]*(/.*?)[>"]', log.read_text()
    )
    ours = [(name, path) for name, path in found if path.startswith(str(tmp_path))]
    made = [("mkdir", str(data_dir.parent)), ("fsync", str(tmp_path))]
    assert ours[:4] == [*made, ("mkdir", str(data_dir)), ("fsync", str(data_dir.parent))]


@pytest.mark.parametrize("call", ["link", "symlink"])
def test_a_file_system_that_lacks_links_is_said_to_be_unfit_at_once(start_server, tmp_path, call):
    """FAT has no hard links, CIFS may have hard and no symbolic ones."""
    names = f"{call},{call}at"
    inject = ["-e", f"trace={names}", "-e", f"inject={names}:error=EPERM"]
    watch = ["strace", "-D", "-f", *inject, "-o", str(tmp_path / "log")]
    server = start_server(command=[*watch, sys.executable, "-m", "backup_server"])
    answer = server.get("/api/health")
    assert (answer.status, answer.json["status"]) == (503, "unavailable")
    assert {"link": "hard links", "symlink": "symbolic links"}[call] in answer.json["error"]
    assert_error(server.post(f"/api/backup?key={KEY}", {}), 503)
    assert server.listed() == []
