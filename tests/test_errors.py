"""Every error is one sentence in JSON."""

import pytest

from backup_server import errors
from backup_server.errors import BackupError, to_response


def test_an_unexpected_error_is_logged_in_full_and_answered_in_general(client, monkeypatch, caplog):
    def fail(*arguments):
        raise RuntimeError("the inner secret")

    monkeypatch.setattr("backup_server.storage.Storage.page", fail)
    monkeypatch.setattr(errors.log, "propagate", True)
    answer = client.get("/api/backup/list")
    assert answer.status == 500
    assert answer.json == {"error": "The server failed while answering; its log says why."}
    assert "the inner secret" in caplog.text


def all_of(kind: type[BackupError]) -> list[type[BackupError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in all_of(child))]


@pytest.mark.parametrize("kind", all_of(BackupError))
def test_each_of_our_exceptions_has_a_status_and_gives_its_sentence(kind):
    answer = to_response(kind("One sentence."))
    assert answer.status_code == kind.status
    assert answer.json["error"].startswith("One sentence")
    assert ("Retry-After" in answer.headers) == (kind.status == 503)
