"""``prune``: deletes backups that no rule keeps, if it is told to."""

from contextlib import suppress
from datetime import tzinfo
from zoneinfo import ZoneInfo

import click

from .. import ids
from ..errors import BackupError, UnknownBackup
from ..retention import PERIODS, Verdict, decide
from ..series import NO_DEVICE, Backup, names_of, series_of
from ..storage import Storage
from .survey import open_storage, say, survey


def _zone(context: click.Context, parameter: click.Parameter, name: str | None) -> tzinfo | None:
    try:
        return ZoneInfo(name) if name is not None else None
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
@click.option("--timezone", callback=_zone, help="Where days begin [default: the system's].")
@click.option("--yes", is_flag=True, help="Delete; without it, only show what would be.")
def prune(
    forget_series: tuple[str, ...], timezone: tzinfo | None, yes: bool, **numbers: int | None
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
    series = series_of(backups)
    ended = _ended(forget_series, names_of(series))
    verdicts = decide(backups, rules, timezone, ended)
    doomed = [verdict.backup for verdict in verdicts if not verdict.reasons]
    _print_plan(verdicts, names_of(series))
    if yes:
        newest = {key: of_device[-1].id for key, of_device in series.items() if key not in ended}
        doomed = _delete(storage, doomed[::-1], newest)
    counted = f"{len(doomed)} of {len(backups)} backups"
    freed = f"{sum(backup.size for backup in doomed):,} bytes"
    if yes:
        say(f"Deleted {counted}, {freed}.")
    else:
        say(f"Would delete {counted} in {storage.directory}, {freed}; --yes does it.")
    return int(any(backup.damage for backup in backups))


def _ended(given: tuple[str, ...], names: dict[str | None, str]) -> set[str | None]:
    """Return the series with these ids; an unknown one is a usage error."""
    known = {device_id or NO_DEVICE: device_id for device_id in names}
    if unknown := [text for text in given if text not in known]:
        there = ", ".join(f"{text} ({names[key]})" if key else text for text, key in known.items())
        raise click.UsageError(f"There is no series '{unknown[0]}'; there are: {there}.")
    return {known[text] for text in given}


def _print_plan(verdicts: list[Verdict], names: dict[str | None, str]) -> None:
    """Print a line for each backup, under its device's name where there are several."""
    groups = [
        (name, [one for one in verdicts if not one.backup.damage and one.backup.device_id == key])
        for key, name in names.items()
    ]
    groups.append(("Damaged", [verdict for verdict in verdicts if verdict.backup.damage]))
    for name, group in groups:
        if len(names) > 1 and group:
            say(f"{name}:")
        for backup, reasons in group:
            if reasons:
                say(f"keep    {backup.id}  {', '.join(reasons)}")
            else:
                say(f"delete  {backup.id}  {backup.size:,} bytes")


def _delete(storage: Storage, doomed: list[Backup], newest: dict[str | None, str]) -> list[Backup]:
    """Delete these, oldest first; return those that were still there.

    Stops when somebody else deletes the newest of a series, which was to be kept.
    """
    deleted = []
    for backup in doomed:
        keeper = newest.get(backup.device_id)
        if keeper and not (storage.directory / ids.file_name(keeper)).exists():
            raise BackupError(f"Stopped after {len(deleted)}: {keeper}, to be kept, is gone.")
        with suppress(UnknownBackup):  # somebody else was faster
            storage.delete(backup.id)
            deleted.append(backup)
    return deleted
