"""A stored document as an answer: whole, on conditions, in ranges, and by categories."""

import json
import shutil

import pytest
from support import CATEGORIES, ROOT, Client, assert_error

from backup_server.ids import file_name

SIZE = 600_000  # more than two blocks


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> tuple[Client, str, bytes, str]:
    """An application, and the path, the bytes and the ETag of a backup in it."""
    client = Client(tmp_path_factory.mktemp("responses") / "data")
    receipt = client.upload({"atoms": [{"text": "x" * SIZE}]})
    path = f"/api/backup/{receipt['id']}"
    text = (client.data_dir / file_name(receipt["id"])).read_bytes()
    return client, path, text, client.get(path).headers["ETag"]


def test_the_answer_is_the_file_as_it_lies_on_the_disk(stored):
    client, path, text, _ = stored
    for answer in (client.get(path), client.get("/api/backup/latest")):
        assert (answer.status, answer.body) == (200, text)
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Content-Length"] == str(len(text))
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert answer.headers["Cache-Control"] == "private, no-cache"
    head = client.request("HEAD", path, Range="bytes=0-4")
    assert (head.status, head.body) == (200, b"")
    for name in ("Content-Length", "Content-Type", "ETag", "Accept-Ranges"):
        assert head.headers[name] == answer.headers[name]


def test_the_etag_is_strong_and_stays_and_differs_by_backup(stored, make_client):
    client, path, text, tag = stored
    assert tag.startswith('"')
    assert Client(client.data_dir).get(path).headers["ETag"] == tag
    other = make_client()
    other.upload(json.loads(text)["data"])
    assert other.get("/api/backup/latest", If_None_Match=tag).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ({"If_None_Match": "{tag}"}, 304),
        ({"If_None_Match": "*"}, 304),
        ({"If_None_Match": "W/{tag}"}, 304),
        ({"If_None_Match": '"other", {tag}', "Range": "bytes=5-9"}, 304),
        ({"If_None_Match": '"other"'}, 200),
        # Ignored: what is not looked at, not understood, or not of this document.
        ({"If_Modified_Since": "Wed, 21 Oct 2099 07:28:00 GMT"}, 200),
        ({"If_Match": '"other"'}, 200),
        *(({"Range": text}, 200) for text in ("items=0-4", "bytes=0-1,4-5", "bytes=5-2")),
        ({"Range": "bytes=5-9", "If_Range": '"other"'}, 200),
        ({"Range": "bytes=5-9", "If_Range": "W/{tag}"}, 200),
        ({"Range": "bytes=5-9", "If_Range": "Wed, 21 Oct 2026 07:28:00 GMT"}, 200),
    ],
)
def test_conditions_decide_what_is_sent(stored, method, conditions, status):
    client, path, text, tag = stored
    headers = {name: value.format(tag=tag) for name, value in conditions.items()}
    answer = client.request(method, path, **headers)
    assert answer.status == status
    assert answer.body == (text if (method, status) == ("GET", 200) else b"")
    assert answer.headers["ETag"] == tag


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        *(("bytes=0-0", slice(0, 1)), ("bytes=100000-500000", slice(100_000, 500_001))),
        *(("bytes=599000-", slice(599_000, None)), ("bytes=5-99999999", slice(5, None))),
        *(("bytes=-5", slice(-5, None)), ("bytes=-99999999", slice(0, None))),
    ],
)
def test_a_range_is_a_206_of_exactly_these_bytes(stored, asked, part):
    client, path, text, tag = stored
    first, end, _ = part.indices(len(text))
    for condition in ({}, {"If_Range": tag}):
        answer = client.get(path, Range=asked, **condition)
        assert (answer.status, answer.body) == (206, text[part])
        assert answer.headers["Content-Range"] == f"bytes {first}-{end - 1}/{len(text)}"
        assert answer.headers["Content-Length"] == str(end - first)


def test_a_range_past_the_end_is_a_416_that_tells_the_size(stored):
    client, path, text, _ = stored
    answer = client.get(path, Range="bytes=99999999-")
    assert_error(answer, 416, "range")
    assert answer.headers["Content-Range"] == f"bytes */{len(text)}"


# --- categories -----------------------------------------------------------------------------------

# Each category's text has what a careless cut would stumble over.
TEXTS = {
    "atoms": b'[ {"a":"]"}, 1.0,\n "\\ud800" ]',
    "compositions": b"[]",
    "snapshots": b'[[1e400],["}{"]]',
    "voiceNotes": b'[{"text":"\xc3\x89tude, \\"atoms\\":[9]"}]',
    "configOverrides": b"[0]",
}


@pytest.fixture
def receipt(client) -> dict:
    """The receipt of a backup that is made of TEXTS and a newer client's member."""
    members = [b'"%s" : %s' % (name.encode(), text) for name, text in TEXTS.items()]
    return client.upload(b'{"later":{"atoms":[7]},' + b",".join(reversed(members)) + b"}")


@pytest.mark.parametrize("names", [(), *((name,) for name in CATEGORIES), CATEGORIES[1::2]])
def test_with_items_a_restore_is_these_categories_as_they_were_sent(client, receipt, names):
    data = b",".join(b'"%s":%s' % (name.encode(), TEXTS[name]) for name in names)
    ignored = {"If_None_Match": "*", "Range": "bytes=0-4"}
    whole = client.post("/api/restore", {"backupId": receipt["id"]}, **ignored)
    assert whole.body == client.get(f"/api/backup/{receipt['id']}").body
    head = f'{{"id":"{receipt["id"]}","timestamp":"{receipt["timestamp"]}","data":{{'
    chosen = {name: name in names for name in CATEGORIES}
    for items in (chosen, dict.fromkeys(names, True), [*names, *names[::-1]]):
        answer = client.post("/api/restore", {"backupId": receipt["id"], "items": items})
        assert (answer.status, answer.body) == (200, head.encode() + data + b"}}")
        assert answer.headers["Content-Length"] == str(len(answer.body))
        assert answer.headers["Content-Type"] == "application/json"


def test_a_category_that_a_file_does_not_have_is_empty(client):
    backup_id = "2026-01-01T00-00-00"
    head = f'{{"id":"{backup_id}","timestamp":"t","data":'
    (client.data_dir / file_name(backup_id)).write_text(head + '{"atoms":[1]}}')
    answer = client.post("/api/restore", {"backupId": backup_id, "items": ["atoms", "snapshots"]})
    assert answer.body.decode() == head + '{"atoms":[1],"snapshots":[]}}'


# --- files of the Express server ------------------------------------------------------------------

EXPRESS = ROOT / "tests" / "samples" / "express-data"


def test_files_of_the_express_server_are_listed_counted_read_restored_and_deleted(
    make_client, tmp_path
):
    shutil.copytree(EXPRESS, tmp_path / "data")
    client = make_client()
    newer = client.upload({})["id"]
    first, *entries = client.get("/api/backup/list").json["backups"]
    assert (first["id"], len(entries)) == (newer, 3)
    client.request("DELETE", f"/api/backup/{newer}")
    for entry in entries:
        path = f"/api/backup/{entry['id']}"
        text = (EXPRESS / file_name(entry["id"])).read_bytes()
        document = json.loads(text)
        counts = {name: len(document["data"][name]) for name in CATEGORIES}
        own = {name: document[name] for name in ("id", "timestamp", "clientTimestamp")}
        assert entry == own | {"size": len(text), "counts": counts}
        assert client.get("/api/backup/latest").body == client.get(path).body == text
        assert client.get(path, Range="bytes=3-9").body == text[3:10]
        asked = {"backupId": entry["id"], "items": ["compositions"]}
        data = {"compositions": document["data"]["compositions"]}
        assert client.post("/api/restore", asked).json["data"] == data
        assert client.request("DELETE", path).json == {"deleted": True}
        assert_error(client.get(path), 404)
