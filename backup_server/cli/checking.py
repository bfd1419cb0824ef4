"""``check``: a line and an exit status for cron, systemd, Nagios or a dead man's switch."""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from .. import ids
from ..retention import bytes_a_day
from ..series import Backup, names_of, series_of, standing_losses
from .survey import json_option, open_storage, place, print_json, say, survey

_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes"}
_LONGEST = timedelta(days=36_500)
#: Clocks of two hosts may differ by this much.
_AHEAD = timedelta(minutes=5)
#: The disk is to have room for so many days at the present rate, and for so many more backups.
_DAYS, _BACKUPS = 30, 10


class Duration(click.ParamType):
    """A length of time such as 90m, 26h, 2d, 1w or 1d12h."""

    name = "time"

    def convert(self, value: object, parameter: object, context: object) -> timedelta:
        """Return the time; anything else, or more than a hundred years, is a usage error."""
        if isinstance(value, timedelta):
            return value
        if not re.fullmatch(r"(?:\d{1,5}[mhdw])+", value, re.ASCII):
            self.fail(f"'{value}' is not a time such as 90m, 26h, 2d or 1w.", parameter, context)
        parts = re.findall(r"(\d+)([mhdw])", value)
        length = sum((timedelta(**{_UNITS[unit]: int(n)}) for n, unit in parts), timedelta())
        if length > _LONGEST:
            self.fail(f"'{value}' is more than a hundred years.", parameter, context)
        return length


@click.command(epilog="Example: portfolio-backup check --max-age 26h")
@click.option("--max-age", type=Duration(), help="How old the newest backup may be: 26h, 2d.")
@click.option(
    "--lost-within",
    type=Duration(),
    default="1w",
    show_default=True,
    help="How long to report a loss that was not made good.",
)
@click.option("--verify", is_flag=True, help="Read every file whole, not only its head.")
@json_option
def check(max_age: timedelta | None, lost_within: timedelta, verify: bool, as_json: bool) -> int:
    """Print OK, or PROBLEM and why, in one line; then a line for each device, if there are several.

    Found are: no backup at all; a newest one older than --max-age; room on the disk for less than
    30 days at the present rate, or less than ten more like the newest; a damaged file; and a
    category of a device that lost half of its items or more, with the backup to restore it from.

    With --json: directory, status ("ok" or "problem"), backups (a number), devices (the newest
    backup of each, newest first: deviceId, name, id, made, ageSeconds, size), freeBytes,
    bytesPerDay, daysOfRoom (null where unknown) and findings (kind: none, age, room, damaged or
    lost; message; of a damaged file also file; of a loss also category, had, has, restore).
    """
    storage = open_storage()
    now = datetime.now(UTC)
    backups = survey(storage, whole=verify, label="Checking")
    series = series_of(backups)
    names = names_of(series)
    newest = [of_device[-1] for of_device in series.values()]
    free, rate = _free_bytes(storage.directory), bytes_a_day(backups, now)
    days = free / rate if free is not None and rate else None
    findings = [
        *_age_findings(newest, max_age, now),
        *_room_findings(newest, free, days),
        *_damage_findings(backups),
        *_loss_findings(backups, names, now - lost_within),
    ]
    if as_json:
        print_json(
            {
                "directory": place(storage),
                "status": "problem" if findings else "ok",
                "backups": len(backups),
                "devices": [_as_json(backup, names[backup.device_id], now) for backup in newest],
                "freeBytes": free,
                "bytesPerDay": round(rate),
                "daysOfRoom": days and round(days, 1),
                "findings": findings,
            }
        )
        return 1 if findings else 0
    if findings:
        say("PROBLEM: " + "; ".join(finding["message"] for finding in findings))
    else:
        room = f"; room for {days:,.0f} days at {rate / 1e6:,.1f} MB a day" if days else ""
        say(f"OK: {len(backups)} backups, the newest, {_described(newest[0], now)}{room}")
    for backup in newest if len(newest) > 1 else ():
        say(f"{names[backup.device_id]}: the newest, {_described(backup, now)}")
    return 1 if findings else 0


def _age_findings(newest: list[Backup], max_age: timedelta | None, now: datetime) -> Iterator[dict]:
    if not newest:
        yield {"kind": "none", "message": "there is no backup that can be read"}
    elif max_age is not None:
        made = newest[0].made
        if made is None or not -_AHEAD <= now - made <= max_age:
            yield {"kind": "age", "message": f"the newest backup, {_described(newest[0], now)}"}


def _room_findings(newest: list[Backup], free: int | None, days: float | None) -> Iterator[dict]:
    if days is not None and days < _DAYS:
        room = f"{days:.0f} days at the present rate"
    elif newest and free is not None and free < _BACKUPS * newest[0].size:
        room = f"{free // newest[0].size} more backups like the newest"
    else:
        return
    message = f"the disk has room for {room}: delete old backups with prune, or make room"
    yield {"kind": "room", "message": message}


def _damage_findings(backups: list[Backup]) -> Iterator[dict]:
    for backup in backups:
        if backup.damage:
            name = ids.file_name(backup.id)
            message = f"{name} is damaged: {backup.damage.rstrip('.')}"
            yield {"kind": "damaged", "message": message, "file": name}


def _loss_findings(
    backups: list[Backup], names: dict[str | None, str], since: datetime
) -> Iterator[dict]:
    for loss in standing_losses(backups, since):
        device = f"{names[loss.after.device_id]}: " if len(names) > 1 else ""
        yield {
            "kind": "lost",
            "message": f"{device}{loss}: restore it from {loss.before.id}",
            "category": loss.category,
            "had": loss.had,
            "has": loss.has,
            "restore": loss.before.id,
        }


def _free_bytes(directory: Path) -> int | None:
    """Return what a user may still write, or None where the file system does not say."""
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize if status.f_blocks else None


def _as_json(backup: Backup, name: str, now: datetime) -> dict:
    return {
        "deviceId": backup.device_id,
        "name": name,
        "id": backup.id,
        "made": backup.made and backup.made.isoformat().replace("+00:00", "Z"),
        "ageSeconds": backup.made and int((now - backup.made).total_seconds()),
        "size": backup.size,
    }


def _described(backup: Backup, now: datetime) -> str:
    if backup.made is None:
        return f"{backup.id}, has no time"
    age = now - backup.made
    if age < -_AHEAD:
        return f"{backup.id}, is dated {_span(-age)} ahead of the clock"
    return f"{backup.id}, is {_span(max(age, timedelta()))} old"


def _span(length: timedelta) -> str:
    """Write a length of time in its two largest units."""
    minutes = int(length.total_seconds()) // 60
    if minutes < 60:
        return f"{minutes}m"
    if minutes < 48 * 60:
        return f"{minutes // 60}h{minutes % 60}m"
    return f"{minutes // 1440}d{minutes % 1440 // 60}h"
