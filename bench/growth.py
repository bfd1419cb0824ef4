"""``python bench/growth.py``: how the server's times grow, beside what one would use instead.

Two tables and two charts (``docs/*.svg``): by the size of a backup, with a plain durable write and
nginx (WebDAV PUT, which syncs nothing, and static files) on the same disk in the same run; and by
the number of backups stored, from 10 to 100,000 of 24 KB.
"""

import argparse
import time
from pathlib import Path

import chart
import client as c
from targets import HEALTH, MIB, SAMPLE, body_of, fill, ms, write_floor

SIZES = {"24 KB": SAMPLE, "1 MB": MIB, "10 MB": 10 * MIB, "50 MB": 50 * MIB}
NUMBERS = (10, 100, 1_000, 10_000, 100_000)


def print_table(columns: list[str], rows: list[list[str]]) -> None:
    print("| " + " | ".join(columns) + " |")
    print("|" + " --- |" + " ---: |" * (len(columns) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def in_turn(works: dict, times: int, rounds: int = 3) -> dict[str, float]:
    """Return the median of each work in milliseconds; they take turns, so noise hits all."""
    measured: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            measured[name].append(c.median_ms(work, times, 1))
    return {name: c.median(values) for name, values in measured.items()}


def by_size(directory: Path) -> chart.Series:
    works = ("write + fsync", "nginx PUT (no sync)", "POST", "nginx GET", "GET")
    rows, series = [], {name: [] for name in works}
    root, floor = directory / "files", directory / "floor"
    root.mkdir()
    floor.mkdir()
    with c.server(directory / "data") as (port, _), c.nginx(directory, root, True) as web:
        ours, theirs = c.Client(port), c.Client(web)
        for name, size in SIZES.items():
            body = size if isinstance(size, bytes) else body_of(size)
            (root / "static.json").write_bytes(body)
            turn = iter(range(1_000_000))
            post = c.request("POST", "/api/backup", body)
            # Where the server pushes a small request out in one piece, so do we.
            post = (post + body,) if len(body) < MIB else (post, body)

            def put(body=body, turn=turn):
                head = c.request("PUT", f"/put-{len(body)}-{next(turn)}.json", body)
                theirs.send(head, body)

            times = in_turn(
                {
                    works[0]: lambda body=body: write_floor(floor, body),
                    works[1]: put,
                    works[2]: lambda post=post: ours.send(*post),
                    works[3]: lambda: theirs.send(c.request("GET", "/static.json")),
                    works[4]: lambda: ours.send(c.request("GET", "/api/backup/latest")),
                },
                3 if len(body) > MIB else 20,
            )
            rows.append([name, *(ms(times[work]) for work in works)])
            for work in works:
                series[work].append((len(body) / MIB, times[work]))
    print_table(["size", *works], rows)
    return {name: series[name] for name in ("write + fsync", "POST", "nginx GET", "GET")}


def by_number(directory: Path) -> chart.Series:
    works = ("health", "POST", "latest", "page of 50", "list all, warm", "list all, cold")
    rows, series = [], {name: [] for name in works}
    small = c.request("POST", "/api/backup", SAMPLE) + SAMPLE
    for number in NUMBERS:
        data = directory / str(number)
        fill(data, number)
        with c.server(data) as (port, _):
            client = c.Client(port)

            def get(path, client=client):
                return lambda: client.send(c.request("GET", f"/api/backup/{path}"))

            cold = c.median_ms(get("list"), 1, 0)
            time.sleep(0.2)
            times = in_turn(
                {
                    "health": lambda client=client: client.send(HEALTH),
                    "latest": get("latest"),
                    "page of 50": get("list?limit=50"),
                    "list all, warm": get("list"),
                },
                20,
            )
            times["POST"] = c.median_ms(lambda client=client: client.send(small), 50)
            times["list all, cold"] = cold
        rows.append([f"{number:,}", *(ms(times[work]) for work in works)])
        for work in works:
            series[work].append((number, times[work]))
    print_table(["stored", *works], rows)
    return {name: series[name] for name in ("POST", "latest", "page of 50", "list all, warm")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--charts", type=Path, default=c.ROOT / "docs", help="where to draw")
    charts = parser.parse_args().charts
    charts.mkdir(exist_ok=True)
    with c.scratch() as directory:
        sizes, numbers = by_size(directory), by_number(directory)
    chart.write(charts / "by-size.svg", "One backup, stored and fetched", "size, MiB", "ms", sizes)
    chart.write(
        charts / "by-number.svg", "With more and more backups of 24 KB", "stored", "ms", numbers
    )


if __name__ == "__main__":
    main()
