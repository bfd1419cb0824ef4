"""The backups of one directory: ids, keys, readers, and many threads and processes at once."""

import itertools
import json
import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support import backups_in, strays_in

from backup_server.ids import file_name
from backup_server.storage import Storage
from backup_server.upload import check_upload

KEY, OTHER_KEY = "key-of-this-upload", "key-of-another-one"
#: Processes of a fresh interpreter: forks of a process with threads may hang.
PROCESSES = multiprocessing.get_context("spawn")


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage(tmp_path / "parent" / "data")
    storage.prepare()
    yield storage
    assert strays_in(storage.path) == []


def add(storage: Storage, key: str | None = None, body: bytes = b"{}") -> str:
    return storage.add(check_upload(body), key)[0].id


def ahead(hours: int) -> str:
    """Return an id of a clock that goes ahead."""
    return (datetime.now(UTC) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H-%M-%S")


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    "record",
    [None, "2020-01-01T00-00-00", "", "\0" * 32, "nonsense", "\xff" * 64, "x" * 5_000_000],
)
def test_ids_follow_the_newest_file_whatever_became_of_their_record(storage, record, restarted):
    """A power cut may take the record back to before the files, and the clock with it."""
    path, last_id = storage.path / file_name(add(storage)), storage.path / ".last-id"
    path.rename(path.with_name(file_name(ahead(5))))
    last_id.unlink() if record is None else last_id.write_text(record, "latin-1")
    if restarted or record == "2020-01-01T00-00-00":
        storage.prepare()
    first, second = add(storage), add(storage)
    assert ahead(4) < first < second
    assert storage.heads.ids()[-1] == second


@pytest.mark.parametrize("key", [None, KEY])
def test_a_name_that_is_taken_is_never_overwritten(storage, key):
    """As when files were copied in that this directory's servers know nothing of."""
    last = ahead(5)
    (storage.path / ".last-id").write_text(f"{last}\n")
    for n in range(1, 500):
        (storage.path / file_name(f"{last}-{n:04}")).write_bytes(b"someone else's")
    before = backups_in(storage.path)
    backup_id = add(storage, key, b'{"atoms":["mine"]}')
    assert backup_id == f"{last}-0500"
    after = backups_in(storage.path)
    text = after.pop(file_name(backup_id))
    assert (after, json.loads(text)["data"]["atoms"]) == (before, ["mine"])
    assert key is None or storage.find(key).id == backup_id


@pytest.mark.parametrize(
    "target", ["another's", "../" + file_name("2026-02-01T10-54-27"), "../../secret", "nothing"]
)
def test_a_key_that_leads_to_no_backup_is_free(storage, target):
    """As when its owner died before its backup got its name."""
    (storage.path.parent / "secret").write_text("{}")
    other = add(storage, OTHER_KEY)
    target = f"../{file_name(other)}" if target == "another's" else target
    (storage.path / ".keys" / KEY).symlink_to(target)
    assert storage.find(KEY) is None
    assert other != add(storage, KEY) == add(storage, KEY) == storage.find(KEY).id


@pytest.mark.parametrize(
    ("place", "make"),
    [
        (".keys", Path.touch),
        (f".keys/{KEY}", Path.touch),
        (".last-id", Path.mkdir),
        (".last-id", os.mkfifo),
        (".last-id", lambda path: path.symlink_to(path.with_name("mine"))),
    ],
)
def test_what_is_in_the_way_is_named_and_left_alone(storage, place, make):
    way = storage.path / place
    way.parent.mkdir(exist_ok=True)
    make(way)
    before = way.lstat()
    with pytest.raises(OSError, match=place):
        add(storage, KEY)
    assert (way.lstat(), backups_in(storage.path)) == (before, {})


KEYS = [None, "key-of-upload-0001", None, "key-of-upload-0002"] * 8


def store(directory: Path, number: int) -> list[tuple]:
    """Store backups; return of each its id, what is in it, and whether it is new."""
    storage, stored = Storage(directory), []
    storage.prepare()
    for n, key in enumerate(KEYS):
        upload = check_upload(b'{"atoms":["%d-%d"]}' % (number, n))
        head, is_new = storage.add(upload, key and f"{key}-{n}")
        stored.append((head.id, f"{number}-{n}", is_new))
    return stored


def test_ids_are_unique_and_in_order_and_a_key_is_stored_once_across_threads_and_processes(storage):
    with PROCESSES.Pool(2) as pool, ThreadPoolExecutor(3) as threads:
        others = pool.starmap_async(store, [(storage.path, number) for number in range(2)])
        attempts = [*threads.map(store, [storage.path] * 3, range(2, 5)), *others.get(60)]
    for key, *same in zip(KEYS, *attempts, strict=True):
        assert sum(is_new for *_, is_new in same) == (1 if key else 5)
        assert len({backup_id for backup_id, *_ in same}) == (1 if key else 5)
    for stored in attempts:
        ids = [backup_id for backup_id, _, is_new in stored if is_new]
        assert ids == sorted(ids)
    uploads = [upload for upload in itertools.chain(*attempts) if upload[-1]]
    atoms = {file_name(backup_id): [atom] for backup_id, atom, _ in uploads}
    files = backups_in(storage.path)
    assert {name: json.loads(text)["data"]["atoms"] for name, text in files.items()} == atoms
    assert len(uploads) == len(files)


def test_a_reader_that_has_a_backup_open_gets_all_of_it_though_it_is_deleted(storage):
    file, head = storage.open(add(storage))
    storage.delete(head.id)
    with file:
        assert len(file.read()) == head.size


def test_files_and_directories_are_the_servers_users_alone(storage):
    add(storage, KEY)
    paths = [storage.path.parent, storage.path, *storage.path.iterdir()]
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_file()} == {0o600}
