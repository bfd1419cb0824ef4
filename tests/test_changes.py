"""POST /api/backup?base=: only what is different is sent, and the whole is stored."""

import gzip
import json
import re
import secrets
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import CATEGORIES, ROOT, Server, assert_error, backups_in

EXPRESS = ROOT / "tests" / "samples" / "express-data"
ATOMS = b'[ {"slug":"a","n":1.0} ,\n {"slug":"b"},{"slug":"c","half":"\\ud83d"}]'
BASE = (
    b'{"atoms":%s,"snapshots":[{"id":1}],"other":"old","later":[1.50],"clientTimestamp":"t"}'
    % ATOMS
)


@pytest.fixture
def base(server: Server) -> str:
    """The id of a stored backup with all that a base may have."""
    return server.upload(BASE)["id"]


def changed(server: Server, base: str, change: bytes, **headers: str) -> bytes:
    """Store a change and return the text of the data it has come to."""
    receipt = server.upload(change, f"?base={base}", **headers)
    document = server.get(f"/api/backup/{receipt['id']}").body
    assert json.loads(document)["base"] == base
    return document.partition(b'\n"data":')[2].removesuffix(b"}\n")


def refused(server: Server, base: str, change: bytes, status: int, *words: str) -> None:
    """Send a change that cannot be stored, and see that nothing is."""
    before = backups_in(server.data_dir)
    assert_error(server.post(f"/api/backup?base={base}", change), status, *words)
    assert backups_in(server.data_dir) == before


@pytest.mark.parametrize(
    ("change", "atoms"),
    [
        (b'{"put":[{"slug":"b","new":2}]}', b'[{"slug":"a","n":1.0},{"slug":"b","new":2},C]'),
        (b'{"put":[{"slug":"d"},{"slug":"e"}]}', b'[ALL,{"slug":"d"},{"slug":"e"}]'),
        (b'{"delete":["b"]}', b'[{"slug":"a","n":1.0},C]'),
        (b'{"delete":["a","b","c"]}', b"[]"),
        (b'{"delete":["a"],"put":[{"slug":"z"}]}', b'[{"slug":"b"},C,{"slug":"z"}]'),
        (
            b'{"put":[{"slug":"\\u0063"}]}',
            b'[{"slug":"a","n":1.0},{"slug":"b"},{"slug":"\\u0063"}]',
        ),
        (b'{"put":[{"slug":"x","slug":"b"}]}', b'[{"slug":"a","n":1.0},{"slug":"x","slug":"b"},C]'),
        (b'{"put":[{"sl\\u0075g":"b"}]}', b'[{"slug":"a","n":1.0},{"sl\\u0075g":"b"},C]'),
        (b'{"put":[],"delete":[]}', b"[ALL]"),
    ],
)
def test_records_are_replaced_added_and_deleted_and_the_others_keep_their_bytes(
    server, base, change, atoms
):
    last = b'{"slug":"c","half":"\\ud83d"}'
    first = b'{"slug":"a","n":1.0},{"slug":"b"},' + last
    atoms = atoms.replace(b"ALL", first).replace(b"C", last)
    data = changed(server, base, b'{"atoms":%s}' % change)
    others = b'"voiceNotes":[],"configOverrides":[],"other":"old","later":[1.50]'
    assert data == b'{"atoms":%s,"compositions":[],"snapshots":[{"id":1}],%s}' % (atoms, others)


@pytest.mark.parametrize("number", [b"1", b"1.0", b"1e0", b"10E-1", b"1.000e+0"])
def test_a_number_is_one_key_however_it_is_written_and_a_string_is_another(server, base, number):
    change = b'{"snapshots":{"put":[{"id":"1"},{"id":%s,"new":1}]}}' % number
    assert b'"snapshots":[{"id":%s,"new":1},{"id":"1"}]' % number in changed(server, base, change)


def test_numbers_that_a_double_could_not_tell_apart_are_two_keys(server):
    base = server.upload(b'{"snapshots":[{"id":9007199254740993}]}')["id"]
    data = changed(server, base, b'{"snapshots":{"put":[{"id":9007199254740992}]}}')
    assert b'[{"id":9007199254740993},{"id":9007199254740992}]' in data


@pytest.mark.parametrize(
    ("name", "key"), [*zip(CATEGORIES, ("slug", "id", "id", "id", "atomSlug"), strict=True)]
)
def test_every_category_has_a_key_of_its_own(server, name, key):
    record = json.dumps({key: "one", "id" if key != "id" else "slug": "same"})
    base = server.upload(f'{{"{name}":[{record}]}}'.encode())["id"]
    data = changed(server, base, f'{{"{name}":{{"put":[{{"{key}":"one","new":1}}]}}}}'.encode())
    assert json.loads(data)[name] == [{key: "one", "new": 1}]


def test_other_members_take_the_place_of_the_base_s_or_are_added(server, base):
    data = changed(server, base, b'{"other": "new" ,"more":{"x":1.0}}')
    assert data.endswith(b'"configOverrides":[],"other":"new","later":[1.50],"more":{"x":1.0}}')


def test_the_time_is_the_change_s_or_the_server_s_and_never_the_base_s(server, base):
    with_time = server.upload(b'{"clientTimestamp":"u"}', f"?base={base}")["id"]
    assert server.get(f"/api/backup/{with_time}").json["clientTimestamp"] == "u"
    document = server.get(f"/api/backup/{server.upload(b'{}', f'?base={base}')['id']}").json
    assert document["clientTimestamp"] == document["timestamp"]
    assert "clientTimestamp" not in document["data"]


def test_what_is_stored_does_not_need_its_base(server, base):
    second = server.upload(b'{"atoms":{"put":[{"slug":"d"}]}}', f"?base={base}")["id"]
    assert server.request("DELETE", f"/api/backup/{base}").status == 200
    data = changed(server, second, b'{"atoms":{"put":[{"slug":"e"}],"delete":["a"]}}')
    assert [atom["slug"] for atom in json.loads(data)["atoms"]] == ["b", "c", "d", "e"]


@pytest.mark.parametrize("file", sorted(path.name for path in EXPRESS.iterdir()))
def test_a_file_of_the_express_server_can_be_a_base(server, file):
    (server.data_dir / file).write_bytes((EXPRESS / file).read_bytes())
    old = json.loads((EXPRESS / file).read_bytes())["data"]
    change = b'{"compositions":{"put":[{"id":"c2"}]},"voiceNotes":{"put":[{"id":0}]},"more":1}'
    data = json.loads(changed(server, file[7:-5], change))
    assert data == old | {
        "compositions": [*old["compositions"], {"id": "c2"}],
        "voiceNotes": [*old["voiceNotes"], {"id": 0}],
        "more": 1,
    }


@pytest.mark.parametrize(
    "old",
    [
        b"{}",
        b'{\n  "x": 1\n}',
        b'{ "snapshots": [ {"id": 1} ], "atoms":[1], "atoms": [ {"slug": "a"} ], "x": 2 }',
        b'{"more": 0, "mor\\u0065": [1, 2], "clientTimestamp": "inside"}',
    ],
)
def test_the_data_of_a_file_without_a_head_may_be_written_in_any_way(server, old):
    name = f"2026-01-01T00-00-00-000Z-{secrets.token_hex(4)}"
    text = b'{"version": 1, "data": %s, "id": "%s", "timestamp": "t"}' % (old, name.encode())
    (server.data_dir / f"backup-{name}.json").write_bytes(text)
    change = b'{"atoms":{"put":[{"slug":"b"}]},"more":"new","clientTimestamp":"u"}'
    data = json.loads(changed(server, name, change))
    expected = {key: [] for key in CATEGORIES} | json.loads(old)
    expected |= {"atoms": [*expected["atoms"], {"slug": "b"}], "more": "new"}
    assert data == expected


def test_a_change_may_be_compressed_and_sent_by_a_beacon(server, base):
    change = gzip.compress(b'{"atoms":{"delete":["a","b"]}}')
    data = changed(server, base, change, Content_Type="application/gzip")
    assert json.loads(data)["atoms"] == [{"slug": "c", "half": "\ud83d"}]


def test_the_receipt_is_that_of_a_whole_upload_and_the_head_keeps_the_key(server, base):
    key = secrets.token_hex(16)
    change = b'{"atoms":{"put":[{"slug":"d"}]},"counts":{"atoms":4,"snapshots":1.0,"voiceNotes":0}}'
    answer = server.post(f"/api/backup?base={base}&key={key}", change)
    assert answer.status == 201
    assert answer.headers["Location"] == f"/api/backup/{answer.json['id']}"
    document = server.get(answer.headers["Location"]).json
    assert (document["base"], document["key"]) == (base, key)
    assert (
        answer.json["counts"]
        == document["counts"]
        == {n: len(document["data"][n]) for n in CATEGORIES}
    )
    assert "counts" not in document["data"]
    listed = server.get("/api/backup/list?limit=1").json["backups"][0]
    assert listed.keys() == {"id", "timestamp", "clientTimestamp", "size", "counts"}


def test_a_known_key_is_answered_though_the_base_is_gone(server, base):
    path = f"/api/backup?base={base}&key={secrets.token_hex(16)}"
    first = server.post(path, b'{"atoms":{"put":[{"slug":"d"}]}}')
    assert first.status == 201
    server.request("DELETE", f"/api/backup/{base}")
    again = server.post(path, b'{"atoms":{"put":[{"slug":"d"}]}}')
    assert (again.status, again.body) == (200, first.body)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (b"[]", "must be a JSON object"),
        (b'{"atoms":{"put":[{"slug":"a"}]},}', "not valid JSON"),
        (b'{"atoms":[{"slug":"a"}]}', "atoms must be an object with put, delete or both"),
        (b'{"atoms":null}', "atoms must be"),
        (b'{"atoms":{}}', "atoms must be"),
        (b'{"atoms":{"puts":[]}}', "atoms must be"),
        (b'{"atoms":{"put":{}}}', "atoms.put must be an array"),
        (b'{"atoms":{"delete":"a"}}', "atoms.delete must be an array"),
        (b'{"atoms":{"put":[1]}}', "atoms.put has no slug"),
        (b'{"atoms":{"put":[{"id":"a"}]}}', "atoms.put has no slug"),
        (b'{"atoms":{"put":[{"slug":null}]}}', "atoms.put has no slug"),
        (b'{"atoms":{"put":[{"slug":"a","slug":[]}]}}', "atoms.put has no slug"),
        (b'{"snapshots":{"put":[{"id":1},{"id":1.0}]}}', "two records of one key: 1"),
        (b'{"snapshots":{"put":[{"id":1}],"delete":[1e0]}}', "both puts and deletes 1"),
        (b'{"atoms":{"delete":[null]}}', "atoms.delete must hold keys"),
        (b'{"counts":[]}', "counts"),
        (b'{"counts":{"atoms":"3"}}', "counts"),
        (b'{"counts":{"atoms":2.5}}', "counts"),
        (b'{"counts":{"atoms":-1}}', "counts"),
        (b'{"counts":{"others":1}}', "counts"),
        (b'{"clientTimestamp":1}', "clientTimestamp must be a string"),
    ],
)
def test_what_is_wrong_with_the_body_itself_is_a_400(server, base, change, words):
    refused(server, base, change, 400, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (b'{"atoms":{"delete":["z"]}}', 'nothing in atoms to delete with key "z"'),
        (b'{"snapshots":{"delete":["1"]}}', 'nothing in snapshots to delete with key "1"'),
        (b'{"voiceNotes":{"delete":[1]}}', "nothing in voiceNotes to delete with key 1"),
        (b'{"atoms":{"put":[{"slug":"z"}]},"counts":{"atoms":3}}', "atoms has 4 items, not 3"),
        (b'{"counts":{"snapshots":2}}', "snapshots has 1 items, not 2"),
    ],
)
def test_a_change_that_does_not_fit_its_base_is_a_409(server, base, change, words):
    refused(server, base, change, 409, words, "send the whole backup")


@pytest.mark.parametrize(
    ("atoms", "words"),
    [
        (b'[{"slug":"a"},{"slug":"\\u0061"}]', 'Two records in atoms have one key: "a"'),
        (b'[{"slug":0},{"slug":-0.0}]', "Two records in atoms have one key"),
        (b'[{"slug":"a"},{"id":"b"}]', "A record in atoms has no slug"),
        (b'[{"slug":"a"},"b"]', "A record in atoms has no slug"),
        (b'[{"slug":"a","slug":false}]', "A record in atoms has no slug"),
    ],
)
def test_a_category_whose_records_cannot_be_told_apart_is_a_409_if_it_is_changed(
    server, atoms, words
):
    base = server.upload(b'{"atoms":%s}' % atoms)["id"]
    refused(server, base, b'{"atoms":{"put":[{"slug":"z"}]}}', 409, words)
    assert b'"atoms":' + atoms in changed(server, base, b'{"snapshots":{"put":[{"id":1}]}}')


@pytest.mark.parametrize(
    "base", ["2020-01-01T00-00-00", "", "x", "..%2Fx", "2020-01-01T00-00-00%0A", "%00"]
)
def test_a_base_that_is_not_there_is_a_409_whatever_its_id_looks_like(server, base):
    refused(server, base, b'{"atoms":{"put":[{"slug":"a"}]}}', 409, "send the whole backup")


@pytest.mark.parametrize("at", ["in a record", "in a head", "cut", "in another member"])
def test_a_damaged_base_is_a_409_and_its_damage_is_not_handed_on(server, base, at):
    path = server.data_dir / f"backup-{base}.json"
    text = path.read_bytes()
    damaged = {
        "in a record": text.replace(b'{"id":1}', b'{"id":2}'),
        "in a head": re.sub(rb'"atoms":\[(\d+),\d+\]', rb'"atoms":[\1,999999999999]', text),
        "cut": text[:-10],
        "in another member": text.replace(b"[1.50]", b"[1.5,]"),
    }[at]
    assert damaged != text
    path.write_bytes(damaged)
    refused(server, base, b'{"atoms":{"put":[{"slug":"z"}]},"other":1}', 409, "damaged")
    path.unlink()


def test_the_limit_holds_for_the_result_as_for_a_body(start_server):
    server = start_server(MAX_BODY_BYTES="2000")
    base = server.upload({"atoms": [{"slug": "a", "x": "x" * 1500}], "other": "y" * 300})["id"]
    change = {"atoms": {"put": [{"slug": "b", "x": "x" * 500}]}}
    answer = server.post(f"/api/backup?base={base}", change)
    assert_error(answer, 413, "The backup with this change is larger than 2000 bytes")
    # A record or a member that takes another's place takes no more room than in a whole upload.
    change = {"atoms": {"put": [{"slug": "a", "x": "y" * 1500}]}, "other": "z" * 300}
    server.upload(change, f"?base={base}")
    assert_error(server.post(f"/api/backup?base={base}", {"x": "x" * 2000}), 413, "The body")


def test_one_key_sent_to_several_processes_at_once_stores_one_changed_backup(start_server):
    server = start_server(WEB_CONCURRENCY="3")
    base = server.upload({"atoms": [{"slug": "a", "x": "x" * 200_000}]})["id"]
    change = b'{"atoms":{"put":[{"slug":"b"}]},"counts":{"atoms":2}}'
    for _ in range(5):
        path = f"/api/backup?base={base}&key={secrets.token_hex(16)}"
        before = server.listed()
        with ThreadPoolExecutor(8) as pool:
            answers = [*pool.map(lambda _, path=path: server.post(path, change), range(8))]
        assert sorted(answer.status for answer in answers) == [200] * 7 + [201]
        assert len({answer.body for answer in answers}) == 1
        assert server.listed() == [answers[0].json["id"], *before]
    server.stop()
    server.start()
    assert server.post(path, change).body == answers[0].body


def test_more_records_than_can_be_told_apart_are_a_409(server):
    many = b",".join(b'{"id":%d}' % number for number in range(250_000))
    base = server.upload(b'{"snapshots":[%s],"voiceNotes":[%s,{"id":-1}]}' % (many, many))["id"]
    refused(server, base, b'{"voiceNotes":{"put":[{"id":1}]}}', 409, "More than 250000 records")
    refused(server, base, b'{"snapshots":{"put":[%s,{"id":-1}]}}' % many, 409, "More than 250000")
    receipt = server.upload(b'{"snapshots":{"delete":[7]}}', f"?base={base}")
    assert receipt["counts"]["snapshots"] == 249_999


def test_keys_that_were_chosen_to_be_alike_for_a_hash_table_hold_nobody_up(server, base):
    # Python hashes numbers modulo this prime, so all of these fall into one place of a table. A
    # string's hash differs in each process.
    prime = 2**61 - 1
    numbers = b",".join(b"%d" % (prime * number) for number in range(1, 20_001))
    began = time.monotonic()
    refused(server, base, b'{"atoms":{"delete":[%s]}}' % numbers, 409, "delete")
    assert time.monotonic() - began < 5  # it was a minute, and the worker was killed for it


@pytest.mark.parametrize("data", [b'{"atoms":{}}', b'{"atoms":null}'])
def test_a_base_that_is_itself_no_upload_is_a_409_since_a_whole_backup_helps(server, data):
    old = "2026-02-01T10-54-27-123Z-ab12"
    text = b'{"id":"%s","timestamp":"2026-02-01T10:54:27.123Z","data":%s}' % (old.encode(), data)
    (server.data_dir / f"backup-{old}.json").write_bytes(text)
    refused(server, old, b'{"snapshots":{"put":[{"id":1}]}}', 409, "whole")
    refused(server, old, b'{"clientTimestamp":5}', 400, "clientTimestamp")
