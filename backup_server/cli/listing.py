"""``list``: what is stored."""

import json

import click

from ..series import names_of, series_of
from .survey import json_option, open_storage, place, print_json, say, survey


@click.command("list", epilog="Example: portfolio-backup list --json | jq -r '.backups[0].id'")
@json_option
def list_backups(as_json: bool) -> None:
    """Print what is stored, newest first.

    A line a backup: id, bytes, the device where there are several, items by category.

    With --json: directory, backups (each as the API lists it) and damaged (id, error).
    """
    storage = open_storage()
    backups = survey(storage, whole=False, label="Reading")[::-1]
    if as_json:
        entries, _ = storage.page(None, None)
        print_json(
            {
                "directory": place(storage),
                "backups": [json.loads(entry) for entry in entries],
                "damaged": [
                    {"id": backup.id, "error": backup.damage} for backup in backups if backup.damage
                ],
            }
        )
        return
    names = names_of(series_of(backups[::-1]))
    width = max(map(len, names.values()), default=0)
    for backup in backups:
        if backup.damage:
            say(f"{backup.id}  damaged: {backup.damage}")
            continue
        counts = ", ".join(f"{count} {name}" for name, count in backup.counts.items() if count)
        device = f"  {names[backup.device_id]:<{width}}" if len(names) > 1 else ""
        say(f"{backup.id}  {backup.size:>12,}{device}  {counts or 'empty'}")
