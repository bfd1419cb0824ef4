"""Each system call that a request makes on the storage directory fails once, or is the last.

strace injects an errno, or SIGKILL, at the n-th call of a name. Which calls there are is found out
from a good request, so none is forgotten when the code changes. Every injection has a server and a
directory of its own, and has to be seen in strace's log.

Not made to fail: ``close``, whose descriptor strace would leave open, which Linux never does;
``mmap``, whose calls the memory allocator makes uncountable; calls that cannot fail on a file.
"""

import errno
import http.client
import json
import os
import re
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from support import Answer, Server, assert_error, backups_in, strays_in

from .tracing import Call, answering_thread, calls, traced

FULL = ("ENOSPC", "EDQUOT")
ERRORS = {
    "openat": ("EMFILE", "EIO"),
    "creating openat": ("EMFILE", "ENOSPC", "EIO"),
    "write": ("ENOSPC", "EDQUOT", "EIO"),
    "pwrite64": ("ENOSPC", "EIO"),
    "fsync": ("EIO", "ENOSPC"),
    "link": ("ENOSPC", "EIO"),
    "symlink": ("ENOSPC", "EIO"),
    "mkdir": ("ENOSPC", "EIO"),
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
    body: bytes | None = None
    atoms: bytes | None = None
    pause: float = 0  # seconds until the server does again what it does once a second

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
    "health": Kind("GET", "/api/health", pause=1.1),
}
SHORT = ("change with a key", "deletion")


def kinds(condition=lambda kind: True) -> list:
    marks = {name: [] if name in SHORT else [pytest.mark.long] for name in KINDS}
    chosen = [name for name, kind in KINDS.items() if condition(kind)]
    return [pytest.param(KINDS[name], id=name, marks=marks[name]) for name in chosen]


class Bench:
    """A server on a copy of a directory with two backups, of which the small one has a key."""

    def __init__(self, directory: Path, ids: dict[str, str], kind: Kind):
        self.log = directory / "strace.log"
        self.server = Server(directory / "data", ONE_THREAD, WEB_CONCURRENCY="1").start()
        self.kept = backups_in(directory / "data")
        self.kind, self.path, self.body = kind, kind.path.format_map(ids), kind.body
        for name, backup_id in ids.items():
            self.body = self.body and self.body.replace(b"{%s}" % name.encode(), backup_id.encode())
        self.small = f"backup-{ids['small']}.json"

    def send(self) -> Answer | None:
        """Send the request; None if no whole answer came."""
        headers = {"Content_Type": "application/json"} if self.body else {}
        try:
            return self.server.request(self.kind.method, self.path, self.body, **headers)
        except (OSError, http.client.HTTPException):
            return None

    def send_traced(self, *options: str, dies: bool = False) -> Answer | None:
        time.sleep(self.kind.pause)
        with traced(answering_thread(self.server), self.log, *options, dies=dies):
            return self.send()

    def storage_calls(self, lines: list[Call]) -> list[Call]:
        inside = re.compile(re.escape(str(self.server.data_dir)) + r'[/">]')
        return [call for call in lines if inside.search(call.text)]

    def new(self) -> list[str]:
        """Check that what must be there is as it was; return the names of the other files."""
        now = backups_in(self.server.data_dir)
        may_go = {self.small} if self.kind.method == "DELETE" else set()
        assert {name for name in self.kept if now.get(name) != self.kept[name]} <= may_go
        return [*(now.keys() - self.kept.keys())]

    def check_stored_once(self) -> None:
        (name,) = self.new()
        asked = {"backupId": name[7:-5], "items": ["atoms"]}
        part = self.server.post("/api/restore", asked).body
        assert part.endswith(b'"data":{"atoms":%s}}' % self.kind.atoms)
        assert name[7:-5] in self.server.listed()


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


def good_request(bench, kind: Kind) -> tuple[bytes, list[Call]]:
    """Return the answer to a request when nothing fails, and its calls on the directory."""
    with bench(kind) as one:
        answer = one.send_traced()
        assert answer.status in (200, 201)
        if kind.atoms:
            one.check_stored_once()
        return answer.body, one.storage_calls(calls(one.log, '"HTTP/1.1 20'))


def chosen(found: list[Call], everything: bool) -> list[Call]:
    """Leave out what cannot fail; in the short form, all but the first call of each name."""
    can_fail = [call for call in found if call.name not in CANNOT_FAIL]
    return [call for call in can_fail if everything or call.nth == 1 or call.name == "fsync"]


def errors_at(call: Call) -> tuple[str, ...]:
    creating = call.name == "openat" and ("O_CREAT" in call.text or "O_TMPFILE" in call.text)
    return ERRORS.get("creating openat" if creating else call.name.removesuffix("at"), ("EIO",))


@pytest.mark.parametrize("kind", kinds())
def test_a_system_call_that_fails_is_an_answer_and_leaves_nothing_behind(
    bench, kind, amount, figures, subtests
):
    good, found = good_request(bench, kind)
    faults = [(call, error) for call in chosen(found, amount.long) for error in errors_at(call)]
    for call, error in faults if amount.long else faults[::2]:
        with subtests.test(f"{error} at {call}"), bench(kind) as one:
            check_failing(one, call, error, good)
    figures(f"{len(faults)} failing system calls")


def check_failing(bench: Bench, call: Call, error: str, good: bytes) -> None:
    inject = f"inject={call.name}:error={error}:when={call.nth}"
    answer = bench.send_traced("-e", f"trace={call.name}", "-e", inject)
    hit = [line for line in bench.log.read_text().splitlines() if "(INJECTED)" in line]
    assert [line for line in hit if str(bench.server.data_dir) in line] == hit != []
    stored = bench.new()
    remove_stray(bench, call)
    if answer is None:
        assert not bench.kind.changes, "no answer"
    elif answer.status >= 400:
        check_refusal(bench, call, error, answer)
        assert stored == [] or KEY in bench.path
    elif bench.kind.atoms:
        assert stored == [f"backup-{answer.json['id']}.json"]
    elif bench.kind.path.endswith("list"):
        listed = [backup["id"] for backup in answer.json["backups"]]
        missing = {name for name in bench.kept if name[7:-5] not in listed}
        assert all(name in call.text for name in missing)
    elif bench.kind.path.endswith("latest") and answer.body != good:
        assert error == "EIO"
        assert json.loads(good)["id"] in call.text, "an older one than there is for no reason"
    elif bench.kind.method != "DELETE" and not bench.kind.path.endswith("health"):
        assert answer.body == good
    check_again(bench, stored, good)


def remove_stray(bench: Bench, call: Call) -> None:
    """Check that only what could not be removed was left behind."""
    left = strays_in(bench.server.data_dir)
    if call.name.startswith("unlink") and ".upload-" in call.text:
        assert len(left) == 1
        os.unlink(bench.server.data_dir / left[0])
    else:
        assert left == []


def check_refusal(bench: Bench, call: Call, error: str, answer: Answer) -> None:
    if bench.kind.path.endswith("health"):
        assert (answer.status, answer.json["status"]) == (503, "unavailable")
    elif answer.status == 409:  # the base could not be read
        assert "base=" in bench.path
        assert "/backup-" in call.text
        assert_error(answer, 409)
    else:
        assert_error(answer, 507 if error in FULL else 503)
        assert os.strerror(getattr(errno, error)) in answer.json["error"] or error == "EIO"


def check_again(bench: Bench, stored: list[str], good: bytes) -> None:
    """Check that the same request succeeds without a restart, and that all is there once."""
    time.sleep(bench.kind.pause)
    again = bench.send()
    if bench.kind.atoms:
        assert again.status == (200 if stored and KEY in bench.path else 201)
        if len(bench.new()) == 2:  # without a key, what was acknowledged and this one
            (bench.server.data_dir / stored[0]).unlink()
        bench.check_stored_once()
    elif bench.kind.method == "DELETE":
        assert again.status in (200, 404)
        assert bench.small not in backups_in(bench.server.data_dir)
    elif bench.kind.path.endswith("health"):
        assert again.status == 200
    else:
        assert again.body == good


@pytest.mark.parametrize("kind", kinds(lambda kind: kind.changes))
def test_a_server_killed_at_any_system_call_leaves_all_or_nothing(
    bench, kind, amount, figures, subtests
):
    _, found = good_request(bench, kind)
    # The spool, which never had a name, is closed by whichever thread lets go of it last.
    kills = [call for call in chosen(found, amount.long) if "/#" not in call.text]
    for call in kills if amount.long else [call for call in kills if "stat" not in call.name]:
        with subtests.test(f"killed at {call}"), bench(kind) as one:
            check_killed(one, call)
    figures(f"{len(kills)} kills at system calls")


def check_killed(bench: Bench, call: Call) -> None:
    inject = f"inject={call.name}:signal=SIGKILL:when={call.nth}"
    answer = bench.send_traced("-e", f"trace={call.name}", "-e", inject, dies=True)
    assert "killed by SIGKILL" in bench.log.read_text()
    assert answer is None
    bench.server.kill()
    bench.server.start()
    assert strays_in(bench.server.data_dir) == []
    stored = bench.new()
    assert len(stored) <= 1
    if bench.kind.atoms and stored:
        bench.check_stored_once()
    check_again(bench, stored, b"")


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


@pytest.mark.parametrize("kind", [KINDS["upload"], KINDS["large upload"]])
def test_the_201_comes_after_the_bytes_their_name_and_the_directory_were_synced(bench, kind):
    with bench(kind) as one:
        one.send_traced()
        stored = ["write", "sync the bytes", "name", "sync the directory", "answer"]
        assert order_of(one) == stored


@pytest.mark.parametrize("kind", [KINDS["upload with a key"], KINDS["change with a key"]])
def test_a_key_is_synced_before_the_backup_has_its_name(bench, kind):
    with bench(kind) as one:
        one.send_traced()
        first = ["write", "sync the bytes", "key", "sync the keys"]
        assert order_of(one) == [*first, "name", "sync the directory", "answer"]


def test_a_deletion_is_answered_after_the_directory_was_synced(bench):
    with bench(KINDS["deletion"]) as one:
        one.send_traced()
        assert order_of(one) == ["remove the name", "sync the directory", "answer"]


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
