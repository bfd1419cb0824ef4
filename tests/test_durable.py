"""The directory under the backups: each of its calls fails once, and it may be lost or replaced.

A call that fails raises a real OSError. Every fault asserts the error's kind, the old bytes, that
no stray and no open file stays, and that the same upload works afterwards.
"""

import fcntl
import os
import shutil
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
            assert not stored or (key and name in ("open", "fsync", "stat"))
        else:
            assert stored == [file_name(receipt.id)]
        assert len(strays_in(storage.directory)) == (name == "unlink")
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


# --- another directory in its place ---------------------------------------------------------------


def upload(storage, old):
    return storage.add(UPLOAD)


def keyed_upload(storage, old):
    return storage.add(UPLOAD, KEY)


def replace(path):
    """Put a directory in the place of another one, as a mount does; return where that is now."""
    aside = path.with_name("aside")
    path.rename(aside)
    path.mkdir()
    return aside


@pytest.mark.parametrize("operation", [*OTHERS, "upload"])
@pytest.mark.parametrize("kind", ["replaced", "gone", "a file", "locked up"])
def test_a_lost_directory_is_a_503_until_it_is_back(storage, monkeypatch, operation, kind):
    """And no empty one: a page would take the list of nothing for the truth."""
    path, before = storage.directory, backups_in(storage.directory)
    operate, old = {**OTHERS, "upload": upload}[operation], storage.heads.ids()[0]
    if kind == "locked up":
        aside, stat = None, os.stat
        monkeypatch.setattr(os, "stat", lambda path, **o: stat("gone/.") if o else stat(path))
    else:
        aside = replace(path)
    if kind in ("gone", "a file"):
        path.rmdir()
    if kind == "a file":
        path.touch()
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"storage directory|not the directory"):
            operate(storage, old)
    monkeypatch.undo()
    assert backups_in(aside or path) == before
    if kind == "replaced":
        path.rmdir()  # it is empty
    elif kind == "a file":
        path.unlink()
    if aside:
        aside.rename(path)
    operate(storage, old)


@pytest.mark.parametrize(
    ("operation", "stays"),
    [(upload, False), (keyed_upload, True), (OTHERS["retry"], False), (OTHERS["deletion"], False)],
)
def test_a_directory_replaced_before_the_answer_gets_a_503_and_no_backup(
    storage, monkeypatch, operation, stays
):
    """With a key it stays where it is: a retry may have been answered in between."""
    old, before = storage.heads.ids()[0], backups_in(storage.directory)
    sync, directory = os.fsync, os.stat(storage.directory)

    def fsync(descriptor):
        sync(descriptor)
        if os.path.samestat(os.fstat(descriptor), directory):
            monkeypatch.undo()
            replace(storage.directory)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(Unavailable, match="not the directory"):
        operation(storage, old)
    storage.directory.rmdir()  # it is empty
    storage.directory.with_name("aside").rename(storage.directory)
    left = backups_in(storage.directory)
    gone = {file_name(old)} if operation is OTHERS["deletion"] else set()
    assert before.keys() - left.keys() == gone
    assert len(left.keys() - before.keys()) == stays
    assert strays_in(storage.directory) == []
    if stays:
        receipt, is_new = operation(storage, old)
        assert (file_name(receipt.id) in left, is_new) == (True, False)


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


# --- many at once ---------------------------------------------------------------------------------


def test_listings_at_once_are_each_complete(tmp_path):
    directory = Directory(tmp_path)
    for number in range(200):
        (tmp_path / f"file-{number}").touch()
    names = sorted(directory.names())
    with ThreadPoolExecutor(4) as pool:
        for listed in pool.map(lambda _: sorted(directory.names()), range(200)):
            assert listed == names


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


# --- making it ------------------------------------------------------------------------------------


def test_a_directory_is_synced_into_the_one_above_be_it_new_or_not(tmp_path, monkeypatch):
    """Whoever made it may have been killed before this sync."""
    synced, directory = [], tmp_path / "parent" / "data"
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    durable.make_directory(directory)
    assert synced[-2:] == [str(tmp_path), str(directory.parent)]
    durable.make_directory(directory)
    assert synced[3:] == [str(directory.parent)]
