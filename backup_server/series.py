"""Which backups belong together, and what was lost from one to the next. Reads nothing.

The backups of one device (``deviceId``) are a series; those without a deviceId are one, too. Two
devices of one owner are two histories: a backup is compared only with the one before it in its
series. Wherever several backups are given, they come oldest first.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

#: The name of the series without a deviceId. No deviceId has brackets.
NO_DEVICE = "(no device)"


class Backup(NamedTuple):
    """A backup as the rules see it.

    ``made`` is in UTC, and None if it is unknown; ``size`` is in bytes; ``counts`` is by category.
    Of a backup with ``damage``, which says what is wrong, only the id is known.
    """

    id: str
    made: datetime | None
    size: int
    counts: Mapping[str, int]
    device_id: str | None = None
    device: str | None = None
    damage: str | None = None


class Loss(NamedTuple):
    """A category that lost half of its items or more from a backup to its successor."""

    category: str
    had: int
    has: int
    before: Backup
    after: Backup

    def __str__(self) -> str:
        return f"{self.category} fell from {self.had} to {self.has}"


def series_of(backups: Sequence[Backup]) -> dict[str | None, list[Backup]]:
    """Group readable backups by deviceId; the series with the newest backup comes first."""
    series: dict[str | None, list[Backup]] = {}
    for backup in backups:
        if not backup.damage:
            series.setdefault(backup.device_id, []).append(backup)
    return dict(sorted(series.items(), key=lambda item: item[1][-1].id, reverse=True))


def names_of(series: Mapping[str | None, Sequence[Backup]]) -> dict[str | None, str]:
    """Name each series by its newest ``device``; where two are alike, with its id's beginning."""
    names: dict[str | None, str] = {}
    for device_id, backups in series.items():
        devices = [backup.device for backup in backups if backup.device]
        start = device_id[:8] if device_id else NO_DEVICE
        names[device_id] = devices[-1] if devices and device_id else start
    times = Counter(names.values())
    return {
        device_id: f"{name} ({device_id[:8]})" if device_id and times[name] > 1 else name
        for device_id, name in names.items()
    }


def predecessors(backups: Sequence[Backup]) -> dict[str, Backup]:
    """Return the backup to compare each readable one with, by id.

    It is the one before it in its series. The first of a series follows the newest earlier backup
    of the same ``device``, or else of those without a deviceId, since cleared site data takes the
    deviceId along.
    """
    found: dict[str, Backup] = {}
    of_series: dict[str | None, Backup] = {}
    of_name: dict[str | None, Backup] = {}
    for backup in backups:
        if backup.damage:
            continue
        same_device = of_series.get(backup.device_id) or of_name.get(backup.device)
        if before := same_device or of_series.get(None):
            found[backup.id] = before
        of_series[backup.device_id] = backup
        if backup.device:
            of_name[backup.device] = backup
    return found


def lost_half(had: int, has: int) -> bool:
    """Tell whether half or more is gone, of however few: 1 to 0 and 2 to 1 are, 3 to 2 is not."""
    return had > 0 and 2 * has <= had


def losses(backups: Sequence[Backup]) -> list[Loss]:
    """Return what was lost from each backup to its successor."""
    before = predecessors(backups)
    return [
        Loss(category, had, after.counts.get(category, 0), before[after.id], after)
        for after in backups
        if after.id in before
        for category, had in before[after.id].counts.items()
        if lost_half(had, after.counts.get(category, 0))
    ]


def standing_losses(backups: Sequence[Backup], since: datetime) -> list[Loss]:
    """Return the losses since then that no later backup has made good.

    Later is the newest backup of a series that goes back to the loss, from predecessor to
    predecessor: what another device has makes nothing good.
    """
    before = predecessors(backups)
    newest = [series[-1] for series in series_of(backups).values()]
    lines = [(backup, _line(backup, before)) for backup in newest]
    return [
        loss
        for loss in losses(backups)
        if (loss.after.made is None or loss.after.made >= since)
        and all(
            lost_half(loss.had, heir.counts.get(loss.category, 0))
            for heir, line in lines
            if loss.after.id in line
        )
    ]


def _line(backup: Backup, before: Mapping[str, Backup]) -> set[str]:
    line = {backup.id}
    while backup := before.get(backup.id):
        line.add(backup.id)
    return line
