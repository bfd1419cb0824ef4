"""``check``: a line and an exit status for cron, systemd, Nagios or a dead man's switch."""

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import click

from .. import ids
from ..series import Backup, losses, names_of, series_of
from .survey import Survey, say, survey

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def time(text: str) -> timedelta:
    """Read a time such as 26h. Help names an option's value like this function."""
    match = re.fullmatch(r"(\d{1,4})([mhdw])", text, re.ASCII)
    if not match:
        raise click.BadParameter(f"'{text}' is not a time such as 90m, 26h, 2d or 1w.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


@click.command(epilog="Example: portfolio-backup check --max-age 26h")
@click.option("--max-age", type=time, help="How old the newest may be: 26h, 2d.")
@click.option("--lost-within", type=time, default="1w", help="How long to report a loss  [1w].")
@click.option("--verify", is_flag=True, help="Read every file whole, not only its head.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def check(max_age: timedelta | None, lost_within: timedelta, verify: bool, as_json: bool) -> int:
    """Print OK, or PROBLEM and why; then a line for each device, if there are several.

    Problems are: no backup at all; a newest one older than --max-age; room on the disk for less
    than 30 days at the present rate, or that of a backup every three days; a damaged file; and a
    category of a device that lost half of its items or more, with the backup to restore it from.
    """
    stored, now = survey(whole=verify), datetime.now(UTC)
    newest = [series[-1] for series in series_of(stored.backups).values()]
    names, days = names_of(stored.backups), _days_of_room(stored, now)
    problems = list(_problems(stored, days, max_age, now - lost_within, now))
    if as_json:
        report = {
            "status": "problem" if problems else "ok",
            "problems": problems,
            "backups": len(stored.backups) + len(stored.damaged),
            "daysOfRoom": days,
            "devices": [
                {"deviceId": one.device_id, "name": names[one.device_id], "newest": one.id}
                for one in newest
            ],
        }
        say(json.dumps(report))
    elif problems:
        say(f"PROBLEM: {'; '.join(problems)}")
    else:
        room = "" if days is None else f"; room for {days:,} days"
        say(f"OK: {len(stored.backups)} backups, the newest, {_described(newest[0], now)}{room}")
    for backup in newest if len(newest) > 1 and not as_json else ():
        say(f"{names[backup.device_id]}: the newest, {_described(backup, now)}")
    return int(bool(problems))


def _problems(
    stored: Survey, days: int | None, max_age: timedelta | None, since: datetime, now: datetime
) -> Iterator[str]:
    if not stored.backups:
        yield "there is no backup that can be read"
    elif max_age is not None:
        newest = stored.backups[-1]
        # A backup ahead of the clock is not young.
        if newest.made is None or abs(now - newest.made) > max_age:
            yield f"the newest backup, {_described(newest, now)}"
    if days is not None and days < 30:
        yield f"the disk has room for {days} days at the present rate: use prune, or make room"
    for backup_id, damage in stored.damaged.items():
        yield f"{ids.file_name(backup_id)} is damaged: {damage.rstrip('.')}"
    names = names_of(stored.backups)
    for loss in losses(stored.backups):
        if not loss.is_made_good and (loss.after.made is None or loss.after.made >= since):
            device = f"{names[loss.after.device_id]}: " if len(names) > 1 else ""
            yield f"{device}{loss}: restore it from {loss.before.id}"


def _days_of_room(stored: Survey, now: datetime) -> int | None:
    """Return for how many days the disk has room; None where it does not say what is free."""
    disk = os.statvfs(stored.storage.path)
    if not stored.backups or not disk.f_blocks:
        return None
    month = timedelta(days=30)
    sizes = [one.size for one in stored.backups if one.made and abs(now - one.made) <= month]
    a_day = max(sum(sizes) / 30, stored.backups[-1].size / 3)
    return int(disk.f_bavail * disk.f_frsize / a_day)


def _described(backup: Backup, now: datetime) -> str:
    if backup.made is None:
        return f"{backup.id}, has no time"
    hours = abs(now - backup.made) / timedelta(hours=1)
    span = f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"
    return f"{backup.id}, is {span} {'old' if backup.made <= now else 'ahead of the clock'}"
