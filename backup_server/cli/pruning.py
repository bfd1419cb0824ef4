"""``prune``: deletes backups that no rule keeps, if it is told to."""

from datetime import tzinfo
from zoneinfo import ZoneInfo

import click

from ..errors import UnknownBackup
from ..retention import PERIODS, Backup, Verdict, decide
from ..storage import Storage
from .manual import COMMAND_EXITS, DATA_DIR, ManualCommand
from .survey import json_option, open_storage, place, print_json, survey


def _zone(context: click.Context, parameter: click.Parameter, name: str | None) -> tzinfo | None:
    if name is None:
        return None
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
    cls=ManualCommand,
    sections={
        "Exit status": [
            ("0", "Done; without --yes, shown."),
            ("1", "The same, and a damaged backup was found, and kept."),
            COMMAND_EXITS[2],
        ],
        "Environment": [*DATA_DIR, ("TZ", "The time zone, unless --timezone names one.")],
        "Example": [
            ("portfolio-backup prune --keep-last 10 --keep-daily 30 --keep-weekly 12 \\", ""),
            ("    --keep-monthly 36 --keep-yearly 10", ""),
        ],
    },
)
@_keep("last", "the last N backups")
@_keep("daily", "the newest of each of the last N days that have one")
@_keep("weekly", "the newest of each of the last N weeks, from Monday")
@_keep("monthly", "the newest of each of the last N months")
@_keep("yearly", "the newest of each of the last N years")
@click.option(
    "--timezone", callback=_zone, metavar="NAME", help="Where days begin [default: the system's]."
)
@click.option("--yes", is_flag=True, help="Delete; without it, only show what would be.")
@json_option
def prune(timezone: tzinfo | None, yes: bool, as_json: bool, **numbers: int | None) -> int:
    """Delete what no rule keeps, or show what that would be.

    The rules are those of `restic forget`: what one of them keeps is kept. Never deleted are the
    newest readable backup, a damaged one, and the last one before a category lost half of its items
    or more. So every file is read whole first. A server may run meanwhile; what it stores is kept.

    With --json: directory, deleted (whether), keep (id, size, reasons), delete (id, size), bytes.
    """
    rules = {rule: number for rule in ("last", *PERIODS) if (number := numbers[rule])}
    if not rules:
        raise click.UsageError("Give at least one --keep-... option.")
    storage = open_storage()
    verdicts = decide(survey(storage, whole=True, label="Reading"), rules, timezone)
    doomed = [verdict.backup for verdict in verdicts if not verdict.reasons]
    if not as_json:
        _print_plan(verdicts)
    if yes:
        doomed = _delete(storage, verdicts)
    freed = sum(backup.size for backup in doomed)
    if as_json:
        print_json(_document(storage, verdicts, doomed, yes, freed))
    elif yes:
        click.echo(f"Deleted {len(doomed)} of {len(verdicts)} backups, {freed:,} bytes.")
    else:
        click.echo(
            f"Would delete {len(doomed)} of {len(verdicts)} backups in {place(storage)}, "
            f"{freed:,} bytes; --yes does it."
        )
    return int(any(verdict.backup.damage for verdict in verdicts))


def _print_plan(verdicts: list[Verdict]) -> None:
    for backup, reasons in verdicts:
        if reasons:
            click.echo(f"keep    {backup.id}  {', '.join(reasons)}")
        else:
            click.echo(f"delete  {backup.id}  {backup.size:,} bytes")


def _delete(storage: Storage, verdicts: list[Verdict]) -> list[Backup]:
    """Delete what no rule keeps, oldest first; return what was still there to be, newest first."""
    newest = next((verdict.backup for verdict in verdicts if not verdict.backup.damage), None)
    deleted = []
    for backup, reasons in reversed(verdicts):
        if reasons:
            continue
        try:
            storage.catalog.head(newest.id)
        except UnknownBackup:
            raise click.ClickException(
                f"Stopped after {len(deleted)}: {newest.id}, which was to be kept, is gone."
            ) from None
        try:
            storage.delete(backup.id)
        except UnknownBackup:
            continue  # somebody else was faster
        deleted.append(backup)
    return deleted[::-1]


def _document(
    storage: Storage, verdicts: list[Verdict], doomed: list[Backup], yes: bool, freed: int
) -> dict:
    return {
        "directory": place(storage),
        "deleted": yes,
        "keep": [
            {"id": backup.id, "size": backup.size, "reasons": reasons}
            for backup, reasons in verdicts
            if reasons
        ],
        "delete": [{"id": backup.id, "size": backup.size} for backup in doomed],
        "bytes": freed,
    }
