"""A change applied to its base: patch.py, and POST /api/backup?base=."""

import errno
import gzip
import json
import os
import re
import secrets
import time
import tracemalloc

import oracle
import pytest
from hypothesis import given, settings
from strategies import changes
from support import CATEGORIES, ROOT, Client, assert_error, backups_in, strays_in, written

from backup_server import patch
from backup_server.document import render
from backup_server.errors import BodyTooLarge, InvalidBackup, UnusableBase
from backup_server.upload import Upload, check_upload

EXPRESS = ROOT / "tests" / "samples" / "express-data"
ID, NEW_ID = "2026-02-01T10-54-27", "2026-02-01T10-54-28"
TIME = "2026-02-01T10:54:27.123Z"
ATOMS = b'[ {"slug":"a","n":1.0} ,\n {"slug":"b"},{"slug":"c","half":"\\ud83d"}]'
A, C = b'{"slug":"a","n":1.0}', b'{"slug":"c","half":"\\ud83d"}'
OTHERS = b'"old":"x","later":[1.50]'
BASE = b'{"atoms":%s,"snapshots":[{"id":1}],%s,"clientTimestamp":"t"}' % (ATOMS, OTHERS)


def stored(upload: Upload | bytes) -> bytes:
    if not isinstance(upload, Upload):
        upload = check_upload(upload)
    return written(render(upload, NEW_ID, TIME, None))


def apply(base: bytes, change: bytes, limit: int = 10**9) -> bytes:
    """Apply a change to the document of a base; return the document that it comes to."""
    with oracle.as_file(base) as file:
        return stored(patch.apply(patch.read(change), file, ID, limit))


def summed(document: bytes) -> bytes:
    """Give an edited document the SHA-256 that it has now."""
    before, name, after = document.partition(b'"sha256":"')
    return written((None, before + name, [after[64:]]))


def data_of(document: bytes) -> bytes:
    return document.partition(b'\n"data":')[2].removesuffix(b"}\n")


def changed(change: bytes, base: bytes = BASE) -> bytes:
    """Return the text of the data that a change to an upload comes to."""
    return data_of(apply(stored(base), change))


def in_another_form(data: str | bytes, **members: str) -> bytes:
    """Write a document as the Express server might have."""
    data = data if isinstance(data, str) else data.decode()
    head = json.dumps({"id": ID, "timestamp": "t", "version": 1, **members}, indent=2)
    return f'{head[:-2]},\n  "data": {data}\n}}'.encode()


@given(changes())
@settings(max_examples=50)
def test_a_change_gives_to_the_byte_what_a_whole_upload_of_the_changed_state_does(texts):
    base, change = (text.encode() for text in texts)
    data, origin = oracle.upload(base)
    expected = oracle.apply(change, data, origin)
    for document in (stored(base), in_another_form(data_of(stored(base)))):
        if expected is None:
            with pytest.raises((InvalidBackup, UnusableBase)):
                apply(document, change)
        else:
            oracle.assert_stored(apply(document, change), *expected)
            expected = oracle.apply(change, data, {})  # the second base has no device


def test_untouched_records_and_members_keep_their_bytes_and_order():
    change = b'{"atoms":{"put":[{"slug":"z"},{"slug":"b","n":2}]},"o\\u006cd": "new" ,"more":1}'
    new = b",".join([A, b'{"slug":"b","n":2}', C, b'{"slug":"z"}'])
    end = b'"voiceNotes":[],"configOverrides":[],"o\\u006cd": "new","later":[1.50],"more":1}'
    beginning = b'{"atoms":[%s],"compositions":[],"snapshots":[{"id":1}],' % new
    assert changed(change) == beginning + end
    assert b'{"atoms":%s,' % ATOMS in changed(b'{"snapshots":{"delete":[1]}}')


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        *[(b"1", number, True) for number in (b"1.0", b"10E-1", b"1.000e+0")],
        (b"1", b'"1"', False),
        (b"0", b"-0.0", True),
        (b"0.1", b"0.10000000000000000001", True),
        (b"9007199254740991", b"9007199254740991.0", True),
        (b"9007199254740992", b"9007199254740993", False),
        (b"1e400", b"1e401", False),
        (b"1%s" % (b"0" * 5000), b"1%s" % (b"0" * 5000), True),
        (b"1%s" % (b"0" * 5000), b"1%s" % (b"0" * 5001), False),
        (b'"a\\""', b'"\\u0061\\u0022"', True),
        (b'"\\ud83d"', b'"\\uD83D"', True),
        (b'"\\ud83d"', b'"\\u083d"', False),
    ],
)
def test_keys_are_compared_as_python_compares_them(one, other, are_one):
    new = b'{"id":%s,"new":1}' % other
    records = [new] if are_one else [b'{"id":%s}' % one, new]
    data = changed(b'{"snapshots":{"put":[%s]}}' % new, b'{"snapshots":[{"id":%s}]}' % one)
    assert b'"snapshots":[%s]' % b",".join(records) in data


@pytest.mark.parametrize(
    ("name", "key"), [*zip(CATEGORIES, ("slug", "id", "id", "id", "atomSlug"), strict=True)]
)
def test_every_category_has_a_key_of_its_own(name, key):
    record = json.dumps({key: "one", "id" if key != "id" else "slug": "same"})
    change = f'{{"{name}":{{"put":[{{"{key}":"one","new":1}}]}}}}'.encode()
    data = changed(change, f'{{"{name}":[{record}]}}'.encode())
    assert json.loads(data)[name] == [{key: "one", "new": 1}]


def test_a_device_in_the_data_of_an_old_file_stays_there_and_is_no_head_s():
    old = stored(b'{"vedice":{"name": "Old"},"atoms":[]}').replace(b'"vedice"', b'"device"')
    for change in (b"{}", b'{"device":"New"}', b'{"x":1}'):
        document = apply(summed(old), change)
        assert b'"configOverrides":[],"device":{"name": "Old"}' in data_of(document)
        assert json.loads(document).get("device") == json.loads(change).get("device")


@pytest.mark.parametrize(
    "old",
    [
        "{}",
        '{ "snapshots": [ {"id": 1} ], "atoms":[1], "atoms": [ {"slug": "a"} ], "x": 2 }',
        '{"more": 0, "mor\\u0065": [1, 2], "clientTimestamp": "inside", "device": 5}',
        *(path.read_text().partition('"data": ')[2][:-2] for path in sorted(EXPRESS.iterdir())),
    ],
)
def test_the_data_of_a_file_without_a_head_may_be_written_in_any_way(old):
    change = b'{"atoms":{"put":[{"slug":"new"}]},"more":"new","clientTimestamp":"u"}'
    data = {name: [] for name in CATEGORIES} | json.loads(old)
    data |= {"atoms": [*data["atoms"], {"slug": "new"}], "more": "new"}
    assert json.loads(data_of(apply(in_another_form(old, deviceId="d"), change))) == data


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (b"[]", "must be a JSON object"),
        (b'{"atoms":[{"slug":"a"}]}', "atoms must be an object with put, delete or both"),
        (b'{"atoms":{}}', "atoms must be"),
        (b'{"atoms":{"puts":[]}}', "atoms must be"),
        (b'{"atoms":{"put":{}}}', "atoms.put must be an array"),
        (b'{"atoms":{"put":[1]}}', "atoms.put has no slug"),
        (b'{"atoms":{"put":[{"slug":"a","slug":[]}]}}', "atoms.put has no slug"),
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
    with pytest.raises(InvalidBackup) as caught:
        patch.read(change)
    assert words in str(caught.value)


def test_at_every_depth_a_change_is_made_or_refused():
    """Who calls a reader takes of the depth that Python lets it have."""
    outcomes = set()
    for depth in range(880, 1000):
        deep = b'{"slug":"z","x":%s%s}' % (b"[" * depth, b"]" * depth)
        for base, change in [
            (b'{"atoms":[%s]}' % deep, b'{"atoms":{"put":[{"slug":"y"}]},"x":1}'),
            (b"{}", b'{"atoms":{"put":[%s],"delete":[]}}' % deep),
        ]:
            try:
                changed(change, base)
            except (InvalidBackup, UnusableBase) as error:
                outcomes.add("nested too deep" in str(error))
            else:
                outcomes.add("made")
    assert outcomes - {True} == {"made"}


@pytest.mark.parametrize(
    ("atoms", "change", "words"),
    [
        (ATOMS, b'{"atoms":{"delete":["z"]}}', 'atoms has no record to delete with key "z"'),
        (ATOMS, b'{"snapshots":{"delete":["1"]}}', 'no record to delete with key "1"'),
        (ATOMS, b'{"atoms":{"put":[{"slug":"z"}]},"counts":{"atoms":3}}', "4 items, not 3"),
        (ATOMS, b'{"counts":{"snapshots":2}}', "snapshots has 1 items, not 2"),
        *(
            (atoms, b'{"atoms":{"put":[{"slug":"z"}]}}', words)
            for atoms, words in [
                (b'[{"slug":"a"},{"slug":"\\u0061"}]', 'Two records in atoms have one key: "a"'),
                (b'[{"slug":0},{"slug":-0.0}]', "Two records in atoms have one key: 0"),
                (b'[{"slug":"a"},{"id":"b"}]', "A record in atoms has no slug"),
                (b'[{"slug":"a"},"b"]', "A record in atoms has no slug"),
                (b'[{"slug":"a","slug":false}]', "A record in atoms has no slug"),
            ]
        ),
    ],
)
def test_a_change_that_does_not_fit_its_base_is_a_409(atoms, change, words):
    base = b'{"atoms":%s,"snapshots":[{"id":1}]}' % atoms
    with pytest.raises(UnusableBase) as caught:
        changed(change, base)
    assert words in str(caught.value)
    assert str(caught.value).endswith("; send the whole backup.")
    assert b'{"atoms":%s,' % atoms in changed(b'{"compositions":{"put":[{"id":1}]}}', base)


def of_1_0_0(body: bytes) -> bytes:
    """Store an upload with its categories in another order than today's."""
    upload = check_upload(body)
    return stored(upload._replace(categories=dict(reversed(upload.categories.items()))))


@pytest.mark.parametrize(
    "base",
    [
        stored(BASE).replace(b'{"id":1}', b'{"id":2}'),
        re.sub(rb'"atoms":\[(\d+),\d+\]', rb'"atoms":[\1,999999999999]', stored(BASE)),
        stored(BASE)[:-10],
        b"",
        json.dumps(json.loads(stored(BASE)), indent=2).encode(),
        of_1_0_0(BASE),
        *map(in_another_form, ['{"atoms":{}}', '{"atoms":null}', "[]", '{"atoms":[1,]}']),
    ],
    ids=lambda _: "",
)
def test_a_base_that_is_damaged_or_no_upload_itself_is_a_409(base):
    for change in (b'{"atoms":{"put":[{"slug":"z"}]},"x":1}', b"{}"):
        with pytest.raises(UnusableBase, match="damaged"):
            apply(base, change)


@pytest.mark.parametrize("base", [stored(BASE), in_another_form(data_of(stored(BASE)))])
@pytest.mark.parametrize("first_to_fail", range(4))
def test_a_base_that_its_disk_cannot_read_is_a_409(base, first_to_fail, monkeypatch):
    calls, real = iter(range(100)), os.pread

    def pread(*arguments):
        if next(calls) >= first_to_fail:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*arguments)

    monkeypatch.setattr(os, "pread", pread)
    with pytest.raises(UnusableBase, match="cannot be read: Input/output error"):
        apply(base, b"{}")


def test_a_base_that_loses_its_end_while_it_is_copied_is_a_409():
    with oracle.as_file(stored(BASE)) as file:
        upload = patch.apply(patch.read(b"{}"), file, ID, 10**9)
        file.truncate(400)
        with pytest.raises(UnusableBase, match="lost its end"):
            stored(upload)


def test_the_limit_holds_for_the_data_of_the_result():
    base = stored(b'{"atoms":[{"slug":"a","x":"%s"}],"y":"%s"}' % (b"x" * 1500, b"y" * 300))
    size = len(data_of(base))
    # A record or a member that takes another's place takes no more room than in a whole upload.
    same = b'{"atoms":{"put":[{"slug":"a","x":"%s"}]},"y":"%s"}' % (b"z" * 1500, b"z" * 300)
    assert len(data_of(apply(base, same, size))) == size
    with pytest.raises(BodyTooLarge, match=f"larger than {size - 1} bytes"):
        apply(base, same, size - 1)


def test_records_of_a_category_that_is_changed_are_limited(monkeypatch):
    monkeypatch.setattr(patch, "MOST_RECORDS", 3)
    base = b'{"snapshots":[{"id":1},{"id":2},{"id":3}],"voiceNotes":[{},{},{},{}]}'
    with pytest.raises(UnusableBase, match="More than 3 records in voiceNotes"):
        changed(b'{"voiceNotes":{"put":[{"id":1}]}}', base)
    for part in (b'"put":[{"id":1},{"id":2},{"id":3},{"id":4}]', b'"delete":[1,2,3,4]'):
        with pytest.raises(InvalidBackup, match=r"snapshots\.\w+ has more than 3 items"):
            changed(b'{"snapshots":{%s}}' % part, base)
    data = changed(b'{"snapshots":{"put":[{"id":4},{"id":5},{"id":6}],"delete":[1,2,3]}}', base)
    assert b'"snapshots":[{"id":4},{"id":5},{"id":6}]' in data


def test_keys_that_were_chosen_to_have_one_hash_hold_nobody_up():
    # Python hashes numbers modulo this prime, so all of these have the hash 0, and a table of them
    # takes quadratic time: it was a minute. A string's hash differs in each process.
    keys = b",".join(b"%d" % ((2**61 - 1) * number) for number in range(1, 20_001))
    began = time.process_time()
    with pytest.raises(UnusableBase, match="delete"):
        changed(b'{"snapshots":{"delete":[%s]}}' % keys)
    assert time.process_time() - began < 5


def test_what_is_untouched_is_never_held_in_memory():
    large = b'"%s"' % (b"x" * 20_000_000)
    base = stored(b'{"atoms":[%s],"snapshots":[{"id":1}],"x":%s}' % (large, large))
    with oracle.as_file(base) as file:
        tracemalloc.start()
        upload = patch.apply(patch.read(b'{"snapshots":{"put":[{"id":2}]}}'), file, ID, 10**9)
        size = sum(len(piece) for piece in render(upload, NEW_ID, TIME, None)[2])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert size > 40_000_000
    assert peak < 4_000_000


# --- over HTTP ------------------------------------------------------------------------------------


def test_what_is_stored_is_a_backup_like_any_other_and_does_not_need_its_base(client: Client):
    base, key = client.upload(BASE)["id"], secrets.token_hex(16)
    path = f"/api/backup?base={base}&key={key}"
    change = b'{"atoms":{"put":[{"slug":"d"}]},"counts":{"atoms":4,"snapshots":1.0},"deviceId":"d"}'
    answer = client.post(path, gzip.compress(change), Content_Type="application/gzip")
    assert answer.status == 201
    document = client.get(answer.headers["Location"])
    assert (document.json["base"], document.json["key"]) == (base, key)
    assert answer.json["counts"] == document.json["counts"]
    assert answer.json["size"] == len(document.body)
    listed = client.get("/api/backup/list").json["backups"][0]
    assert (listed["id"], listed["deviceId"]) == (answer.json["id"], "d")
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
        (b'{"atoms":{"put":[{"slug":"z","x":"%s"}]}}' % (b"x" * 900), 413, "with this change"),
        (b'{"x":"%s"}' % (b"x" * 1000), 413, "The body is larger than 1000 bytes"),
    ],
)
def test_of_what_is_refused_nothing_is_stored(make_client, change, status, words):
    client = make_client(MAX_BODY_BYTES="1000")
    base = client.upload(BASE)["id"]
    before = backups_in(client.data_dir)
    assert_error(client.post(f"/api/backup?base={base}", change), status, words)
    assert backups_in(client.data_dir) == before
    assert strays_in(client.data_dir) == []


@pytest.mark.parametrize("base", ["2020-01-01T00-00-00", "", "..%2Fx", "2020-01-01T00-00-00%0A"])
def test_a_base_that_is_not_there_is_a_409_whatever_its_id_looks_like(client, base):
    answer = client.post(f"/api/backup?base={base}", b'{"atoms":{"put":[{"slug":"a"}]}}')
    assert_error(answer, 409, "send the whole backup")
    assert_error(client.post(f"/api/backup?base={base}", b'{"atoms":1}'), 400, "atoms")


def test_a_base_that_fails_while_it_is_copied_leaves_nothing(client, monkeypatch):
    base = client.upload(b'{"atoms":[{"slug":"a","x":"%s"}]}' % (b"x" * 2_000_000))["id"]
    before, real, calls = backups_in(client.data_dir), os.pread, iter(range(10_000))

    def pread(descriptor, size, offset):
        if size > 100_000 and next(calls) == 12:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    answer = client.post(f"/api/backup?base={base}", b'{"snapshots":{"put":[{"id":1}]}}')
    assert_error(answer, 409, "cannot be read: Input/output error", "send the whole backup")
    assert next(calls) > 12
    assert backups_in(client.data_dir) == before
    assert strays_in(client.data_dir) == []
