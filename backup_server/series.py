"""Which backups belong together, and what was lost from one to the next. Reads nothing.

The backups of one device (``deviceId``) are a series; those without a deviceId are one, too. Two
devices of one owner are two histories: a backup is compared only with the one before it in its
series. Wherever several backups are given, all can be read, and they come oldest first.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

#: The name of the series without a deviceId. No deviceId has brackets.
NO_DEVICE = "(no device)"


class Backup(msgspec.Struct, rename={"made": "timestamp", "device_id": "deviceId"}):
    """A backup as the rules see it, and as JSON shows it.

    ``made`` is in UTC, None if it is unknown; ``size`` is in bytes; ``counts`` has every category.
    """

    id: str
    made: datetime | None
    size: int
    counts: dict[str, int]
    device_id: str | None = None
    device: str | None = None


@dataclass
class Loss:
    """A category that lost half of its items or more from a backup to its successor.

    It is made good once a later backup, which goes back to it from predecessor to predecessor, has
    more than half of the items again: what another device has makes nothing good.
    """

    category: str
    before: Backup
    after: Backup
    is_made_good: bool = False

    def __str__(self) -> str:
        had, has = self.before.counts[self.category], self.after.counts[self.category]
        return f"{self.category} fell from {had} to {has}"

    def remains_in(self, later: Backup) -> bool:
        """Tell whether half or more is still gone, of however few: 1 of 2 is, 1 of 3 is not."""
        return 2 * later.counts[self.category] <= self.before.counts[self.category]


def series_of(backups: Sequence[Backup]) -> dict[str | None, list[Backup]]:
    """Group backups by deviceId; the series with the newest backup comes first."""
    series: dict[str | None, list[Backup]] = {}
    for backup in backups:
        series.setdefault(backup.device_id, []).append(backup)
    return dict(sorted(series.items(), key=lambda item: item[1][-1].id, reverse=True))


def names_of(backups: Sequence[Backup]) -> dict[str | None, str]:
    """Name each series by its newest ``device``; where two are alike, with its id's beginning."""
    names = {one: one[:8] if one else NO_DEVICE for one in series_of(backups)}
    names |= {one.device_id: one.device for one in backups if one.device_id and one.device}
    times = Counter(names.values())
    return {
        device_id: f"{name} ({device_id[:8]})" if device_id and times[name] > 1 else name
        for device_id, name in names.items()
    }


def successions(backups: Sequence[Backup]) -> Iterator[tuple[Backup, Backup]]:
    """Yield each backup after the one it is compared with, if there is one.

    That is the one before it in its series. The first of a series follows the newest earlier backup
    of the same ``device``, or else of those without a deviceId, since cleared site data takes the
    deviceId along.
    """
    of_series: dict[str | None, Backup] = {}
    of_name: dict[str | None, Backup] = {}
    for backup in backups:
        same_device = of_series.get(backup.device_id) or of_name.get(backup.device)
        if before := same_device or of_series.get(None):
            yield before, backup
        of_series[backup.device_id] = backup
        if backup.device:
            of_name[backup.device] = backup


def losses(backups: Sequence[Backup]) -> list[Loss]:
    """Return what was lost from each backup to the next, also where it was made good since."""
    found: list[Loss] = []
    missing: dict[str, list[Loss]] = {}  # by backup: what it has not made good
    for before, backup in successions(backups):
        new = [Loss(category, before, backup) for category, had in before.counts.items() if had]
        new = [loss for loss in new if loss.remains_in(backup)]
        earlier = missing.get(before.id, [])
        missing[backup.id] = new + [loss for loss in earlier if loss.remains_in(backup)]
        for loss in earlier:
            loss.is_made_good = loss.is_made_good or not loss.remains_in(backup)
        found += new
    return found
