"""``verify``: whether the backups are still what was written."""

import click

from .. import ids
from ..retention import Backup
from ..storage import Storage
from .manual import COMMAND_EXITS, DATA_DIR, ManualCommand
from .survey import json_option, open_storage, place, print_json, readable_by_others, survey


@click.command(
    cls=ManualCommand,
    sections={
        "Exit status": [
            ("0", "No backup is damaged."),
            ("1", "A backup is damaged: a line says which, and why."),
            COMMAND_EXITS[2],
        ],
        "Environment": DATA_DIR,
        "Example": [("DATA_DIR=/srv/backups portfolio-backup verify", "")],
    },
)
@json_option
def verify(as_json: bool) -> int:
    """Read every backup and compare it with its SHA-256.

    Also names on stderr what other users of this machine can read. With --json: directory, backups
    and withoutSha256 (numbers), damaged (id, file, error) and readableByOthers (names).
    """
    storage = open_storage()
    backups = survey(storage, whole=True, label="Verifying")
    damaged = [backup for backup in backups if backup.damage]
    open_names = list(readable_by_others(storage.directory, [backup.id for backup in backups]))
    unsummed = sum(not backup.is_summed and not backup.damage for backup in backups)
    if as_json:
        print_json(
            {
                "directory": place(storage),
                "backups": len(backups),
                "withoutSha256": unsummed,
                "damaged": [
                    {"id": backup.id, "file": ids.file_name(backup.id), "error": backup.damage}
                    for backup in damaged
                ],
                "readableByOthers": open_names,
            }
        )
    else:
        _print_lines(storage, backups, damaged, open_names, unsummed)
    return 1 if damaged else 0


def _print_lines(
    storage: Storage,
    backups: list[Backup],
    damaged: list[Backup],
    open_names: list[str],
    unsummed: int,
) -> None:
    for backup in damaged:
        click.echo(f"{ids.file_name(backup.id)}: {backup.damage}")
    for name in open_names:
        click.echo(f"{name} can be read by other users of this machine.", err=True)
    # Said where: of another directory than was meant, too, nothing is damaged.
    click.echo(
        f"{len(backups)} backups in {place(storage)}, {len(damaged)} damaged; "
        f"{unsummed} of the Express server are valid JSON but have no SHA-256."
    )
