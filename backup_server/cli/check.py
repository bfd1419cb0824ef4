"""``check``: a line and an exit status for cron, systemd, Nagios or a dead man's switch."""

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from .. import ids
from ..series import Backup, names_of, series_of, standing_losses
from .survey import json_option, open_storage, say, survey

_MONTH = timedelta(days=30)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _time(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,4})([mhdw])", text, re.ASCII)
    if not match:
        raise click.BadParameter(f"'{text}' is not a time such as 90m, 26h, 2d or 1w.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


@click.command(epilog="Example: portfolio-backup check --max-age 26h")
@click.option("--max-age", type=_time, metavar="TIME", help="How old the newest may be: 26h, 2d.")
@click.option(
    "--lost-within",
    type=_time,
    default="1w",
    metavar="TIME",
    help="How long to report a loss that was not made good  [default: 1w].",
)
@click.option("--verify", is_flag=True, help="Read every file whole, not only its head.")
@json_option
def check(max_age: timedelta | None, lost_within: timedelta, verify: bool, as_json: bool) -> int:
    """Print OK, or PROBLEM and why; then a line for each device, if there are several.

    Problems are: no backup at all; a newest one older than --max-age; room on the disk for less
    than 30 days at the present rate, or that of a backup every three days; a damaged file; and a
    category of a device that lost half of its items or more, with the backup to restore it from.
    """
    storage = open_storage()
    now = datetime.now(UTC)
    backups = survey(storage, whole=verify)
    series = series_of(backups)
    names = names_of(series)
    newest = [of_device[-1] for of_device in series.values()]
    days = _days_of_room(storage.directory, backups, now)
    problems = [
        *_problems_of_newest(newest, max_age, days, now),
        *(
            f"{ids.file_name(one.id)} is damaged: {one.damage.rstrip('.')}"
            for one in backups
            if one.damage
        ),
        *_losses(backups, names, now - lost_within),
    ]
    if as_json:
        devices = [
            {"deviceId": backup.device_id, "name": names[backup.device_id], "newest": backup.id}
            for backup in newest
        ]
        status = {"status": "problem" if problems else "ok", "problems": problems}
        say(json.dumps(status | {"backups": len(backups), "daysOfRoom": days, "devices": devices}))
        return int(bool(problems))
    if problems:
        say(f"PROBLEM: {'; '.join(problems)}")
    else:
        room = "" if days is None else f"; room for {days:,} days"
        say(f"OK: {len(backups)} backups, the newest, {_described(newest[0], now)}{room}")
    for backup in newest if len(newest) > 1 else ():
        say(f"{names[backup.device_id]}: the newest, {_described(backup, now)}")
    return int(bool(problems))


def _days_of_room(directory: Path, backups: list[Backup], now: datetime) -> int | None:
    """Return for how many days the disk has room; None where it does not say what is free."""
    disk = os.statvfs(directory)
    readable = [backup for backup in backups if not backup.damage]
    if not readable or not disk.f_blocks:
        return None
    month = [one.size for one in readable if one.made and abs(now - one.made) <= _MONTH]
    return int(disk.f_bavail * disk.f_frsize / max(sum(month) / 30, readable[-1].size / 3))


def _problems_of_newest(
    newest: list[Backup], max_age: timedelta | None, days: int | None, now: datetime
) -> Iterator[str]:
    if not newest:
        yield "there is no backup that can be read"
    elif max_age is not None:
        made = newest[0].made
        if made is None or abs(now - made) > max_age:  # one ahead of the clock is no young one
            yield f"the newest backup, {_described(newest[0], now)}"
    if days is not None and days < 30:
        yield f"the disk has room for {days} days at the present rate: use prune, or make room"


def _losses(backups: list[Backup], names: dict[str | None, str], since: datetime) -> Iterator[str]:
    for loss in standing_losses(backups, since):
        device = f"{names[loss.after.device_id]}: " if len(names) > 1 else ""
        yield f"{device}{loss}: restore it from {loss.before.id}"


def _described(backup: Backup, now: datetime) -> str:
    if backup.made is None:
        return f"{backup.id}, has no time"
    hours = abs(now - backup.made) / timedelta(hours=1)
    span = f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"
    return f"{backup.id}, is {span} {'old' if backup.made <= now else 'ahead of the clock'}"
