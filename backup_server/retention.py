"""Which backups to keep: rules only, nothing is read.

Each series is thinned alone, by the rules of ``restic forget`` (its manual page), which groups by
host where this groups by device. Each rule keeps the newest backup of each of the last N days, ISO
weeks, months or years that have one, or the last N backups. What one rule keeps is kept. A rule
with fewer backups than N keeps the oldest, too.
"""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import NamedTuple

from .series import Backup, losses, series_of


class Verdict(NamedTuple):
    """A backup and the reasons to keep it: without a reason it is to be deleted."""

    backup: Backup
    reasons: list[str]


#: The period that a backup belongs to, by rule; its argument is the time where the owner lives.
PERIODS: dict[str, Callable[[datetime], Hashable]] = {
    "daily": lambda local: local.date(),
    "weekly": lambda local: local.isocalendar()[:2],
    "monthly": lambda local: (local.year, local.month),
    "yearly": lambda local: local.year,
}


def decide(
    backups: Sequence[Backup],
    rules: Mapping[str, int],
    zone: tzinfo | None,
    ended: Collection[str | None] = (),
) -> list[Verdict]:
    """Decide on all backups, which come oldest first and are returned newest first.

    ``rules`` tells how many backups each of ``last`` and PERIODS keeps in a series; without rules
    all are kept. ``zone`` is where days begin, None the system's. Always kept are the newest backup
    of a series, the last one before a loss, one of unknown time, and a damaged one, which fills no
    rule. Of the series ``ended`` are kept only those before a loss in another series.
    """
    reasons: dict[str, list[str]] = {backup.id: [] for backup in backups}
    for device_id, series in series_of(backups).items():
        if device_id in ended:
            continue
        reasons[series[-1].id].append("newest")
        kept = [pair for rule, n in rules.items() for pair in _kept(rule, n, series[::-1], zone)]
        for backup, reason in kept if rules else [(backup, "no rule") for backup in series]:
            if reason not in reasons[backup.id]:
                reasons[backup.id].append(reason)
    for loss in losses(backups):
        if loss.after.device_id in ended:
            continue
        reasons[loss.before.id].append(f"before {loss}")
        if loss.before.device_id != loss.after.device_id:
            # Or the next backup would be the first of its series, and the loss would be a new one.
            reasons[loss.after.id].append(f"after {loss}")
    for backup in backups:
        if backup.damage:
            reasons[backup.id].append("damaged")
        elif _local(backup, zone) is None and backup.device_id not in ended:
            reasons[backup.id].append("of unknown time")
    return [Verdict(backup, reasons[backup.id]) for backup in reversed(backups)]


def _kept(
    rule: str, number: int, newest_first: list[Backup], zone: tzinfo | None
) -> list[tuple[Backup, str]]:
    """Return what one rule keeps of a series, each with the reason."""
    kept, periods = [], set()
    for backup in newest_first:
        local = _local(backup, zone)
        period = backup.id if rule == "last" else local and PERIODS[rule](local)
        if period is None or period in periods:
            continue
        if len(periods) == number:
            return kept
        periods.add(period)
        kept.append((backup, rule))
    if newest_first and len(periods) < number:
        kept.append((newest_first[-1], "oldest"))
    return kept


def _local(backup: Backup, zone: tzinfo | None) -> datetime | None:
    """Return when a backup was made in this zone; None where that is on no calendar."""
    try:
        return backup.made and backup.made.astimezone(zone)
    except (OverflowError, ValueError, OSError):  # of the year 9999 or 1, in the next zone
        return None
