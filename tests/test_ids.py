"""The names of backups."""

from datetime import UTC, datetime

import pytest

from backup_server.ids import next_id

NOW = datetime(2026, 2, 1, 10, 54, 27, 999999, tzinfo=UTC)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("", "2026-02-01T10-54-27"),
        ("2026-02-01T10-54-26-0007", "2026-02-01T10-54-27"),
        ("2026-02-01T10-54-27", "2026-02-01T10-54-27-0001"),
        ("2026-02-01T10-54-27-0009", "2026-02-01T10-54-27-0010"),
        ("2026-02-01T10-54-27-9999", "2026-02-01T10-54-28"),
        ("2026-02-01T10-54-27-123Z-ab12", "2026-02-01T10-54-28"),
        ("2026-12-31T23-59-59-9999", "2027-01-01T00-00-00"),
        ("2031-01-01T00-00-00", "2031-01-01T00-00-00-0001"),
        ("9999-99-99T99-99-99-9999", "2026-02-01T10-54-27"),  # named by hand: it stops no new ids
    ],
)
def test_the_next_id_is_the_utc_time_or_sorts_after_the_last(last, expected):
    assert next_id(last, NOW) == expected
