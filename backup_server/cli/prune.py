"""``prune``: shows the backups that no rule keeps, and deletes them with ``--yes``."""

from contextlib import suppress
from itertools import groupby
from zoneinfo import ZoneInfo

import click

from ..errors import UnknownBackup
from ..retention import PERIODS, Verdict, decide
from ..series import NO_DEVICE, names_of, series_of
from .survey import open_storage, say, survey


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise click.BadParameter(f"this machine knows no time zone '{name}'.") from None


def _keep(rule: str, what: str):
    """Return the option of a rule."""
    return click.option(
        f"--keep-{rule}", rule, type=click.IntRange(min=1), metavar="N", help=f"Keep {what}."
    )


@click.command(
    epilog="Example: portfolio-backup prune --keep-last 10 --keep-daily 30 --keep-weekly 12 --yes"
)
@_keep("last", "the last N backups")
@_keep("daily", "the newest of each of the last N days that have one")
@_keep("weekly", "the newest of each of the last N weeks, from Monday")
@_keep("monthly", "the newest of each of the last N months")
@_keep("yearly", "the newest of each of the last N years")
@click.option(
    "--forget-series",
    multiple=True,
    metavar="ID",
    help=f'Keep nothing of the device with this deviceId, or of "{NO_DEVICE}".',
)
@click.option(
    "--timezone", type=_zone, metavar="ZONE", help="Where days begin [default: the system's]."
)
@click.option("--yes", is_flag=True, help="Delete; without it, only show what would be.")
def prune(
    forget_series: tuple[str, ...], timezone: ZoneInfo | None, yes: bool, **numbers: int | None
) -> int:
    """Delete what no rule keeps, or show what that would be.

    The rules are those of `restic forget`, for each device alone: what one of them keeps is kept.
    Never deleted are the newest readable backup of a device (but with --forget-series), a damaged
    one, and the last one before a category lost half of its items or more. So every file is read
    whole first. The server may run: what it stores during this is kept.

    A damaged backup makes the exit status 1.
    """
    rules = {rule: number for rule in ("last", *PERIODS) if (number := numbers[rule])}
    if not rules and not forget_series:
        raise click.UsageError("Give at least one --keep-... option, or --forget-series.")
    storage = open_storage()
    backups = survey(storage, whole=True)
    names = names_of(series_of(backups))
    known = {device_id or NO_DEVICE: device_id for device_id in names}
    for unknown in set(forget_series) - known.keys():
        there = ", ".join(known)
        raise click.UsageError(f"There is no series '{unknown}'; there are: {there}.")
    verdicts = decide(backups, rules, timezone, {known[text] for text in forget_series})
    _print_plan(verdicts, names)
    doomed = [verdict.backup for verdict in verdicts if not verdict.reasons]
    freed = sum(backup.size for backup in doomed)
    plan = f"{len(doomed)} of {len(backups)} backups in {storage.directory}, {freed:,} bytes"
    if yes:
        for backup in reversed(doomed):
            with suppress(UnknownBackup):  # somebody else was faster
                storage.delete(backup.id)
        say(f"Deleted {plan}.")
    else:
        say(f"Would delete {plan}; --yes does it.")
    return int(any(backup.damage for backup in backups))


def _print_plan(verdicts: list[Verdict], names: dict[str | None, str]) -> None:
    """Print a line for each backup, under its device's name where there are several."""

    def name_of(verdict: Verdict) -> str:
        return "(damaged)" if verdict.backup.damage else names[verdict.backup.device_id]

    for name, group in groupby(sorted(verdicts, key=name_of), name_of):
        if len(names) > 1:
            say(f"{name}:")
        for backup, reasons in group:
            if reasons:
                say(f"keep    {backup.id}  {', '.join(reasons)}")
            else:
                say(f"delete  {backup.id}  {backup.size:,} bytes")
