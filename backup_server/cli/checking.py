"""``check``: one line and an exit status for cron, systemd, Nagios or a dead man's switch."""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import click

from .. import ids
from ..retention import Backup, Loss, losses, lost_half
from ..storage import Storage
from .manual import COMMAND_EXITS, DATA_DIR, ManualCommand
from .survey import json_option, open_storage, place, print_json, survey

_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes"}
#: Clocks of two hosts may differ by so much without a word.
_AHEAD = timedelta(minutes=5)
#: The disk is to have room for so many more backups like the newest.
_ROOM = 10


class Duration(click.ParamType):
    """A length of time such as 90m, 26h, 2d, 1w or 1d12h."""

    name = "duration"

    def convert(self, value: object, parameter: object, context: object) -> timedelta:
        """Return the time; anything else is a usage error."""
        if isinstance(value, timedelta):
            return value
        if not re.fullmatch(r"(?:\d{1,5}[mhdw])+", value, re.ASCII):
            self.fail(f"'{value}' is not a time such as 90m, 26h, 2d or 1w.", parameter, context)
        parts = re.findall(r"(\d+)([mhdw])", value)
        return sum((timedelta(**{_UNITS[unit]: int(n)}) for n, unit in parts), timedelta())


@click.command(
    cls=ManualCommand,
    sections={
        "Exit status": [
            ("0", "All is well; the line begins with OK."),
            ("1", "Something was found; the line begins with PROBLEM and names all of it."),
            COMMAND_EXITS[2],
        ],
        "Environment": DATA_DIR,
        "Example": [("portfolio-backup check --max-age 26h", "")],
    },
)
@click.option(
    "--max-age", type=Duration(), metavar="TIME", help="How old the newest backup may be: 26h, 2d."
)
@click.option(
    "--lost-within",
    type=Duration(),
    default="1w",
    show_default=True,
    metavar="TIME",
    help="How long to tell of a loss that was not made good.",
)
@click.option("--verify", is_flag=True, help="Read every file whole, not only its head.")
@json_option
def check(max_age: timedelta | None, lost_within: timedelta, verify: bool, as_json: bool) -> int:
    """Tell in one line whether the backups are in order.

    Found are: no backup at all; a newest one older than --max-age; room on the disk for less than
    ten more like it; a damaged file; and a category that lost half of its items or more from one
    backup to the next, with the backup to restore it from.

    With --json: directory, status ("ok" or "problem"), backups (a number), newest (id, made,
    ageSeconds, size; or null), freeBytes (or null) and findings (kind: none, age, room, damaged or
    lost; message; of a loss also category, had, has and restore; of a damaged file also file).
    """
    storage = open_storage()
    now = datetime.now(UTC)
    backups = survey(storage, whole=verify, label="Checking")
    newest = next((backup for backup in reversed(backups) if not backup.damage), None)
    free = _free_bytes(storage)
    findings = [
        *_of_newest(newest, max_age, now, free),
        *_damaged(backups),
        *_lost(backups, newest, now - lost_within),
    ]
    if as_json:
        print_json(_document(storage, backups, newest, now, free, findings))
    elif findings:
        click.echo("PROBLEM: " + "; ".join(finding["message"] for finding in findings))
    else:
        click.echo(f"OK: {len(backups)} backups, the newest, {newest.id}, {_age(newest, now)}")
    return 1 if findings else 0


def _of_newest(
    newest: Backup | None, max_age: timedelta | None, now: datetime, free: int | None
) -> Iterator[dict]:
    if newest is None:
        yield {"kind": "none", "message": "there is no backup that can be read"}
        return
    if max_age is not None and (newest.made is None or not -_AHEAD <= now - newest.made <= max_age):
        yield {"kind": "age", "message": f"the newest backup, {newest.id}, {_age(newest, now)}"}
    if free is not None and free < _ROOM * newest.size:
        message = f"{free:,} bytes are free, and the newest backup has {newest.size:,}"
        yield {"kind": "room", "message": message}


def _damaged(backups: list[Backup]) -> Iterator[dict]:
    for backup in backups:
        if backup.damage:
            name = ids.file_name(backup.id)
            sentence = backup.damage.rstrip(".")
            yield {"kind": "damaged", "message": f"{name} is damaged: {sentence}", "file": name}


def _lost(backups: list[Backup], newest: Backup | None, since: datetime) -> Iterator[dict]:
    """Yield each category's loss since then, unless the newest backup has made it good."""
    worst: dict[str, Loss] = {}
    for loss in losses(backups):
        is_recent = loss.after.made is None or loss.after.made >= since
        if is_recent and lost_half(loss.had, newest.counts.get(loss.category, 0)):
            known = worst.get(loss.category)
            if known is None or loss.had >= known.had:
                worst[loss.category] = loss
    for loss in worst.values():
        yield {
            "kind": "lost",
            "message": f"{loss}: restore it from {loss.before.id}",
            "category": loss.category,
            "had": loss.had,
            "has": loss.has,
            "restore": loss.before.id,
        }


def _free_bytes(storage: Storage) -> int | None:
    """Return what a user may still write, or None where the file system does not tell."""
    status = os.statvfs(storage.directory)
    return status.f_bavail * status.f_frsize if status.f_blocks else None


def _age(backup: Backup, now: datetime) -> str:
    if backup.made is None:
        return "has no time"
    seconds = int((now - backup.made).total_seconds())
    if seconds < -_AHEAD.total_seconds():
        return f"is dated {_span(-seconds)} ahead of the clock"
    return f"is {_span(max(seconds, 0))} old"


def _span(seconds: int) -> str:
    """Write a length of time in its two largest units."""
    minutes = seconds // 60
    if minutes < 60:
        return f"{minutes}m"
    if minutes < 48 * 60:
        return f"{minutes // 60}h{minutes % 60}m"
    return f"{minutes // 1440}d{minutes % 1440 // 60}h"


def _document(
    storage: Storage,
    backups: list[Backup],
    newest: Backup | None,
    now: datetime,
    free: int | None,
    findings: list[dict],
) -> dict:
    return {
        "directory": place(storage),
        "status": "problem" if findings else "ok",
        "backups": len(backups),
        "newest": newest
        and {
            "id": newest.id,
            "made": newest.made and newest.made.isoformat().replace("+00:00", "Z"),
            "ageSeconds": newest.made and int((now - newest.made).total_seconds()),
            "size": newest.size,
        },
        "freeBytes": free,
        "findings": findings,
    }
