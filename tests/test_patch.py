"""A change applied to its base: patch.py, and POST /api/backup?base=."""

import errno
import gzip
import json
import os
import secrets
import tracemalloc

import oracle
import pytest
from hypothesis import example, given, settings
from oracle import ID, TIME, stored
from strategies import changes
from support import ROOT, Client, assert_error, backups_in

from backup_server import patch
from backup_server.document import render
from backup_server.errors import InvalidBackup, UnusableBase
from backup_server.upload import check_upload

#: The data of the Express server's files.
EXPRESS = [
    path.read_bytes().partition(b'"data": ')[2][:-2]
    for path in sorted((ROOT / "tests/samples/express-data").iterdir())
]
ATOMS = b'[ {"slug":"a","n":1.0} ,\n {"slug":"b"},{"slug":"c","half":"\\ud83d"}]'
BASE = b'{"atoms":%s,"snapshots":[{"id":1}],"old":"x","later":[1.50]}' % ATOMS


def apply(base: bytes, change: bytes) -> bytes:
    """Apply a change to the document of a base; return the document that it comes to."""
    with oracle.as_file(base) as file:
        return stored(patch.apply(patch.read(change), file, ID, 10**9))


def data_of(document: bytes) -> bytes:
    return document.partition(b'\n"data":')[2].removesuffix(b"}\n")


def changed(change: bytes, base: bytes = BASE) -> bytes:
    """Return the text of the data that a change to an upload comes to."""
    return data_of(apply(stored(base), change))


def in_another_form(data: bytes) -> bytes:
    """Write a document as the Express server might have."""
    return b'{\n  "id": "i",\n  "timestamp": "t",\n  "data": %s\n}' % data


def test_a_large_member_of_the_base_stays_whole_and_expected_counts_are_no_member():
    large = b'"x":"%s"' % (b"x" * 300_000)
    assert large in changed(b'{"counts":{"atoms":0},"y":1}', b"{%s}" % large)
    assert b'"counts"' not in changed(b'{"counts":{"atoms":0},"y":1}', b"{}")


@given(changes())
@example((BASE, b'{"o\\u006cd": [] ,"atoms":{"put":[{"slug":"z"},{"slug":"b","n":2}]}}'))
@example((b'{"atoms":1,"atoms":[],"x":{"atoms":[9]}}', b'{"atoms":{"put":[{"slug":"z"}]}}'))
@example((EXPRESS[0], b'{"atoms":{"put":[{"slug":"z"}]}}'))
@example((EXPRESS[-1], b'{"atoms":{"put":[{"slug":"z"}]},"clientTimestamp":"t","more":2}'))
@settings(max_examples=50)
def test_a_change_gives_to_the_byte_what_a_whole_upload_of_the_changed_state_does(texts):
    base, change = texts
    of_another_form = in_another_form(base), oracle.with_categories(oracle.members(base)), {}
    for document, data, origin in ((stored(base), *oracle.upload(base)), of_another_form):
        try:
            expected = oracle.apply(change, data, origin)
        except ValueError:
            with pytest.raises((InvalidBackup, UnusableBase)):
                apply(document, change)
        else:
            oracle.assert_stored(apply(document, change), *expected)


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        (b"0", b"-0.0", True),
        (b"0.1", b"0.10000000000000000001", True),
        (b"9007199254740991", b"9007199254740991.0", True),
        (b"9007199254740992", b"9007199254740993", False),
        (b"1%s" % (b"0" * 5000), b"1%s" % (b"0" * 5000), True),
        (b'"\\ud83d"', b'"\\u083d"', False),
    ],
)
def test_keys_are_compared_as_python_compares_them(one, other, are_one):
    new = b'{"id":%s,"new":1}' % other
    records = [new] if are_one else [b'{"id":%s}' % one, new]
    data = changed(b'{"snapshots":{"put":[%s]}}' % new, b'{"snapshots":[{"id":%s}]}' % one)
    assert b'"snapshots":[%s]' % b",".join(records) in data


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (b"[]", "must be a JSON object"),
        (b'{"atoms":[{"slug":"a"}]}', "atoms must be an object with put, delete or both"),
        (b'{"atoms":{}}', "atoms must be"),
        (b'{"atoms":{"puts":[]}}', "atoms must be"),
        (b'{"atoms":{"put":{}}}', "atoms.put must be an array"),
        (b'{"atoms":{"put":[1]}}', "atoms.put has no slug"),
        (b'{"atoms":{"put":[{"slug":"\\ud83d"},{"id":1}]}}', "atoms.put has no slug"),
        (b'{"snapshots":{"put":[{"id":1},{"id":1.0}]}}', "snapshots.put have one key: 1"),
        (b'{"snapshots":{"put":[{"id":1}],"delete":[1e0]}}', "both puts and deletes 1"),
        (b'{"atoms":{"delete":[null]}}', "atoms.delete must hold keys"),
        (b'{"counts":[]}', "counts"),
        (b'{"counts":{"atoms":2.5}}', "counts"),
        (b'{"counts":{"atoms":-1}}', "counts"),
        (b'{"counts":{"others":1}}', "counts"),
        (b'{"deviceId":"a b"}', "deviceId must be"),
    ],
)
def test_what_is_wrong_with_the_body_itself_is_a_400(change, words):
    with pytest.raises(InvalidBackup, match=words):
        patch.read(change)


@pytest.mark.parametrize(
    ("atoms", "change", "words"),
    [
        (ATOMS, b'{"atoms":{"delete":["z"]}}', 'atoms has no record to delete with key "z"'),
        (ATOMS, b'{"snapshots":{"delete":["1"]}}', 'no record to delete with key "1"'),
        (ATOMS, b'{"atoms":{"put":[{"slug":"z"}]},"counts":{"atoms":3}}', "4 items, not 3"),
        (ATOMS, b'{"counts":{"snapshots":2}}', "snapshots would have 1 items, not 2"),
        (b'[{"slug":"a"},{"slug":"\\u0061"}]', b'{"atoms":{"put":[]}}', 'have one key: "a"'),
        (b'[{"slug":0},{"slug":-0.0}]', b'{"atoms":{"put":[]}}', "have one key: 0"),
        (b'[{"slug":"a"},{"id":"b"}]', b'{"atoms":{"put":[]}}', "A record in atoms has no slug"),
        (b'[{"slug":"a","slug":false}]', b'{"atoms":{"put":[]}}', "A record in atoms has no slug"),
    ],
)
def test_a_change_that_does_not_fit_its_base_is_a_409(atoms, change, words):
    base = b'{"atoms":%s,"snapshots":[{"id":1}]}' % atoms
    with pytest.raises(UnusableBase, match=f"{words}.*; send the whole backup.$"):
        changed(change, base)
    assert b'{"atoms":%s,' % atoms in changed(b'{"compositions":{"put":[{"id":1}]}}', base)


# Version 1.0.0 stored categories in the order in which they were sent.
IN_ANOTHER_ORDER = check_upload(BASE)._replace(
    categories=dict(reversed(check_upload(BASE).categories.items()))
)


@pytest.mark.parametrize(
    "base",
    [
        stored(BASE).replace(b'{"id":1}', b'{"id":2}'),
        stored(BASE)[:-10],
        b"",
        json.dumps(json.loads(stored(BASE)), indent=2).encode(),
        stored(IN_ANOTHER_ORDER),
        *map(in_another_form, [b'{"atoms":{}}', b'{"atoms":null}', b"[]", b'{"atoms":[1,]}']),
    ],
    ids=lambda _: "",
)
def test_a_base_that_is_damaged_or_no_upload_itself_is_a_409(base):
    for change in (b'{"atoms":{"put":[{"slug":"z"}]},"x":1}', b"{}"):
        with pytest.raises(UnusableBase, match=r"damaged|another order"):
            apply(base, change)


def test_a_base_that_loses_its_end_while_it_is_copied_is_a_409():
    with oracle.as_file(stored(BASE)) as file:
        upload = patch.apply(patch.read(b"{}"), file, ID, 10**9)
        file.truncate(400)
        with pytest.raises(UnusableBase, match="lost its end"):
            stored(upload)


def test_records_of_a_category_that_is_changed_are_limited(monkeypatch):
    monkeypatch.setattr(patch, "MOST_RECORDS", 3)
    base = b'{"snapshots":[{"id":1},{"id":2},{"id":3}],"voiceNotes":[{},{},{},{}]}'
    changed(b'{"snapshots":{"put":[{"id":4},{"id":5},{"id":6}],"delete":[1,2,3]}}', base)
    with pytest.raises(UnusableBase, match="More than 3 records in voiceNotes"):
        changed(b'{"voiceNotes":{"put":[{"id":1}]}}', base)
    with pytest.raises(InvalidBackup, match="delete has more than 3 items"):
        changed(b'{"snapshots":{"delete":[1,2,3,4]}}', base)


def test_what_is_untouched_is_never_held_in_memory():
    large = b'"%s"' % (b"x" * 20_000_000)
    base = stored(b'{"atoms":[%s],"snapshots":[{"id":1}],"x":%s}' % (large, large))
    with oracle.as_file(base) as file:
        tracemalloc.start()
        upload = patch.apply(patch.read(b'{"snapshots":{"put":[{"id":2}]}}'), file, ID, 10**9)
        size = sum(len(piece) for piece in render(upload, ID, TIME, None)[2])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert size > 40_000_000
    assert peak < 4_000_000


def test_what_is_stored_is_a_backup_like_any_other_and_does_not_need_its_base(client: Client):
    base, key = client.upload(BASE)["id"], secrets.token_hex(16)
    path = f"/api/backup?base={base}&key={key}"
    change = b'{"atoms":{"put":[{"slug":"d"}]},"counts":{"atoms":4,"snapshots":1.0}}'
    answer = client.post(path, gzip.compress(change), Content_Type="application/gzip")
    document = client.get(answer.headers["Location"])
    assert answer.status == 201
    assert (document.json["base"], document.json["key"]) == (base, key)
    assert answer.json["counts"] == document.json["counts"]
    assert answer.json["size"] == len(document.body)
    assert client.listed() == [answer.json["id"], base]
    assert client.request("DELETE", f"/api/backup/{base}").status == 200
    second = client.upload(b'{"atoms":{"delete":["a"]}}', f"?base={answer.json['id']}")
    assert second["counts"]["atoms"] == 3
    # A known key is answered though the base is gone.
    again = client.post(path, change)
    assert (again.status, again.body) == (200, answer.body)


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (b'{"atoms":{"put":[{}]}}', 400, "atoms.put has no slug"),
        (b'{"atoms":{"delete":["z"]}}', 409, "send the whole backup"),
        (b'{"x":"%s"}' % (b"x" * 900), 413, "changed backup is over 1000 bytes"),
    ],
)
def test_of_what_is_refused_nothing_is_stored(make_client, change, status, words):
    client = make_client(MAX_BODY_BYTES="1000")
    base = client.upload(BASE)["id"]
    before = backups_in(client.data_dir)
    assert_error(client.post(f"/api/backup?base={base}", change), status, words)
    assert backups_in(client.data_dir) == before


@pytest.mark.parametrize("base", ["2020-01-01T00-00-00", "", "..%2Fx", "2020-01-01T00-00-00%0A"])
def test_a_base_that_is_not_there_is_a_409_whatever_its_id_looks_like(client, base):
    answer = client.post(f"/api/backup?base={base}", b'{"atoms":{"put":[{"slug":"a"}]}}')
    assert_error(answer, 409, "send the whole backup")
    assert_error(client.post(f"/api/backup?base={base}", b'{"atoms":1}'), 400, "atoms")


def test_whichever_read_of_a_base_fails_is_a_409_that_leaves_nothing(client, monkeypatch):
    base = client.upload(b'{"atoms":["%s"]}' % (b"x" * 1_000_000))["id"]
    path, real, reads = client.data_dir / f"backup-{base}.json", os.pread, []
    inode, before = path.stat().st_ino, backups_in(client.data_dir)

    def pread(descriptor, size, offset):
        if os.fstat(descriptor).st_ino == inode:
            reads.append(offset)
            if len(reads) == failing:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    failing, url = 1, f"/api/backup?base={base}"
    while (answer := client.post(url, b'{"snapshots":{"put":[{"id":1}]}}')).status != 201:
        assert_error(answer, 409, "cannot be read: Input/output error", "send the whole backup")
        assert backups_in(client.data_dir) == before
        failing += 1
        reads.clear()
    assert failing > 5
