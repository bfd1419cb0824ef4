"""``list`` and ``verify``: the stored backups, and whether their bytes are as they were written."""

import json

import click

from .. import ids
from ..series import names_of, series_of
from .survey import json_option, open_storage, say, survey


@click.command("list", epilog="Example: portfolio-backup list --json | jq -r '.backups[0].id'")
@json_option
def list_backups(as_json: bool) -> None:
    """Print what is stored, newest first.

    A line a backup: id, bytes, the device where there are several, items by category. With --json:
    backups (id, timestamp, size, counts, deviceId, device) and damaged (id, error).
    """
    backups = survey(open_storage())
    names = names_of(series_of(backups))
    backups.reverse()
    if as_json:
        listed = [
            {
                "id": backup.id,
                "timestamp": backup.made and ids.iso(backup.made),
                "size": backup.size,
                "counts": backup.counts,
                "deviceId": backup.device_id,
                "device": backup.device,
            }
            for backup in backups
            if not backup.damage
        ]
        damaged = [{"id": one.id, "error": one.damage} for one in backups if one.damage]
        say(json.dumps({"backups": listed, "damaged": damaged}))
        return
    width = max(map(len, names.values()), default=0)
    for backup in backups:
        if backup.damage:
            say(f"{backup.id}  damaged: {backup.damage}")
            continue
        device = f"  {names[backup.device_id]:<{width}}" if len(names) > 1 else ""
        counts = ", ".join(f"{count} {name}" for name, count in backup.counts.items() if count)
        say(f"{backup.id}  {backup.size:>12,}{device}  {counts or 'empty'}")


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
