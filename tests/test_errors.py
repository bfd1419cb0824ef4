"""Every error is one sentence in JSON, from whatever layer."""

import errno
import os

import pytest
from support import assert_error

from backup_server import create_app, errors
from backup_server.errors import BackupError, to_response
from backup_server.settings import Settings


@pytest.fixture
def client(tmp_path):
    return create_app(Settings(data_dir=tmp_path / "data")).test_client()


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/api", "/api/", "/api/nothing", "/index.html", "/favicon.ico", "/static/x"),
        *("/api/backup/", "/api/backup/list/", "/api//backup/list", "/API/backup/list"),
        *("/api/backup/latest/x", "/api/restore/", "/api/backups"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_no_such_address_is_a_404(server, method, path):
    assert_error(server.request(method, path, b"{}" if method == "POST" else None), 404, "/api")


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/api/backup", "GET HEAD PUT PATCH DELETE TRACE FOO"),
        ("/api/backup/list", "POST PUT PATCH"),
        ("/api/backup/latest", "POST PUT PATCH"),
        ("/api/backup/2020-01-01T00-00-00", "POST PUT PATCH"),
        ("/api/restore", "GET HEAD PUT PATCH DELETE"),
    ],
)
def test_another_method_is_a_405_that_tells_the_right_ones(server, path, methods):
    for method in methods.split():
        answer = server.request(method, path)
        if method == "HEAD":
            assert answer.status == 405
        else:
            assert_error(answer, 405)
        allowed = answer.headers["Allow"].split(", ")
        assert allowed
        assert method not in allowed


def test_an_unexpected_error_is_logged_in_full_and_answered_in_general(client, monkeypatch, caplog):
    def fail(*arguments):
        raise RuntimeError("the inner secret")

    monkeypatch.setattr("backup_server.storage.Storage.page", fail)
    errors.log.addHandler(caplog.handler)
    answer = client.get("/api/backup/list")
    errors.log.removeHandler(caplog.handler)
    assert answer.status_code == 500
    assert answer.mimetype == "application/json"
    assert list(answer.json) == ["error"]
    assert "secret" not in answer.json["error"]
    assert answer.json["error"].endswith(".")
    assert "the inner secret" in caplog.text


def all_of(kind: type[BackupError]) -> list[type[BackupError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in all_of(child))]


@pytest.mark.parametrize("kind", all_of(BackupError))
def test_each_of_our_exceptions_has_a_status_and_gives_its_sentence(kind):
    error = kind("One sentence.")
    answer = to_response(error)
    assert answer.status_code == kind.status
    assert answer.json == {"error": str(error)}
    assert answer.json["error"].startswith("One sentence")
    assert ("Retry-After" in answer.headers) == (kind.status == 503)


def test_no_room_is_a_507_that_says_what_to_do(client, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    answer = client.post("/api/backup", json={})
    assert (answer.status_code, answer.json["error"]) == (
        507,
        "The backup could not be stored: No space left on device; delete old backups, or make room "
        "on the disk.",
    )
