"""The endpoints: what each takes, answers and refuses."""

import json
import re
from datetime import UTC, datetime

import pytest
from support import CATEGORIES, Client, assert_error, backups_in

from backup_server.ids import file_name

UNKNOWN = "2020-01-01T00-00-00"
KEY = "key-of-this-upload"


# --- POST /api/backup -----------------------------------------------------------------------------


def test_an_upload_is_answered_with_a_receipt_and_a_location(client, sample):
    before = datetime.now(UTC)
    answer = client.post("/api/backup", sample)
    assert (answer.status, answer.headers["Content-Type"]) == (201, "application/json")
    receipt, sent = answer.json, json.loads(sample)
    assert list(receipt) == ["id", "timestamp", "size", "counts"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(-\d{4})?", receipt["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", receipt["timestamp"])
    age = datetime.fromisoformat(receipt["timestamp"]) - before
    assert -0.001 <= age.total_seconds() < 10
    assert receipt["counts"] == {name: len(sent[name]) for name in CATEGORIES}
    assert answer.headers["Location"] == f"/api/backup/{receipt['id']}"
    text = (client.data_dir / file_name(receipt["id"])).read_bytes()
    assert receipt["size"] == len(text)
    document = json.loads(text)
    assert [*document][:4] == ["id", "timestamp", "clientTimestamp", "version"]
    for name in ("id", "timestamp", "counts"):
        assert document[name] == receipt[name]
    assert (document["version"], document["clientTimestamp"]) == (1, sent.pop("clientTimestamp"))
    assert document["data"] == sent
    (entry,) = page(client)["backups"]
    assert entry == receipt | {"clientTimestamp": document["clientTimestamp"]}


@pytest.mark.parametrize("key", ["a" * 16, "0123456789-_abcXYZ", "Z" * 128])
def test_a_key_makes_a_retry_safe(client, key):
    first = client.post(f"/api/backup?key={key}", {"atoms": [1]})
    assert first.status == 201
    before = backups_in(client.data_dir)
    for server in (client, Client(client.data_dir)):
        for other in ({"atoms": [1]}, {"atoms": [1, 2]}, b"not even JSON"):
            again = server.post(f"/api/backup?key={key}", other)
            assert (again.status, again.json) == (200, first.json)
    assert backups_in(client.data_dir) == before


# --- GET /api/backup/list -------------------------------------------------------------------------


def page(client: Client, query: str = "") -> dict:
    answer = client.get(f"/api/backup/list{query}")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json"), answer
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.json


@pytest.mark.parametrize("limit", [1, 2, 6, 100])
def test_pages_put_together_are_all_backups_or_those_of_a_device_newest_first(client, limit):
    assert page(client) == page(client, f"?limit={limit}") == {"backups": []}
    phone, laptop = {"deviceId": "phone_1", "device": "é"}, {"deviceId": "laptop-2"}
    sent = [(client.upload(device)["id"], device) for device in (phone, laptop, {}) * 2]
    for device, place in (("", slice(None)), ("&deviceId=phone_1", slice(0, None, 3))):
        seen, before, expected = [], "", sent[place][::-1]
        for number in range(-(-len(expected) // limit)):  # a next only where there are more
            assert bool(before) == bool(number)
            answer = page(client, f"?limit={limit}{before}{device}")
            seen += answer["backups"]
            before = f"&before={answer['next']}" if "next" in answer else ""
        assert [backup["id"] for backup in seen] == [backup_id for backup_id, _ in expected]
        assert all(
            one.items() >= sent.items() for one, (_, sent) in zip(seen, expected, strict=True)
        )
        assert (before, page(client, f"?{device}")) == ("", {"backups": seen})
    assert page(client, f"?before={sent[0][0]}") == {"backups": []}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("limit", ["0", "-1", "x", "", "1.5", "%D9%A1", "9" * 30]),
        ("before", ["", "x", "..%2fsecret", "2026"]),
        ("deviceId", ["", "a%20b", "%C3%A9", "a" * 65]),
        ("key", ["", "a" * 15, "a" * 129, "a" * 16 + "%0a", "a" * 15 + "+b", "%D9%A1" * 16]),
    ],
)
def test_a_parameter_of_another_form_is_a_400_that_names_it(client, name, values):
    for value in values:
        method, path = ("POST", "") if name == "key" else ("GET", "/list")
        assert_error(client.request(method, f"/api/backup{path}?{name}={value}", b"{}"), 400, name)
    assert backups_in(client.data_dir) == {}


# --- GET /api/backup/<id>, latest, and DELETE -----------------------------------------------------


def test_a_deleted_backup_is_gone_and_the_latest_is_the_one_before_it(client):
    assert_error(client.get("/api/backup/latest"), 404, "no backup yet")
    ids = [client.upload({"atoms": [n]})["id"] for n in range(3)]
    while ids:
        assert client.get("/api/backup/latest").json["id"] == ids[-1]
        path = f"/api/backup/{ids.pop()}"
        answer = client.request("DELETE", path, b"{}")
        assert (answer.status, answer.json) == (200, {"deleted": True})
        for method in ("GET", "DELETE"):
            assert_error(client.request(method, path), 404)
        assert backups_in(client.data_dir).keys() == {file_name(backup_id) for backup_id in ids}
        assert client.listed() == ids[::-1]


# Most of these name a file that is there, or an address that answers, if they are followed.
NO_IDS = [
    *(UNKNOWN, "2026-02-01T10-54-27-123Z-ab12", "x", "a" * 3000, "9999-99-99T99-99-99", "", ".."),
    *("../secret", "x/../../secret", "/etc/passwd", "../data/backup-{id}", "./{id}", "{id}/"),
    *("{id}.json", "backup-{id}.json", "{id}\0", "{id}\n", " {id}", "{id}?x", ".last-id"),
    *("\uff12026-01-01T00-00-00", ".keys/" + KEY),
]


def percent(text: str, times: int) -> str:
    """Write every byte as %XX, so many times over."""
    for _ in range(times):
        text = "".join(f"%{byte:02X}" for byte in text.encode())
    return text


@pytest.mark.parametrize("no_id", NO_IDS)
def test_no_id_leads_to_anything_but_a_backup(client, no_id):
    secret = b'{"id":"secret","timestamp":"x","data":{"atoms":["the secret"]}}'
    (client.data_dir.parent / "secret.json").write_bytes(secret)
    stored = client.upload({"atoms": ["kept"]}, f"?key={KEY}")["id"]
    text = no_id.format(id=stored)
    for times in (1, 2):
        for method in ("GET", "HEAD", "DELETE"):
            answer = client.request(method, f"/api/backup/{percent(text, times)}")
            assert answer.status in (404, 405), answer
        for asked in ({}, {"items": ["atoms"]}):
            asked = {"backupId": percent(text, times - 1), **asked}
            assert_error(client.post("/api/restore", asked), 404, "backup")
    assert client.listed() == [stored]


# --- POST /api/restore: what it answers is in test_responses.py -----------------------------------


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        *(({"backupId": value}, "backupId") for value in (None, 5, [])),
        *(({"items": value}, "items") for value in (None, True, 5, "atoms", ["atoms", 1])),
        *(({"items": {"snapshots": value}}, "snapshots") for value in (None, 1, "true")),
        *(({"items": items}, "Atoms") for items in ({"Atoms": False}, ["Atoms"])),
        *(({"items": items}, "restore") for items in ({"\ud800": True}, ["\ud800"])),
        *((body, "restore request") for body in (b"", b"[]", b"{}", b'{"backupId":"x\xff"}')),
        (b'{"backupId":"x","x":' + b"[" * 60_000, "restore request"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_wrong_restore_is_a_400_that_names_what_is_wrong(client, asked, word):
    body = {"backupId": UNKNOWN} | asked if isinstance(asked, dict) else asked
    assert_error(client.post("/api/restore", body), 400, word)


# --- addresses and methods ------------------------------------------------------------------------


def test_no_such_address_is_a_404(client):
    for path in (
        *("/", "/api", "/api/", "/api/nothing", "/static/x", "/api/backup/", "/api/backup/list/"),
        *("/api//backup/list", "/API/backup/list", "/api/backup/latest/x", "/api/restore/"),
    ):
        for method in ("GET", "POST", "PUT", "DELETE"):
            body = b"{}" if method == "POST" else None
            assert_error(client.request(method, path, body), 404, "/api")


@pytest.mark.parametrize(
    ("path", "others"),
    [
        ("/api/backup", ["GET", "HEAD", "PUT", "DELETE"]),
        ("/api/backup/list", ["POST", "PATCH"]),  # DELETE is that of an id
        ("/api/restore", ["GET", "HEAD", "DELETE"]),
        ("/api/health", ["POST", "TRACE", "FOO"]),
    ],
)
def test_another_method_is_a_405_that_tells_the_right_ones(client, path, others):
    for method in others:
        answer = client.request(method, path)
        assert answer.status == 405
        assert method not in answer.headers["Allow"].split(", ")
