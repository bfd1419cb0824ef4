"""``check``: a line and an exit status for cron, systemd, Nagios or a dead man's switch."""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import click

from .. import ids
from ..retention import bytes_a_day
from ..series import Backup, names_of, series_of, standing_losses
from ..storage import Storage, iso
from .survey import json_option, open_storage, print_json, say, survey

#: Clocks of two hosts may differ by this much.
_AHEAD = timedelta(minutes=5)
#: The disk is to have room for so many days at the present rate, and for so many more backups.
_DAYS, _BACKUPS = 30, 10
#: Its kind (none, age, room, damaged or lost), and what to tell the owner.
Finding = tuple[str, str]
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Duration(click.ParamType):
    """A length of time such as 90m, 26h, 2d or 1w, 191 years at most."""

    name = "time"

    def convert(self, value: str, parameter: object, context: object) -> timedelta:
        """Return the time; anything else is a usage error."""
        match = re.fullmatch(r"(\d{1,4})([mhdw])", value, re.ASCII)
        if not match:
            self.fail(f"'{value}' is not a time such as 90m, 26h, 2d or 1w.", parameter, context)
        return timedelta(**{_UNITS[match[2]]: int(match[1])})


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
    """Print OK, or PROBLEM and why; then a line for each device, if there are several.

    Problems are: no backup at all; a newest one older than --max-age; room on the disk for less
    than 30 days at the present rate, or less than ten more like the newest; a damaged file; and a
    category of a device that lost half of its items or more, with the backup to restore it from.
    """
    storage = open_storage()
    now = datetime.now(UTC)
    backups = survey(storage, whole=verify)
    series = series_of(backups)
    names = names_of(series)
    newest = [of_device[-1] for of_device in series.values()]
    free, rate = _free_bytes(storage), bytes_a_day(backups, now)
    days = int(free / rate) if free is not None and rate else None
    findings = [
        *_age(newest, max_age, now),
        *_room(newest, free, days),
        *_damage(backups),
        *_losses(backups, names, now - lost_within),
    ]
    if as_json:
        print_json(
            {
                "directory": str(storage.directory),
                "status": "problem" if findings else "ok",
                "backups": len(backups),
                "devices": [
                    {
                        "deviceId": backup.device_id,
                        "name": names[backup.device_id],
                        "newest": backup.id,
                        "made": backup.made and iso(backup.made),
                    }
                    for backup in newest
                ],
                "daysOfRoom": days,
                "findings": [{"kind": kind, "message": message} for kind, message in findings],
            }
        )
        return 1 if findings else 0
    if findings:
        say("PROBLEM: " + "; ".join(message for _, message in findings))
    else:
        room = "" if days is None else f"; room for {days:,} days at the present rate"
        say(f"OK: {len(backups)} backups, the newest, {_described(newest[0], now)}{room}")
    for backup in newest if len(newest) > 1 else ():
        say(f"{names[backup.device_id]}: the newest, {_described(backup, now)}")
    return 1 if findings else 0


def _age(newest: list[Backup], max_age: timedelta | None, now: datetime) -> Iterator[Finding]:
    if not newest:
        yield "none", "there is no backup that can be read"
    elif max_age is not None:
        made = newest[0].made
        if made is None or not -_AHEAD <= now - made <= max_age:
            yield "age", f"the newest backup, {_described(newest[0], now)}"


def _free_bytes(storage: Storage) -> int | None:
    """Return what a user may still write, or None where the file system does not say."""
    status = os.statvfs(storage.directory)
    return status.f_bavail * status.f_frsize if status.f_blocks else None


def _room(newest: list[Backup], free: int | None, days: int | None) -> Iterator[Finding]:
    cure = "delete old backups with prune, or make room"
    if days is not None and days < _DAYS:
        yield "room", f"the disk has room for {days} days at the present rate: {cure}"
    elif newest and free is not None and free < _BACKUPS * newest[0].size:
        more = free // newest[0].size
        yield "room", f"the disk has room for {more} more backups like the newest: {cure}"


def _damage(backups: list[Backup]) -> Iterator[Finding]:
    for backup in backups:
        if backup.damage:
            yield "damaged", f"{ids.file_name(backup.id)} is damaged: {backup.damage.rstrip('.')}"


def _losses(
    backups: list[Backup], names: dict[str | None, str], since: datetime
) -> Iterator[Finding]:
    for loss in standing_losses(backups, since):
        device = f"{names[loss.after.device_id]}: " if len(names) > 1 else ""
        yield "lost", f"{device}{loss}: restore it from {loss.before.id}"


def _described(backup: Backup, now: datetime) -> str:
    if backup.made is None:
        return f"{backup.id}, has no time"
    age = now - backup.made
    if age < -_AHEAD:
        return f"{backup.id}, is dated {_span(-age)} ahead of the clock"
    return f"{backup.id}, is {_span(max(age, timedelta()))} old"


def _span(length: timedelta) -> str:
    """Write a length of time in its two largest units."""
    hours, minutes = divmod(int(length.total_seconds()) // 60, 60)
    return f"{hours}h{minutes}m" if hours < 48 else f"{hours // 24}d{hours % 24}h"
