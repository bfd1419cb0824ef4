"""``list`` and ``verify``: what is stored, and whether it still is what was written."""

import json

import click

from .. import ids
from ..ids import iso
from ..series import Backup, names_of, series_of
from .survey import json_option, open_storage, say, survey


@click.command("list", epilog="Example: portfolio-backup list --json | jq -r '.backups[0].id'")
@json_option
def list_backups(as_json: bool) -> None:
    """Print what is stored, newest first.

    A line a backup: id, bytes, the device where there are several, items by category. With --json:
    backups (id, timestamp, size, counts, deviceId, device) and damaged (id, error).
    """
    backups = survey(open_storage())
    if as_json:
        listed = [_as_json(backup) for backup in reversed(backups) if not backup.damage]
        damaged = [{"id": one.id, "error": one.damage} for one in reversed(backups) if one.damage]
        say(json.dumps({"backups": listed, "damaged": damaged}))
        return
    names = names_of(series_of(backups))
    width = max(map(len, names.values()), default=0)
    for backup in reversed(backups):
        if backup.damage:
            say(f"{backup.id}  damaged: {backup.damage}")
            continue
        device = f"  {names[backup.device_id]:<{width}}" if len(names) > 1 else ""
        counts = ", ".join(f"{count} {name}" for name, count in backup.counts.items() if count)
        say(f"{backup.id}  {backup.size:>12,}{device}  {counts or 'empty'}")


def _as_json(backup: Backup) -> dict:
    return {
        "id": backup.id,
        "timestamp": backup.made and iso(backup.made),
        "size": backup.size,
        "counts": backup.counts,
        "deviceId": backup.device_id,
        "device": backup.device,
    }


@click.command(epilog="Example: DATA_DIR=/srv/backups portfolio-backup verify")
def verify() -> int:
    """Read every backup and compare it with its SHA-256; name those that are damaged.

    Files of the Express server have no SHA-256: that they are valid JSON is all that is checked.
    """
    storage = open_storage()
    backups = survey(storage, whole=True)
    damaged = [backup for backup in backups if backup.damage]
    for backup in damaged:
        say(f"{ids.file_name(backup.id)}: {backup.damage}")
    # The directory is named, since nothing is damaged in a wrong one, too.
    say(f"{len(backups)} backups in {storage.directory}, {len(damaged)} damaged.")
    return 1 if damaged else 0
