"""GET /api/health: whether backups can be stored, asked once a second and by anyone."""

import os
import time
from datetime import UTC, datetime
from errno import EIO, EPERM

import pytest
from support import Client, assert_error


def test_a_healthy_server_says_so_and_when_and_leaves_no_trace(client):
    client.upload({})
    before = sorted(os.listdir(client.data_dir))
    answer = client.get("/api/health")
    assert (answer.status, list(answer.json)) == (200, ["status", "timestamp"])
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json["status"] == "ok"
    assert answer.json["timestamp"].endswith("Z")
    age = datetime.now(UTC) - datetime.fromisoformat(answer.json["timestamp"])
    assert abs(age.total_seconds()) < 10
    assert sorted(os.listdir(client.data_dir)) == before


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "", "a b"])
def test_it_needs_no_token_and_no_trusted_host_name(make_client, host):
    client = make_client(BACKUP_TOKEN="t0ken", TRUSTED_HOSTS="portfolio.example")
    assert client.get("/api/health", Host=host).status == 200
    assert_error(client.get("/api/backup/list", Host="portfolio.example"), 401)


def unavailable(client: Client) -> str:
    answer = client.get("/api/health")
    assert (answer.status, list(answer.json)) == (503, ["status", "timestamp", "error"])
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json["status"] == "unavailable"
    assert answer.json["error"].endswith(".")
    return answer.json["error"]


@pytest.mark.parametrize(("name", "words"), [("link", "no hard"), ("symlink", "no symbolic")])
def test_a_file_system_without_links_is_said_to_be_unfit_from_the_first_call_on(
    make_client, monkeypatch, name, words
):
    def refuse(*_, **__):
        raise OSError(EPERM, os.strerror(EPERM))

    monkeypatch.setattr(os, name, refuse)
    client = make_client()
    for _ in range(2):
        assert f"{client.data_dir}: there are {words} links" in unavailable(client)
    monkeypatch.undo()
    assert client.get("/api/health").status == 200


@pytest.mark.parametrize(("later", "is_tried"), [(0.9, False), (1.1, True)])
def test_after_a_success_nothing_is_tried_for_a_second(client, monkeypatch, later, is_tried):
    now = time.monotonic() + 10
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert client.get("/api/health").status == 200
    now += later

    def fail(*_, **__):
        raise OSError(EIO, os.strerror(EIO))

    monkeypatch.setattr(os, "open", fail)
    assert client.get("/api/health").status == (503 if is_tried else 200)
