"""The directory under the backups: each of its calls fails once, and it may be lost or replaced.

A call that fails raises a real OSError. Every fault asserts the error's kind, the old bytes, that
no stray and no open file stays, and that the same upload works afterwards.
"""

import fcntl
import gc
import itertools
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from errno import EACCES, EDQUOT, EIO, EMFILE, ENOENT, ENOLCK, ENOSPC, EROFS, ESTALE

import pytest
from support import backups_in, strays_in

from backup_server import durable, errors
from backup_server.durable import Directory
from backup_server.ids import file_name
from backup_server.storage import Storage
from backup_server.upload import check_upload

UPLOAD = check_upload(b'{"atoms":["new"]}')
KEY, OLD_KEY = "key-of-this-upload", "key-of-the-old-one"


@pytest.fixture(autouse=True)
def calm():
    """Let no disk be waited for, and no collection close files while open ones are counted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        gc.disable()
        yield
        gc.enable()


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """A directory with two backups, of which the first has a key."""
    storage = Storage(tmp_path_factory.mktemp("seeds") / "data")
    storage.prepare()
    storage.add(check_upload(b'{"atoms":["old"]}'), OLD_KEY)
    storage.add(check_upload(b'{"atoms":["older"]}'))
    return storage.path


@pytest.fixture
def storage(seeds, tmp_path):
    return Storage(shutil.copytree(seeds, tmp_path / "data", symlinks=True))


@contextmanager
def failing(name: str, code: int, nth: int):
    """Let the n-th call of a function of ``os`` or ``fcntl`` fail; yield a list to be filled."""
    module = fcntl if name == "flock" else os
    call, hits, numbers = getattr(module, name), [], itertools.count(1)

    def wrapper(*arguments, **options):
        if next(numbers) == nth:
            hits.append(arguments)
            path = arguments[0] if isinstance(arguments[0], str) else None
            raise OSError(code, os.strerror(code), path)
        return call(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, wrapper)
        yield hits


# --- the fault table ------------------------------------------------------------------------------

OPERATIONS = {
    "upload": lambda storage, old: storage.add(UPLOAD),
    "keyed upload": lambda storage, old: storage.add(UPLOAD, KEY),
    "retry": lambda storage, old: storage.find(OLD_KEY),
    "read": lambda storage, old: storage.open(old)[0].close(),
    "latest": lambda storage, old: storage.open_latest()[0].close(),
    "listing": lambda storage, old: storage.page(None, None),
    "base": lambda storage, old: storage.open_base(old).close(),
    "deletion": lambda storage, old: storage.delete(old),
    "health": lambda storage, old: storage.check(),
}
FAULTS = {
    "open": (EMFILE, ENOSPC, EROFS, EACCES, ENOENT, EIO, ESTALE),
    "stat": (EIO, ENOENT, ESTALE, EACCES),
    "fstat": (EIO, ESTALE),
    "flock": (ENOLCK,),
    "pread": (EIO, ESTALE),
    "pwrite": (ENOSPC, EDQUOT, EIO),
    "fsync": (EIO, ENOSPC, EDQUOT),
    "link": (ENOSPC, EIO, EACCES),
    "unlink": (EIO, EROFS),
    "readlink": (EIO,),
    "symlink": (EDQUOT, EIO, EACCES),
    "mkdir": (ENOSPC, EROFS),
    "listdir": (EMFILE, EIO, EACCES),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("name", "code"), [(name, code) for name, codes in FAULTS.items() for code in codes]
)
def test_a_call_that_fails_is_an_error_and_leaves_nothing_behind(
    seeds, tmp_path, operation, name, code
):
    operate, changes = OPERATIONS[operation], "upload" in operation
    for nth in itertools.count(1):
        storage = Storage(shutil.copytree(seeds, tmp_path / str(nth), symlinks=True))
        if operation == "keyed upload":
            shutil.rmtree(storage.path / ".keys")
        before, old, error = backups_in(storage.path), storage.heads.ids()[0], None
        descriptors = len(os.listdir("/proc/self/fd"))
        with failing(name, code, nth) as hits:
            try:
                result = operate(storage, old)
            except (errors.BackupError, OSError) as raised:
                error = errors.as_backup_error(raised)
        if not hits:
            break
        assert len(os.listdir("/proc/self/fd")) == descriptors
        is_stray = name == "unlink" and ".upload-" in str(hits[0][0])
        assert len(strays_in(storage.path)) == is_stray
        storage.directory.sweep()
        assert strays_in(storage.path) == []
        after = backups_in(storage.path)
        new, gone = after.keys() - before.keys(), before.items() - after.items()
        assert dict(gone).keys() <= ({file_name(old)} if operation == "deletion" else set())
        if error:
            full, unknown = code in (ENOSPC, EDQUOT), code == ENOENT and not changes
            assert error.status == 507 if full else error.status in (503, *(404, 409) * unknown)
            assert str(error).endswith(".")
            # With a key it stays once it has its name: a retry may have been answered.
            assert len(new) <= (operation == "keyed upload" and name in ("open", "fsync", "stat"))
        elif changes:
            assert new == {file_name(result[0].id)}
        elif operation == "listing" and code == EMFILE:
            assert len(result[0]) == 2, "a shorter list"
        if operation != "deletion":
            again = operate(storage, old)
        if changes:
            receipt, is_new = again
            assert is_new is not bool(operation == "keyed upload" and new)
            assert Storage(storage.path).heads.ids()[-1] == receipt.id
    assert nth > 1 or operation != "keyed upload" or name == "listdir", "there is no such call"


def test_a_listing_leaves_out_what_another_host_deletes_but_not_all_of_a_stale_directory(
    storage, monkeypatch
):
    stat = os.stat
    gone = {file_name(storage.heads.ids()[0])}

    def stale(path, *arguments, **options):
        if path in gone:
            raise OSError(ESTALE, os.strerror(ESTALE), path)
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", stale)
    assert len(storage.page(None, None)[0]) == 1
    gone.add(".")
    with pytest.raises(OSError, match="Stale"):
        storage.heads.entry(storage.heads.ids()[0])


# --- another directory in its place ---------------------------------------------------------------


@contextmanager
def replaced(path):
    """Put another directory in a directory's place, as a mount does; it is to stay empty."""
    aside = path.rename(path.with_name("aside"))
    path.mkdir()
    yield
    path.rmdir()
    aside.rename(path)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_lost_directory_is_a_503_until_it_is_back(storage, operation):
    path, before, old = storage.path, backups_in(storage.path), storage.heads.ids()[0]
    storage.check()  # good for a second, but not for another directory
    with replaced(path):
        for lose in (path.exists, path.rmdir, path.mkdir):
            lose()
            with pytest.raises((errors.Unavailable, FileNotFoundError)):
                OPERATIONS[operation](storage, old)
    assert backups_in(path) == before
    OPERATIONS[operation](storage, old)


@pytest.mark.parametrize("operation", ["upload", "keyed upload", "retry", "deletion"])
def test_a_directory_replaced_before_the_answer_gets_a_503_and_no_backup(
    storage, monkeypatch, operation
):
    """With a key it stays where it is: a retry may have been answered in between."""
    old, before = storage.heads.ids()[0], backups_in(storage.path)
    directory, stack = os.stat(storage.path), ExitStack()

    def fsync(descriptor):
        if os.path.samestat(os.fstat(descriptor), directory):
            monkeypatch.undo()
            stack.enter_context(replaced(storage.path))

    monkeypatch.setattr(os, "fsync", fsync)
    with stack, pytest.raises(errors.Unavailable, match="not the directory"):
        OPERATIONS[operation](storage, old)
    left = backups_in(storage.path)
    assert before.keys() - left.keys() == ({file_name(old)} if operation == "deletion" else set())
    assert len(left.keys() - before.keys()) == (operation == "keyed upload")
    assert strays_in(storage.path) == []


def test_a_directory_that_fails_under_its_descriptor_is_opened_anew(storage):
    directory = Directory(storage.path)
    with open(os.devnull) as stale:
        os.dup2(stale.fileno(), directory.descriptor)
    directory.check()
    assert set(backups_in(storage.path)) < set(directory.names())
    assert not os.get_inheritable(directory.descriptor)


# --- listing, sweeping and making it --------------------------------------------------------------


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
    left = {".upload-notes", ".upload-00000000.tmp"}
    with Directory(tmp_path).temporary() as (_, name):
        Directory(tmp_path).sweep()
        assert set(os.listdir(tmp_path)) == {name} | left
    assert set(os.listdir(tmp_path)) == left


@pytest.mark.parametrize("operation", ["upload", "keyed upload", "health"])
def test_a_sweep_before_a_lock_is_held_fails_nothing(storage, monkeypatch, operation):
    """A worker that starts sweeps while the others write."""
    flock, sweeps = fcntl.flock, itertools.count()

    def sweep_first(*arguments):
        if next(sweeps) < 2:  # a sweep locks, too
            Directory(storage.path).sweep()
        return flock(*arguments)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    OPERATIONS[operation](storage, "")
    assert next(sweeps) > 2
    assert strays_in(storage.path) == []


def test_a_directory_is_synced_into_the_one_above_be_it_new_or_not(tmp_path, monkeypatch):
    """Whoever made it may have been killed before this sync."""
    synced, directory = [], tmp_path / "parent" / "data"
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    durable.make_directory(directory)
    assert synced[-2:] == [str(tmp_path), str(directory.parent)]
    durable.make_directory(directory)
    assert synced[3:] == [str(directory.parent)]
