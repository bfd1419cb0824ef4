"""Every error is one sentence in JSON."""

import pytest
from support import assert_error

from backup_server.errors import BackupError
from backup_server.storage import Storage


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        *(
            (kind("A sentence."), kind.status, "A sentence")
            for kind in BackupError.__subclasses__()
        ),
        (RuntimeError("the inner secret"), 500, "its log says why"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_is_answered_in_its_words_if_it_is_ours_and_else_logged_in_full(
    client, monkeypatch, caplog, error, status, words
):
    def fail(*_):
        raise error

    monkeypatch.setattr(Storage, "page", fail)
    answer = client.get("/api/backup/list")
    assert_error(answer, status, words)
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert (str(error) in caplog.text) == (status >= 500)
