"""``python bench/years.py``: what years of backups take, and what the keep rules leave of them.

A diligent user changes one record of 5 KB in a portfolio of 5 MB 30 times a day. A day of that is
sent to a server, which measures what goes over the wire and onto the disk; the keep rules then
decide, every night, on as many backups of that size as a month, a year and ten years make.
"""

import argparse
import json
from datetime import UTC, datetime, timedelta

import client as c
from changes import record

from backup_server.retention import decide
from backup_server.series import Backup

RECORDS = 1_000
A_DAY = 30
#: The rules of docs/operations.md, .env.example and the systemd unit.
RULES = {"last": 10, "daily": 30, "weekly": 12, "monthly": 36, "yearly": 10}
START = datetime(2026, 1, 1, 8, tzinfo=UTC)
DAYS = {"a day": 1, "a month": 30, "a year": 365, "ten years": 3652}


def measure() -> tuple[float, float]:
    """Return the bytes that a change sends and stores, on average over a day."""
    state = f'{{"atoms":[{",".join(map(record, range(RECORDS)))}]}}'.encode()
    sent = stored = 0
    with c.scratch() as directory, c.server(directory / "data") as (port, _):
        client = c.Client(port)

        def post(path: str, body: bytes) -> dict:
            status, answer = client.send(c.request("POST", path, body), body)
            assert status == 201, answer
            return json.loads(answer)

        receipt = post("/api/backup", state)
        for number in range(A_DAY):
            body = b'{"atoms":{"put":[%s]},"counts":{"atoms":%d},"clientTimestamp":"%s"}' % (
                record(number, "y").encode(),
                RECORDS,
                START.isoformat().encode(),
            )
            receipt = post(f"/api/backup?base={receipt['id']}", body)
            sent += len(body)
            stored += receipt["size"]
    return sent / A_DAY, stored / A_DAY


def pruned(days: int, size: int) -> list[Backup]:
    """Return what is left after so many days, each with its prune."""
    kept: list[Backup] = []
    for day in range(days):
        for number in range(A_DAY):
            made = START + timedelta(days=day, minutes=24 * number)
            kept.append(Backup(f"{made:%Y-%m-%dT%H-%M-%S}", made, size, {"atoms": RECORDS}))
        reasons = decide(kept, RULES, UTC)
        kept = [backup for backup in kept if reasons[backup.id]]
    return kept


def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n\n")[0]).parse_args()
    sent, stored = measure()
    print("| after | sent | backups | all of them | pruned every night | bytes |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, days in DAYS.items():
        number, left = days * A_DAY, pruned(days, round(stored))
        columns = (
            f"{sent * number / 1e6:,.1f} MB",
            f"{number:,}",
            f"{stored * number / 1e9:,.2f} GB",
            f"{len(left)} backups",
            f"{sum(backup.size for backup in left) / 1e9:.2f} GB",
        )
        print(f"| {name} | {' | '.join(columns)} |")


if __name__ == "__main__":
    main()
