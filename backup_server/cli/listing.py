"""``list`` and ``verify``: the stored backups, and whether their bytes are as they were written."""

import click
import msgspec

from .. import ids
from ..series import names_of
from .survey import say, survey


@click.command("list", epilog="Example: portfolio-backup list --json | jq -r '.backups[0].id'")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_backups(as_json: bool) -> None:
    """Print the backups, newest first; then the damaged files.

    A line a backup: id, bytes, the device where there are several, items by category. With --json:
    backups (id, timestamp, size, counts, deviceId, device) and damaged (id and error).
    """
    stored = survey()
    if as_json:
        damaged = [{"id": one, "error": damage} for one, damage in stored.damaged.items()]
        listed = {"backups": stored.backups[::-1], "damaged": damaged}
        say(msgspec.json.encode(listed).decode())
        return
    names = names_of(stored.backups)
    width = max(map(len, names.values()), default=0)
    for backup in reversed(stored.backups):
        device = f"  {names[backup.device_id]:<{width}}" if len(names) > 1 else ""
        counts = ", ".join(f"{count} {name}" for name, count in backup.counts.items() if count)
        say(f"{backup.id}  {backup.size:>12,}{device}  {counts or 'empty'}")
    for backup_id, damage in stored.damaged.items():
        say(f"{backup_id}  damaged: {damage}")


@click.command(epilog="Example: DATA_DIR=/srv/backups portfolio-backup verify")
def verify() -> int:
    """Read every backup and compare it with its SHA-256; name those that are damaged.

    Files of the Express server have no SHA-256: that they are valid JSON is all that is checked.
    """
    stored = survey(whole=True)
    for backup_id, damage in stored.damaged.items():
        say(f"{ids.file_name(backup_id)}: {damage}")
    number = len(stored.backups) + len(stored.damaged)
    # The directory is named, since nothing is damaged in a wrong one, too.
    say(f"{number} backups in {stored.storage.path}, {len(stored.damaged)} damaged.")
    return int(bool(stored.damaged))
