"""The names of backups: what an id looks like, and which id comes after another.

An id is the server's UTC time, ``2026-02-01T10-54-27``. A second one in the same second gets a
counter after that, ``2026-02-01T10-54-27-0001``, so that ids sort as text in the order they were
made. The Express server's ids, ``2026-02-01T10-54-27-123Z-ab12``, are read but no longer made.
"""

import re
from datetime import datetime, timedelta

_ID = r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:-\d{4}|-\d{3}Z-[0-9a-z]{1,12})?"
_FILE_NAME = re.compile(rf"backup-({_ID})\.json", re.ASCII)
_FORMAT = "%Y-%m-%dT%H-%M-%S"


def is_id(text: str) -> bool:
    """Tell whether this text has the form of an id, ours or the Express server's."""
    return id_of(file_name(text)) is not None


def file_name(backup_id: str) -> str:
    """Return the name of a backup's file."""
    return f"backup-{backup_id}.json"


def id_of(name: str) -> str | None:
    """Return the id in a backup's file name, or None for any other file."""
    match = _FILE_NAME.fullmatch(name)
    return match[1] if match else None


def next_id(last: str, now: datetime) -> str:
    """Return the id for a backup made now: greater than ``last``, even if the clock is behind."""
    second, counter = now.strftime(_FORMAT), last[20:] or "0"
    if second > last:
        return second
    if counter.isdigit() and counter != "9999":
        return f"{last[:19]}-{int(counter) + 1:04}"
    # An Express id's milliseconds, or a counter at its end, leave no room behind them.
    try:
        return (datetime.strptime(last[:19], _FORMAT) + timedelta(seconds=1)).strftime(_FORMAT)
    except (ValueError, OverflowError):  # a file named by hand, on no day of the calendar
        return second


def iso(moment: datetime) -> str:
    """Return a UTC time in ISO 8601 with milliseconds and Z, as JavaScript writes it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
