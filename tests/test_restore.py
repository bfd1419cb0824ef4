"""POST /api/restore: the whole document or chosen categories, and what each costs."""

import gzip
import itertools
import json
import time
from statistics import median

import pytest
from support import CATEGORIES, assert_error

from backup_server.ids import file_name

# Each category's text has what a careless cut would stumble over.
TEXTS = {
    "atoms": b'[ {"a":"]"}, 1.0,\n "\\ud800" ]',
    "compositions": b"[]",
    "snapshots": b'[[1e400],["}{"]]',
    "voiceNotes": b'[{"text":"\xc3\x89tude, \\"atoms\\":[9]"}]',
    "configOverrides": b"[0]",
}


@pytest.fixture(scope="module")
def backup(shared_server):
    """The receipt of a backup made of TEXTS and a member of a newer client."""
    members = [b'"%s" : %s' % (name.encode(), text) for name, text in TEXTS.items()]
    body = b'{"later":{"atoms":[7]},' + b",".join(reversed(members)) + b"}"
    return shared_server.upload(body)


def restore(server, backup, **members):
    return server.post("/api/restore", {"backupId": backup["id"], **members})


def expected(backup, names) -> bytes:
    data = b",".join(b'"%s":%s' % (name.encode(), TEXTS[name]) for name in names)
    head = json.dumps({"id": backup["id"], "timestamp": backup["timestamp"]}, separators=(",", ":"))
    return head.encode()[:-1] + b',"data":{' + data + b"}}"


def test_without_items_the_answer_is_the_whole_document(server, backup):
    answer = restore(server, backup)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.body == server.get(f"/api/backup/{backup['id']}").body
    assert answer.json["data"]["later"] == {"atoms": [7]}


@pytest.mark.parametrize(
    "names", [names for n in range(6) for names in itertools.combinations(CATEGORIES, n)]
)
def test_with_items_the_answer_is_the_chosen_categories_as_they_were_sent(server, backup, names):
    chosen = {name: name in names for name in CATEGORIES}
    for items in (chosen, dict.fromkeys(names, True), list(names), [*names, *names[::-1]]):
        answer = restore(server, backup, items=items)
        assert (answer.status, answer.body) == (200, expected(backup, names))
        assert answer.headers["Content-Length"] == str(len(answer.body))


def test_other_members_of_the_request_are_no_mistake(server, backup):
    assert restore(server, backup, reason="new device").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Type": "text/plain"},
        {"Content_Type": ""},
        {"Content_Encoding": "gzip"},
        {"Content_Type": "application/gzip"},
    ],
)
def test_a_restore_may_be_sent_like_an_upload(server, backup, headers):
    body = json.dumps({"backupId": backup["id"], "items": ["configOverrides"]}).encode()
    if "gzip" in str(headers):
        body = gzip.compress(body)
    answer = server.post("/api/restore", body, **headers)
    assert answer.json["data"] == {"configOverrides": [0]}


def test_a_category_missing_from_a_file_of_an_earlier_server_is_empty(server, shared_server):
    backup_id = "2020-01-01T00-00-00-000Z-ab12"
    text = json.dumps({"id": backup_id, "timestamp": "t", "data": {"atoms": [1]}}, indent=2)
    path = shared_server.data_dir / file_name(backup_id)
    path.write_text(text)
    answer = server.post("/api/restore", {"backupId": backup_id, "items": ["atoms", "snapshots"]})
    assert answer.json == {
        "id": backup_id,
        "timestamp": "t",
        "data": {"atoms": [1], "snapshots": []},
    }
    path.unlink()


@pytest.mark.parametrize("body", [{}, {"items": {}}, {"backupid": "2020-01-01T00-00-00"}])
def test_a_missing_id_is_a_400_that_names_it(server, body):
    assert_error(server.post("/api/restore", body), 400, "backupId")


@pytest.mark.parametrize("value", [None, 5, True, [], {}, ["2020-01-01T00-00-00"]])
def test_an_id_of_a_wrong_type_is_a_400_that_names_it(server, value):
    assert_error(server.post("/api/restore", {"backupId": value}), 400, "backupId")


@pytest.mark.parametrize("items", [None, True, 5, "atoms", ""])
def test_items_of_a_wrong_type_are_a_400_that_names_them(server, backup, items):
    assert_error(restore(server, backup, items=items), 400, "items")


@pytest.mark.parametrize("value", [None, 1, 0, "true", [], {}])
def test_a_choice_of_a_wrong_type_is_a_400_that_names_it(server, backup, value):
    assert_error(restore(server, backup, items={"snapshots": value}), 400, "snapshots")


@pytest.mark.parametrize("value", [None, 1, True, ["atoms"], {"atoms": True}])
def test_a_list_of_anything_but_names_is_a_400(server, backup, value):
    assert_error(restore(server, backup, items=["atoms", value]), 400, "items")


@pytest.mark.parametrize(
    "name", ["screenshots", "Atoms", "", "data", "later", "__proto__", "é", "\ud800", "a\nb"]
)
def test_an_unknown_category_is_a_400_that_names_it(server, backup, name):
    shown = name if name.isprintable() else "category"
    for items in ({name: True}, {name: False}, [name], ["atoms", name]):
        assert_error(restore(server, backup, items=items), 400, shown)


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[]", b"null", b'"x"', b"{", b"\xff", b'{"backupId":"x",}']
)
def test_a_body_that_is_no_json_object_is_a_400(server, body):
    assert_error(server.post("/api/restore", body), 400, "object")


@pytest.mark.parametrize("body", [b"[" * 60_000, b'{"backupId":' * 5000, b'{"x":' + b"[" * 60_000])
def test_a_body_nested_too_deep_is_a_400(server, body):
    assert_error(server.post("/api/restore", body), 400)


def test_a_number_of_too_many_digits_is_a_400(server):
    assert_error(server.post("/api/restore", b'{"backupId":%s}' % (b"9" * 10_000)), 400)


def test_a_restore_asks_for_little_so_a_large_one_is_a_413(server):
    body = json.dumps({"backupId": "x" * 100_000})
    assert_error(server.post("/api/restore", body.encode()), 413)


def test_an_unknown_id_is_a_404_and_a_mistake_a_400_before_that(server):
    unknown = {"id": "2020-01-01T00-00-00"}
    assert_error(restore(server, unknown), 404)
    assert_error(restore(server, unknown, items=["atoms"]), 404)
    assert_error(restore(server, unknown, items=["nothing"]), 400, "nothing")


def test_another_type_is_a_415(server, backup):
    body = {"backupId": backup["id"]}
    assert_error(server.post("/api/restore", body, Content_Type="text/html"), 415)


def test_a_small_category_of_a_large_backup_costs_what_a_small_one_does(server):
    """Out of 40 MB, before and behind which it lies, no slower than out of nothing."""
    small = server.upload({"compositions": [1, 2]})
    text = ["x" * 20_000_000]
    large = server.upload({"atoms": text, "compositions": [1, 2], "snapshots": text})

    def seconds(backup) -> float:
        started = time.perf_counter()
        answer = restore(server, backup, items=["compositions"])
        taken = time.perf_counter() - started
        assert answer.json["data"] == {"compositions": [1, 2]}
        return taken

    pairs = [(seconds(small), seconds(large)) for _ in range(31)]
    # Reading 40 MB takes 10 ms from memory alone.
    assert median(more - less for less, more in pairs) < 0.003
