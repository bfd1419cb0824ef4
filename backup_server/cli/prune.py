"""``prune``: shows the backups that no rule keeps, and deletes them with ``--yes``."""

from contextlib import suppress

import click

from ..errors import UnknownBackup
from ..retention import RULES, decide
from ..series import NO_DEVICE, names_of, series_of
from .survey import say, survey

_KEEP = [
    click.Option([f"--keep-{rule}"], type=click.IntRange(1), metavar="N", help=f"Keep {kept}.")
    for rule, (kept, _) in RULES.items()
]


@click.command(
    params=_KEEP,
    epilog="Example: portfolio-backup prune --keep-last 10 --keep-daily 30 --keep-weekly 12 --yes",
)
@click.option(
    "--forget-series",
    multiple=True,
    metavar="ID",
    help=f'Keep nothing of the device with this deviceId, or of "{NO_DEVICE}".',
)
@click.option("--yes", is_flag=True, help="Delete; without it, only show what would be.")
def prune(forget_series: tuple[str, ...], yes: bool, **keep: int | None) -> int:
    """Delete what no rule keeps, or show what that would be.

    The rules are those of `restic forget`, for each device alone: what one of them keeps is kept.
    Days are those of the system's time zone, or of TZ. Never deleted are the newest readable backup
    of a device (but with --forget-series), a damaged one, which makes the exit status 1, and the
    last one before a category lost half of its items or more. The server may run.
    """
    rules = {rule: keep[f"keep_{rule}"] for rule in RULES if keep[f"keep_{rule}"]}
    if not rules and not forget_series:
        raise click.UsageError("Give at least one --keep-... option, or --forget-series.")
    storage, backups, damaged = survey(whole=True)
    names = names_of(backups)
    known = {device_id or NO_DEVICE: device_id for device_id in names}
    if unknown := set(forget_series) - known.keys():
        raise click.UsageError(f"There is no series '{min(unknown)}', only: {', '.join(known)}.")
    ended = [known[text] for text in forget_series]
    reasons = decide(backups, rules or {"last": len(backups)}, ended)
    for backup_id in damaged:
        say(f"keep    {backup_id}  damaged")
    for device_id, series in series_of(backups).items():
        if len(names) > 1:
            say(f"{names[device_id]}:")
        for backup in reversed(series):
            why = ", ".join(reasons[backup.id])
            say(f"keep    {backup.id}  {why}" if why else f"delete  {backup.id}  {backup.size:,}")
    doomed = [backup for backup in backups if not reasons[backup.id]]
    plan = f"{len(doomed)} of {len(backups) + len(damaged)} backups in {storage.path}"
    plan += f", {sum(backup.size for backup in doomed):,} bytes"
    if yes:
        for backup in doomed:
            with suppress(UnknownBackup):  # somebody else was faster
                storage.delete(backup.id)
    say(f"Deleted {plan}." if yes else f"Would delete {plan}; --yes does it.")
    return int(bool(damaged))
