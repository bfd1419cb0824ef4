"""``python bench/beside.py OTHER``: this server beside another checkout's, taking turns.

``OTHER`` is the directory of a checkout that has its own ``.venv``. Both servers run all the time
on directories of their own on one disk. Each row is measured on one and then on the other, round
after round, and the medians are printed with their ratio. Requests a second come from wrk(1).
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median

import changes
import client as c
from targets import HEALTH, MIB, SAMPLE, SAMPLE_FILE, body_of, fill, wait_for_ids

Work = Callable[["Side"], float]


class Side:
    """One of the two servers, with the backups in it that the rows need."""

    def __init__(self, port: int):
        self.port, self.client = port, c.Client(port)
        self.large = self.base = ""

    def store_large(self) -> None:
        """Store a backup to read and one to change, of 50 MB each."""
        self.large, self.base = self.store(BIG), self.store(changes.state())

    def store(self, body: bytes, path: str = "/api/backup") -> str:
        """Store a body; return its id."""
        status, answer = self.client.send(c.request("POST", path, body), body)
        assert status == 201, answer
        return json.loads(answer)["id"]

    def ms(self, times: int, *pieces: bytes) -> float:
        """Return the median milliseconds of a request."""
        return c.median_ms(lambda: self.client.send(*pieces), times, 1)

    def a_second(self, path: str, clients: int, body: Path | None = None) -> float:
        """Return how many requests a second so many clients get through."""
        return c.wrk(self.port, path, clients, 2, body)


def get(path: str) -> bytes:
    return c.request("GET", path)


def part_of(side: Side) -> bytes:
    body = json.dumps({"backupId": side.large, "items": ["compositions"]}).encode()
    return c.request("POST", "/api/restore", body) + body


SMALL = c.request("POST", "/api/backup", SAMPLE) + SAMPLE
BIG = body_of(50 * MIB)
POST_BIG = c.request("POST", "/api/backup", BIG)
#: What is measured, in milliseconds, of two servers with few backups.
FEW: dict[str, Work] = {
    "health": lambda side: side.ms(200, HEALTH),
    "POST 24 KB": lambda side: side.ms(50, SMALL),
    "POST 50 MB": lambda side: side.ms(2, POST_BIG, BIG),
    "GET 50 MB": lambda side: side.ms(5, get(f"/api/backup/{side.large}")),
    "restore one small category of 50 MB": lambda side: side.ms(100, part_of(side)),
    "5 KB change to 50 MB": lambda side: c.median_ms(
        lambda: side.store(changes.change(1), f"/api/backup?base={side.base}"), 2, 1
    ),
    "the same 50 MB whole": lambda side: c.median_ms(lambda: side.store(changes.state()), 2, 1),
}
#: The same in requests a second.
RATES: dict[str, Work] = {
    "health, 8 clients": lambda side: side.a_second("/api/health", 8),
    "POST 24 KB, 1 client": lambda side: side.a_second("/api/backup", 1, SAMPLE_FILE),
    "POST 24 KB, 8 clients": lambda side: side.a_second("/api/backup", 8, SAMPLE_FILE),
}
#: The same in milliseconds of two servers with 100,000 backups.
MANY: dict[str, Work] = {
    "latest, of 100,000": lambda side: side.ms(100, get("/api/backup/latest")),
    "a page of 50, of 100,000": lambda side: side.ms(100, get("/api/backup/list?limit=50")),
    "list of 100,000, warm": lambda side: side.ms(3, get("/api/backup/list")),
    "health, of 100,000": lambda side: side.ms(100, HEALTH),
}


def compare(rows: dict[str, Work], sides: list[Side], rounds: int, unit: str) -> None:
    """Print a row of the medians of each work on both sides, and the ratio ours / theirs."""
    for name, work in rows.items():
        measured = [[work(side) for side in sides] for _ in range(rounds)]
        ours, theirs = (median(values) for values in zip(*measured, strict=True))
        ratios = sorted(a / b for a, b in measured)
        print(
            f"| {name} | {ours:.2f} {unit} | {theirs:.2f} {unit} | {ours / theirs:.2f} "
            f"| {ratios[0]:.2f} to {ratios[-1]:.2f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, help="a checkout that has its own .venv")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    python = arguments.other.resolve() / ".venv/bin/python"
    print("| work | here | other | ratio | of single rounds |\n| --- | ---: | ---: | ---: | ---: |")
    with c.scratch() as directory:
        for name, size, rows in (("few", 0, FEW), ("many", 100_000, MANY)):
            for side in ("here", "other"):
                fill(directory / f"{name}-{side}", size)
            with (
                c.server(directory / f"{name}-here") as (here, _),
                c.server(directory / f"{name}-other", python) as (other, _),
            ):
                sides = [Side(here), Side(other)]
                for side in sides:
                    wait_for_ids(side.client) if size else side.store_large()
                compare(rows, sides, arguments.rounds, "ms")
                if not size:
                    compare(RATES, sides, arguments.rounds, "/s")


if __name__ == "__main__":
    main()
