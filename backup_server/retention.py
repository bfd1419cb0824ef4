"""Which backups to keep: rules only, nothing is read.

Each series is thinned alone, by the rules of ``restic forget`` (its manual page), which groups by
host where this groups by device. What one rule keeps is kept. A rule with fewer backups than N
keeps the oldest, too.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from .series import Backup, losses, series_of

#: By rule: what it keeps, and the form in which times of one period are alike (not of ``last``).
RULES = {
    "last": ("the last N backups", None),
    "daily": ("the newest of each of the last N days that have one", "%Y-%m-%d"),
    "weekly": ("the newest of each of the last N weeks, from Monday", "%G-W%V"),
    "monthly": ("the newest of each of the last N months", "%Y-%m"),
    "yearly": ("the newest of each of the last N years", "%Y"),
}


def decide(
    backups: Sequence[Backup],
    rules: Mapping[str, int],
    ended: Collection[str | None] = (),
) -> dict[str, list[str]]:
    """Return the reasons to keep each backup, by id: without a reason it is to be deleted.

    ``backups`` come oldest first; ``rules`` gives N for some of RULES. Days are those of the
    system's time zone. Always kept are the newest backup of a series, the last one before a loss,
    and one of unknown time. Of the series ``ended`` only those before another's loss are.
    """
    reasons: dict[str, list[str]] = {backup.id: [] for backup in backups}
    for device_id, series in series_of(backups).items():
        if device_id in ended:
            continue
        reasons[series[-1].id].append("newest")
        for backup in series:
            if backup.made is None:
                reasons[backup.id].append("of unknown time")
        for rule, number in rules.items():
            for backup, reason in _kept(rule, number, series[::-1]):
                if reason not in reasons[backup.id]:
                    reasons[backup.id].append(reason)
    for loss in losses(backups):
        if loss.after.device_id not in ended:
            reasons[loss.before.id].append(f"before {loss}")
            if loss.before.device_id != loss.after.device_id:
                # Or the next backup would be its series' first, and the loss would be a new one.
                reasons[loss.after.id].append(f"after {loss}")
    return reasons


def _kept(rule: str, number: int, newest_first: list[Backup]) -> Iterator[tuple[Backup, str]]:
    """Yield what one rule keeps of a series, each with the reason."""
    _, form = RULES[rule]
    newest: dict[str, Backup] = {}  # of each period
    for backup in newest_first:
        if form is None:
            newest[backup.id] = backup
        elif backup.made:
            newest.setdefault(backup.made.astimezone().strftime(form), backup)
    for backup in list(newest.values())[:number]:
        yield backup, rule
    if len(newest) < number:
        yield newest_first[-1], "oldest"
