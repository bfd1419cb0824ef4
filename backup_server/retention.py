"""Which backups to keep, and what was lost from one to the next: rules only, nothing is read.

The keep rules are those of ``restic forget`` (its manual page): each keeps the newest backup of
each of the last so many days, ISO weeks, months or years that have one, or the last so many
backups; what any of them keeps is kept. One that runs out of backups keeps the oldest as well.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import datetime, tzinfo
from itertools import pairwise
from typing import NamedTuple


class Backup(NamedTuple):
    """A backup as the rules see it.

    ``made`` is in UTC, and None if that cannot be told; ``size`` is in bytes, ``counts`` by
    category. Of one with ``damage``, which says what is wrong, only the id is known.
    """

    id: str
    made: datetime | None
    size: int
    counts: Mapping[str, int]
    damage: str | None = None
    is_summed: bool = True


class Loss(NamedTuple):
    """A category that lost half of its items or more: how many there were and are.

    ``before`` is the last backup that had them, ``after`` the one that followed.
    """

    category: str
    had: int
    has: int
    before: Backup
    after: Backup

    def __str__(self) -> str:
        return f"{self.category} fell from {self.had} to {self.has}"


class Verdict(NamedTuple):
    """A backup, and by what it is kept: without a reason it is to be deleted."""

    backup: Backup
    reasons: list[str]


#: The period that a backup belongs to, by rule; its argument is the time where the owner lives.
PERIODS: dict[str, Callable[[datetime], Hashable]] = {
    "daily": lambda local: local.date(),
    "weekly": lambda local: local.isocalendar()[:2],
    "monthly": lambda local: (local.year, local.month),
    "yearly": lambda local: local.year,
}


def lost_half(had: int, has: int) -> bool:
    """Tell whether half or more is gone, of however few: 1 to 0 and 2 to 1 are, 3 to 2 is not."""
    return had > 0 and 2 * has <= had


def losses(backups: Sequence[Backup]) -> list[Loss]:
    """Return what was lost from each readable backup to the next; they come oldest first."""
    readable = [backup for backup in backups if not backup.damage]
    return [
        Loss(category, had, after.counts.get(category, 0), before, after)
        for before, after in pairwise(readable)
        for category, had in before.counts.items()
        if lost_half(had, after.counts.get(category, 0))
    ]


def decide(
    backups: Sequence[Backup], rules: Mapping[str, int], zone: tzinfo | None
) -> list[Verdict]:
    """Decide on all backups, which come oldest first and are returned newest first.

    ``rules`` tells how many each of ``last`` and PERIODS keeps; ``zone`` is where days begin, None
    the system's. Never without a reason are the newest readable backup, a damaged one (which fills
    no rule), one whose time is not known, and the last one before a loss.
    """
    reasons: dict[str, list[str]] = {backup.id: [] for backup in backups}
    sound = [backup for backup in reversed(backups) if not backup.damage]
    if sound:
        reasons[sound[0].id].append("newest")
    for rule, number in rules.items():
        for backup, reason in _kept(rule, number, sound, zone):
            if reason not in reasons[backup.id]:
                reasons[backup.id].append(reason)
    for loss in losses(backups):
        reasons[loss.before.id].append(f"before {loss}")
    for backup in backups:
        if backup.damage:
            reasons[backup.id].append("damaged")
        elif backup.made is None:
            reasons[backup.id].append("of unknown time")
    return [Verdict(backup, reasons[backup.id]) for backup in reversed(backups)]


def _kept(
    rule: str, number: int, newest_first: list[Backup], zone: tzinfo | None
) -> list[tuple[Backup, str]]:
    """Return what one rule keeps, each with the reason."""
    kept, periods = [], set()
    for backup in newest_first:
        period = _period(rule, backup, zone)
        if period is None or period in periods:
            continue
        if len(periods) == number:
            return kept
        periods.add(period)
        kept.append((backup, rule))
    if newest_first and len(periods) < number:
        kept.append((newest_first[-1], "oldest"))
    return kept


def _period(rule: str, backup: Backup, zone: tzinfo | None) -> Hashable:
    if rule == "last":
        return backup.id
    return PERIODS[rule](backup.made.astimezone(zone)) if backup.made else None
