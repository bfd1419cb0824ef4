"""The directory under the backups: each of its calls fails once, and it may be lost or replaced.

A call that fails raises a real OSError. Every fault asserts the error's kind, the old bytes, that
no stray and no open file stays, and that the same upload works afterwards.
"""

import fcntl
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from errno import EACCES, EDQUOT, EIO, EMFILE, ENOENT, ENOLCK, ENOSPC, EROFS, ESTALE

import pytest
from support import backups_in, strays_in

from backup_server import durable
from backup_server.durable import Directory
from backup_server.errors import NoRoom, Unavailable, UnusableBase
from backup_server.ids import file_name
from backup_server.storage import Storage
from backup_server.upload import check_upload


@pytest.fixture(autouse=True)
def quick_sync():
    """Count syncs without waiting for a disk: what they are worth is shown in evidence/."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


UPLOAD = check_upload(b'{"atoms":["new"]}')
KEY, OLD_KEY = "key-of-this-upload", "key-of-the-old-one"


@pytest.fixture
def storage(tmp_path):
    """A storage with two backups, of which the first has a key."""
    storage = Storage(tmp_path / "data")
    storage.prepare()
    storage.add(check_upload(b'{"atoms":["old"]}'), OLD_KEY)
    storage.add(check_upload(b'{"atoms":["older"]}'))
    return storage


@pytest.fixture
def fail(monkeypatch):
    """Return a function that lets the n-th call of a function of ``os`` or ``fcntl`` fail.

    It returns a list that has an element once the call has failed.
    """

    def fail(name: str, code: int, nth: int) -> list:
        module = fcntl if name == "flock" else os
        call, hits, count = getattr(module, name), [], 0

        def wrapper(*arguments, **options):
            nonlocal count
            count += 1
            if count == nth:
                hits.append(arguments)
                path = arguments[0] if isinstance(arguments[0], str) else None
                raise OSError(code, os.strerror(code), path)
            return call(*arguments, **options)

        monkeypatch.setattr(module, name, wrapper)
        return hits

    return fail


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


# --- the fault table ------------------------------------------------------------------------------

UPLOADS = {"plain": None, "keyed": KEY, "first key": KEY}
UPLOAD_FAULTS = {
    "open": (EMFILE, ENOSPC, EROFS, EACCES, ENOENT),
    "stat": (EIO, ENOENT),
    "fstat": (EIO, ESTALE),
    "flock": (ENOLCK,),
    "pread": (EIO,),
    "pwrite": (ENOSPC, EIO),
    "write": (ENOSPC, EDQUOT, EIO),
    "fsync": (EIO, ENOSPC, EDQUOT),
    "link": (ENOSPC, EIO, EACCES),
    "unlink": (EIO, EROFS),
    "readlink": (EIO,),
    "symlink": (EDQUOT, EIO, EACCES),
    "mkdir": (ENOSPC, EROFS),
}
ONLY_KEYED = {"readlink": ("keyed", "first key"), "symlink": ("keyed", "first key")}
ONLY_KEYED["mkdir"] = ("first key",)


@pytest.mark.parametrize(
    ("kind", "name", "code"),
    [
        (kind, name, code)
        for kind in UPLOADS
        for name, codes in UPLOAD_FAULTS.items()
        for code in codes
        if kind in ONLY_KEYED.get(name, UPLOADS)
    ],
)
def test_an_upload_whose_call_fails_is_an_error_and_leaves_nothing(
    storage, fail, monkeypatch, kind, name, code
):
    before, key, nth = backups_in(storage.directory), UPLOADS[kind], 0
    while True:
        nth += 1
        if kind == "first key":
            shutil.rmtree(storage.directory / ".keys")
        descriptors = open_files()
        hits = fail(name, code, nth)
        receipt = error = None
        try:
            receipt, _ = storage.add(UPLOAD, key)
        except (NoRoom, Unavailable) as raised:
            error = raised
        monkeypatch.undo()
        if not hits:
            break
        assert open_files() == descriptors
        after = backups_in(storage.directory)
        assert before.items() <= after.items()
        stored = sorted(after.keys() - before.keys())
        if error:
            assert isinstance(error, NoRoom if code in (ENOSPC, EDQUOT) else Unavailable)
            assert str(error).endswith(".")
            # With a key it stays once it has its name: a retry may have been answered.
            after_its_name = ("open", "fsync", "stat")
            assert len(stored) <= (name == "unlink" or bool(key and name in after_its_name))
        else:
            assert stored == [file_name(receipt.id)]
        if name == "unlink":
            storage.sweep()
        assert strays_in(storage.directory) == []
        again, is_new = storage.add(UPLOAD, key)
        assert is_new is not bool(key and stored)
        assert Storage(storage.directory).heads.ids()[-1] == again.id
        for new in backups_in(storage.directory).keys() - before.keys():
            storage.delete(new[7:-5])
    assert nth > 1, "there is no such call in an upload"


OTHERS = {
    "read": lambda storage, old: storage.open(old)[0].close(),
    "latest": lambda storage, old: storage.open_latest()[0].close(),
    "listing": lambda storage, old: storage.page(None, None),
    "retry": lambda storage, old: storage.find(OLD_KEY),
    "base": lambda storage, old: storage.open_base(old).close(),
    "deletion": lambda storage, old: storage.delete(old),
    "health": lambda storage, old: storage.check(),
}


@pytest.mark.parametrize("code", [EMFILE, EIO, EACCES, ESTALE])
@pytest.mark.parametrize("name", ["open", "stat", "fstat", "pread", "readlink", "listdir", "fsync"])
@pytest.mark.parametrize("operation", OTHERS)
def test_whatever_else_meets_a_fault_says_so_or_does_all_of_it(
    storage, fail, monkeypatch, operation, name, code
):
    before = backups_in(storage.directory)
    old = storage.heads.ids()[0]
    for nth in range(1, 30):
        fresh, error = Storage(storage.directory), None
        fresh.heads.ids()
        descriptors = open_files()
        hits = fail(name, code, nth)
        try:
            result = OTHERS[operation](fresh, old)
        except (NoRoom, Unavailable, UnusableBase) as raised:
            error = raised
        monkeypatch.undo()
        assert open_files() == descriptors
        assert strays_in(storage.directory) == []
        if operation == "deletion" and file_name(old) not in backups_in(storage.directory):
            assert storage.find(OLD_KEY) is None
            (storage.directory / file_name(old)).write_bytes(before[file_name(old)])
            keys = storage.directory / ".keys"
            (keys / OLD_KEY).unlink(missing_ok=True)
            (keys / OLD_KEY).symlink_to(f"../{file_name(old)}")
        assert backups_in(storage.directory) == before
        if operation == "listing" and not error and code in (EMFILE, ESTALE):
            assert len(result[0]) == 2, "a shorter list"
        if not hits:
            return
    pytest.fail("the call is made without end")


# --- what is left, and another directory in its place ------------------------------------------


def test_files_that_cannot_be_removed_go_with_the_next_sweep(storage, fail, monkeypatch):
    hits = fail("unlink", EIO, 1)
    storage.add(UPLOAD)
    assert hits
    assert len(strays_in(storage.directory)) == 1
    monkeypatch.undo()
    storage.sweep()
    assert strays_in(storage.directory) == []


def replace(path):
    """Put a directory in the place of another one, as a mount does; return where that is now."""
    aside = path.with_name("aside")
    path.rename(aside)
    path.mkdir()
    return aside


@pytest.mark.parametrize("operation", [*OTHERS, "upload"])
@pytest.mark.parametrize("kind", ["replaced", "gone", "a file"])
def test_a_lost_directory_is_a_503_until_it_is_back(storage, operation, kind):
    old, before = storage.heads.ids()[0], backups_in(storage.directory)
    aside = replace(storage.directory)
    if kind != "replaced":
        storage.directory.rmdir()
    if kind == "a file":
        storage.directory.touch()
    operate = OTHERS.get(operation, lambda storage, old: storage.add(UPLOAD, KEY))
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"storage directory|not the directory"):
            operate(storage, old)
    assert backups_in(aside) == before
    if kind == "replaced":
        assert os.listdir(storage.directory) == []
        storage.directory.rmdir()
    elif kind == "a file":
        storage.directory.unlink()
    aside.rename(storage.directory)
    operate(storage, old)


def replace_at_the_last_sync(storage, monkeypatch):
    sync, directory = os.fsync, os.stat(storage.directory)

    def fsync(descriptor):
        sync(descriptor)
        if os.path.samestat(os.fstat(descriptor), directory):
            monkeypatch.undo()
            replace(storage.directory)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("operation", ["upload", "retry", "deletion"])
def test_a_directory_replaced_before_the_answer_gets_a_503_and_no_backup(
    storage, monkeypatch, operation
):
    old, before = storage.heads.ids()[0], backups_in(storage.directory)
    operate = OTHERS.get(operation, lambda storage, old: storage.add(UPLOAD))
    replace_at_the_last_sync(storage, monkeypatch)
    with pytest.raises(Unavailable, match="not the directory"):
        operate(storage, old)
    aside = storage.directory.with_name("aside")
    left = backups_in(aside)
    assert left.items() == before.items() - (
        {(file_name(old), before[file_name(old)])} - left.items()
    )
    assert os.listdir(storage.directory) == []
    assert strays_in(aside) == []


def test_an_upload_with_a_key_stays_for_its_retry_when_its_directory_is_replaced(
    storage, monkeypatch
):
    """A retry may have been answered in between, by another thread or process."""
    storage.add(UPLOAD, "the-first-makes-dot-keys")
    replace_at_the_last_sync(storage, monkeypatch)
    with pytest.raises(Unavailable, match="not the directory"):
        storage.add(UPLOAD, KEY)
    assert os.listdir(storage.directory) == []
    storage.directory.rmdir()
    storage.directory.with_name("aside").rename(storage.directory)
    receipt, is_new = storage.add(UPLOAD, KEY)
    assert not is_new
    assert receipt.id in storage.heads.ids()


def test_a_directory_that_fails_under_its_descriptor_is_opened_anew(storage, fail, monkeypatch):
    directory = Directory(storage.directory)
    directory.check()
    opened, open_ = [], os.open
    hits = fail("stat", ESTALE, 2)
    monkeypatch.setattr(
        os, "open", lambda path, *rest, **o: opened.append(path) or open_(path, *rest, **o)
    )
    directory.check()
    assert hits
    assert opened == [storage.directory]
    assert set(backups_in(storage.directory)) < set(directory.names())


@pytest.mark.parametrize("operation", [*OTHERS, "upload"])
def test_a_directory_in_which_nothing_may_be_opened_is_no_empty_one(storage, operation):
    """Or a page would take the list of nothing for the truth."""
    old = storage.heads.ids()[0]
    stat, operate = os.stat, OTHERS.get(operation, lambda storage, old: storage.add(UPLOAD))

    def locked_up(path, *arguments, **options):
        if "dir_fd" in options:
            raise PermissionError(EACCES, os.strerror(EACCES), path)
        return stat(path, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "stat", locked_up)
        with pytest.raises(Unavailable, match="Permission denied"):
            operate(storage, old)
    operate(storage, old)


# --- many at once ---------------------------------------------------------------------------------


def test_listings_at_once_are_each_complete(storage):
    directory = Directory(storage.directory)
    for number in range(200):
        (storage.directory / f"file-{number}").touch()
    names = sorted(directory.names())
    with ThreadPoolExecutor(4) as pool:
        for listed in pool.map(lambda _: sorted(directory.names()), range(200)):
            assert listed == names
    for number in range(200):
        (storage.directory / f"file-{number}").unlink()


def test_a_sweep_spares_what_is_being_written_and_removes_what_was_left(tmp_path):
    (tmp_path / ".upload-0123456789abcdef.tmp").write_bytes(b"half a backup")
    (tmp_path / ".upload-0123456789abcde_.tmp").symlink_to("nowhere")
    (tmp_path / ".upload-notes").touch()
    os.mkfifo(tmp_path / ".upload-00000000.tmp")
    with Directory(tmp_path).temporary() as (descriptor, name):
        os.write(descriptor, b"half a backup")
        Directory(tmp_path).sweep()
        left = {".upload-notes", ".upload-00000000.tmp"}
        assert set(os.listdir(tmp_path)) == {name} | left
    assert set(os.listdir(tmp_path)) == left


def test_sweeps_all_the_time_disturb_no_upload(storage):
    """A sweep may take a file for abandoned in the moment between its creation and its lock."""
    stop = threading.Event()

    def sweep():
        while not stop.is_set():
            storage.sweep()

    with ThreadPoolExecutor(2) as pool:
        sweepers = [pool.submit(sweep) for _ in range(2)]
        try:
            ids = [storage.add(UPLOAD)[0].id for _ in range(100)]
        finally:
            stop.set()
        for sweeper in sweepers:
            sweeper.result(10)
    assert storage.heads.ids()[2:] == ids
    assert strays_in(storage.directory) == []


def test_who_waits_for_a_lock_that_is_removed_takes_the_new_one(tmp_path):
    """Or two who each have the lock of a file of their own would store one key twice."""
    path, directory = tmp_path / "lock", Directory(tmp_path)
    with open(path, "w") as file, ThreadPoolExecutor(1) as pool:
        fcntl.flock(file, fcntl.LOCK_EX)

        def write():
            with directory.lock("lock") as descriptor:
                os.write(descriptor, b"mine")

        waiting = pool.submit(write)
        time.sleep(0.05)
        assert not waiting.done()
        path.unlink()
        fcntl.flock(file, fcntl.LOCK_UN)
        waiting.result(10)
    assert path.read_text() == "mine"


# --- making it ------------------------------------------------------------------------------------


def test_directories_that_are_made_are_synced_into_those_above(tmp_path, monkeypatch):
    done, mkdir, sync = [], os.mkdir, os.fsync

    def synced(descriptor):
        sync(descriptor)
        done.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}")))

    def made(path, *arguments, **options):
        mkdir(path, *arguments, **options)
        done.append(("make", str(path)))

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "mkdir", made)
    directory = tmp_path / "parent" / "data"
    durable.make_directory(directory)
    assert done[-4:] == [
        ("make", str(directory.parent)),
        ("sync", str(tmp_path)),
        ("make", str(directory)),
        ("sync", str(directory.parent)),
    ]
    assert {path.stat().st_mode & 0o777 for path in (directory, directory.parent)} == {0o700}
    done.clear()
    durable.make_directory(directory)  # whoever made it may have been killed before the sync
    assert done == [("sync", str(directory.parent))]


def test_what_exists_keeps_its_mode(tmp_path):
    (tmp_path / "data").mkdir(mode=0o755)
    durable.make_directory(tmp_path / "data")
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o755
