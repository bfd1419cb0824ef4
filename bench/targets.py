"""``python bench/targets.py``: the speed this server was built for, measured side by side.

Starts the real server, nginx, the least Express server for backups (see express/; run ``npm ci``
there once) and plain file writes on the same disk, and prints one table of medians: what was asked
of it, what was measured, and the unit it is compared with. ``h`` is one health request by the same
client in the same run; ``floor`` is the least that durable storing can cost: temp file, write,
fsync, link, fsync of the directory. Many requests a second are made by wrk(1).
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import client as c

SAMPLE_FILE = c.ROOT / "tests/samples/first-backup.json"
SAMPLE = SAMPLE_FILE.read_bytes()
MIB = 1024 * 1024
HEALTH = c.request("GET", "/api/health")


def body_of(size: int) -> bytes:
    """Return a backup of this size made of sketches like the sample's, and one composition."""
    atom = json.dumps(json.loads(SAMPLE)["atoms"][0]).encode()
    atoms = b",".join([atom] * ((size - 300) // (len(atom) + 1)))
    start, end = b'{"atoms":[' + atoms, b'],"compositions":[{"id":"c1"}],"clientTimestamp":"'
    return start + end + b"x" * ((size - len(start) - len(end) - 2) % 900) + b'"}'


def write_floor(directory: Path, data: bytes) -> None:
    """Store bytes as durably as the server promises, and nothing else.

    Files are kept, as the server's are: a file in the blocks of a deleted file is written faster.
    """
    unique = f"{os.getpid()}-{time.monotonic_ns()}"
    temporary, name = directory / f"floor-{unique}.tmp", directory / f"floor-{unique}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.write(descriptor, data)
    os.fsync(descriptor)
    os.close(descriptor)
    os.link(temporary, name)
    os.unlink(temporary)
    descriptor = os.open(directory, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _floor_writer(directory: Path, data: bytes):
    return lambda: write_floor(directory, data)


def fill(data_dir: Path, total: int) -> None:
    """Put backups there as the server stores them, up to ``total``, a minute apart from 2020 on."""
    data_dir.mkdir(exist_ok=True)
    missing = range(len(list(data_dir.glob("backup-*.json"))), total)
    if not missing:
        return
    with c.scratch() as directory, c.server(directory / "one") as (port, _):
        _, receipt = c.Client(port).send(c.request("POST", "/api/backup", SAMPLE), SAMPLE)
        model = json.loads(receipt)["id"]
        text = (directory / "one" / f"backup-{model}.json").read_bytes()
    start = datetime(2020, 1, 1, tzinfo=UTC)
    for number in missing:
        backup_id = (start + timedelta(minutes=number)).strftime("%Y-%m-%dT%H-%M-%S")
        copy = text.replace(model.encode(), backup_id.encode(), 1)
        (data_dir / f"backup-{backup_id}.json").write_bytes(copy)


def wait_for_ids(client: c.Client) -> None:
    """Let the server read the newest heads, and its directory's times settle."""
    for path in ("latest", "list?limit=50"):
        client.send(c.request("GET", f"/api/backup/{path}"))
    time.sleep(0.2)


class Table:
    """Collects rows and prints each at once."""

    def __init__(self):
        self.met: list[bool] = []
        print(f"{'work':44} {'measured':>12} {'compared with':>30} {'ratio':>7} {'target':>8}")

    def add(self, work: str, measured: str, unit: str, ratio: float, target: float, least=False):
        met = ratio >= target if least else ratio <= target
        self.met.append(met)
        sign = ">=" if least else "<="
        self._print(work, measured, unit, f"{ratio:7.2f} {sign}{target:6.2f}", met)

    def note(self, work: str, measured: str, unit: str, ratio: float) -> None:
        """Print a row that no target is set for."""
        self._print(work, measured, unit, f"{ratio:7.2f}")

    def _print(self, work: str, measured: str, unit: str, ratio: str, met: bool = True) -> None:
        print(f"{work:44} {measured:>12} {unit:>30} {ratio}{'' if met else '  MISSED'}")
        sys.stdout.flush()


def ms(value: float) -> str:
    return f"{value:.2f} ms"


def compare(table, work, ours, theirs, unit, target, rounds=3):
    """Measure two things in turn, so that both see the same noise; the medians are compared."""
    measured, base = [], []
    for _ in range(rounds):
        base.append(theirs())
        measured.append(ours())
    mine, other = median(measured), median(base)
    table.add(work, ms(mine), f"{unit} {ms(other)}", mine / other, target)


def uploads(table: Table, directory: Path) -> None:
    big, floor_dir = body_of(50 * MIB), directory
    post = c.request("POST", "/api/backup", big)
    with c.server(directory / "data") as (port, _), c.express(directory / "plain") as plain:
        client, other = c.Client(port), c.Client(plain)

        def ours() -> float:
            return c.median_ms(lambda: client.send(post, big), 3, 1)

        floor = lambda: c.median_ms(lambda: write_floor(floor_dir, big), 3, 1)  # noqa: E731
        theirs = lambda: c.median_ms(lambda: other.send(post, big), 3, 1)  # noqa: E731
        compare(table, "POST 50 MB", ours, floor, "floor", 4)
        compare(table, "  the same", ours, theirs, "plain Express", 0.2)
        one_client(table, directory, client)
    rates(table, directory)
    memory(table, directory, big)


def rates(table: Table, directory: Path) -> None:
    """Compare uploads a second with those of an Express server that is as durable."""
    fill(directory / "many", 100_000)
    with (
        c.server(directory / "few") as (few, _),
        c.server(directory / "many") as (many, _),
        c.express(directory / "durable", "durable") as durable,
    ):
        ports = {"few": few, "many": many, "durable": durable}
        one, eight = in_turn(ports, 1), in_turn(ports, 8)
        health = median(c.wrk(few, "/api/health", 8, 2) for _ in range(3))
        floors = median(c.rate_of(_floor_writer, (directory, SAMPLE), 8, 2) for _ in range(3))
    for name, rate in (("one client", one), ("8 clients", eight)):
        unit = f"durable Express {rate['durable']:.0f}/s"
        table.add(
            f"POST 24 KB, {name}", f"{rate['few']:.0f}/s", unit,
            rate["few"] / rate["durable"], 1, True,
        )  # fmt: skip
    few, many = eight["few"], eight["many"]
    posted = f"{few:.0f}/s"
    table.add(
        "  the same at 100,000 stored", f"{many:.0f}/s", f"at few {posted}",
        many / few, 0.9, True,
    )  # fmt: skip
    unit = f"health {health:.0f}/s"
    table.add("  the same, against health", posted, unit, few / health, 0.5, True)
    table.note("  the floor alone, 8 processes", f"{floors:.0f}/s", unit, floors / health)


def one_client(table: Table, directory: Path, client: c.Client) -> None:
    small = c.request("POST", "/api/backup", SAMPLE) + SAMPLE
    h, floor, post = [], [], []
    for _ in range(5):
        h.append(c.median_ms(lambda: client.send(HEALTH), 100))
        floor.append(c.median_ms(lambda: write_floor(directory, SAMPLE), 50))
        post.append(c.median_ms(lambda: client.send(small), 50))
    allowed = median(h) + 2 * median(floor)
    unit = f"h {median(h):.2f} + 2 x floor {median(floor):.2f} ms"
    table.add("POST 24 KB, one client", ms(median(post)), unit, median(post) / allowed, 1)


def in_turn(ports: dict[str, int], clients: int, rounds: int = 5) -> dict[str, float]:
    """Return the median of uploads a second to each; they take turns, so that noise hits all."""
    measured = {name: [] for name in ports}
    for _ in range(rounds):
        for name, port in ports.items():
            measured[name].append(c.wrk(port, "/api/backup", clients, 2, SAMPLE_FILE))
    return {name: median(values) for name, values in measured.items()}


def memory(table: Table, directory: Path, big: bytes) -> None:
    post = c.request("POST", "/api/backup", big)
    with c.server(directory / "memory") as (port, process):
        threads = [
            threading.Thread(target=lambda: c.Client(port).send(post, big)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        peak = 0
        while any(thread.is_alive() for thread in threads):
            peak = max(peak, c.anonymous_bytes(process.pid))
            time.sleep(0.01)
    mib = peak / MIB
    table.add("memory, 8 uploads of 50 MB at once", f"{mib:.0f} MiB", "200 MB", mib / 190.7, 1)


def reading(table: Table, directory: Path) -> None:
    big, data = body_of(50 * MIB), directory / "reading"
    with c.server(data) as (port, _), c.nginx(directory, data) as static:
        client, plain = c.Client(port), c.Client(static)
        ids = []
        for body in (big, body_of(MIB)):
            _, receipt = client.send(c.request("POST", "/api/backup", body), body)
            ids.append(json.loads(receipt)["id"])
        large, small = ids
        file = c.request("GET", f"/backup-{large}.json")
        get = c.request("GET", f"/api/backup/{large}")
        whole = json.dumps({"backupId": large}).encode()
        for work, message in (
            ("GET 50 MB", get),
            ("restore all of 50 MB", c.request("POST", "/api/restore", whole) + whole),
        ):
            compare(
                table, work,
                lambda message=message: c.median_ms(lambda: client.send(message), 15),
                lambda: c.median_ms(lambda: plain.send(file), 15),
                "nginx", 1.5,
            )  # fmt: skip
        part = []
        for backup_id in (large, small):
            body = json.dumps({"backupId": backup_id, "items": ["compositions"]}).encode()
            part.append(c.request("POST", "/api/restore", body) + body)
        compare(
            table, "restore one small category of 50 MB",
            lambda: c.median_ms(lambda: client.send(part[0]), 200),
            lambda: c.median_ms(lambda: client.send(HEALTH), 200),
            "h", 2, 5,
        )  # fmt: skip
        compare(
            table, "  the same, against 1 MB",
            lambda: c.median_ms(lambda: client.send(part[0]), 200),
            lambda: c.median_ms(lambda: client.send(part[1]), 200),
            "1 MB", 1.1, 5,
        )  # fmt: skip


def listing(table: Table, directory: Path) -> None:
    fill(directory / "many", 100_000)
    with c.server(directory / "many") as (port, _):
        client = c.Client(port)
        wait_for_ids(client)
        for work, path, target in (
            ("latest, 24 KB, of 100,000", "latest", 2),
            ("a page of 50, of 100,000", "list?limit=50", 4),
        ):
            message = c.request("GET", f"/api/backup/{path}")
            compare(
                table, work,
                lambda message=message: c.median_ms(lambda: client.send(message), 200),
                lambda: c.median_ms(lambda: client.send(HEALTH), 200),
                "h", target, 5,
            )  # fmt: skip
    fill(directory / "ten", 10_000)
    everything = c.request("GET", "/api/backup/list")
    cold, warm, h = [], [], []
    for _ in range(5):
        with c.server(directory / "ten") as (port, _):
            client = c.Client(port)
            h.append(c.median_ms(lambda: client.send(HEALTH), 100))  # noqa: B023
            cold.append(c.median_ms(lambda: client.send(everything), 1, 0))  # noqa: B023
            warm.append(c.median_ms(lambda: client.send(everything), 10))  # noqa: B023
    unit = f"h {ms(median(h))}"
    table.add("list 10,000, warm", ms(median(warm)), unit, median(warm) / median(h), 100)
    table.add("list 10,000, cold", ms(median(cold)), unit, median(cold) / median(h), 400)


def starting(table: Table, directory: Path) -> None:
    def start() -> None:
        port = c.free_port()
        environ = {**os.environ, "PORT": str(port), "DATA_DIR": str(directory / "starting")}
        process = subprocess.Popen(
            [sys.executable, "-m", "backup_server"],
            env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        c.wait_until_open(port)
        c.Client(port).send(HEALTH)
        starts.append(time.perf_counter() - began)
        process.terminate()
        process.wait()

    command = [sys.executable, "-c", "import flask, gunicorn.app.wsgiapp"]
    starts, imports = [], []
    for _ in range(9):
        began = time.perf_counter()
        subprocess.run(command, check=True)
        imports.append(time.perf_counter() - began)
        began = time.perf_counter()
        start()
    ours, theirs = median(starts) * 1000, median(imports) * 1000
    table.add("start to healthy", ms(ours), f"imports {ms(theirs)}", ours / theirs, 2.5)


def main() -> None:
    parts = {"uploads": uploads, "reading": reading, "listing": listing, "starting": starting}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="*", help=f"one of {', '.join(parts)}; all by default")
    arguments = parser.parse_args()
    chosen = arguments.part or parts
    table = Table()
    with c.scratch() as directory:
        for name in chosen:
            parts[name](table, directory)
    sys.exit(not all(table.met))


if __name__ == "__main__":
    main()
