"""``python bench/changes.py``: what a small change to a large backup costs the server.

A change of 5 KB to a base of 50 MB, 10,000 records of one category, beside a whole upload of 50 MB,
in turn; and the memory of all the server's processes during them (RssAnon and RssShmem of
proc_pid_status(5)), for one change and for eight at once.
"""

import argparse
import json
import threading
import time
from pathlib import Path

import client as c
from targets import Table, compare

#: In millions of bytes.
MB = 1_000_000
RECORDS = 10_000
RECORD_BYTES = 5_000


def record(number: int, name: str = "x") -> str:
    """Return a sketch as JSON, of 5 KB."""
    start = f'{{"slug":"sketch-{number}","points":[[0.5,1],[2,3]],"code":"'
    line = f"const {name} = {{ hue: {number} }}; "
    return (start + line * RECORD_BYTES)[: RECORD_BYTES - 3] + '"}'


def state() -> bytes:
    """Return a portfolio of 50 MB as a whole upload."""
    return f'{{"atoms":[{",".join(map(record, range(RECORDS)))}],"clientTimestamp":"t"}}'.encode()


def change(number: int) -> bytes:
    """Return a change that writes one record anew."""
    return f'{{"atoms":{{"put":[{record(number, "y")}]}},"counts":{{"atoms":{RECORDS}}}}}'.encode()


def store(port: int, path: str, body: bytes) -> str:
    status, answer = c.Client(port).send(c.request("POST", path, body), body)
    assert status == 201, answer
    return json.loads(answer)["id"]


def memory_bytes(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    total = 0
    for process in (str(pid), *children):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith(("RssAnon:", "RssShmem:")):
                total += int(line.split()[1]) * 1024
    return total


def peak(pid: int, works: list) -> int:
    """Do all at once; return the most memory that the server had during it."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    most = 0
    while any(thread.is_alive() for thread in threads):
        most = max(most, memory_bytes(pid))
        time.sleep(0.002)
    return most


def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n\n")[0]).parse_args()
    table, whole = Table(), state()
    with c.scratch() as directory, c.server(directory / "data") as (port, process):
        base = store(port, "/api/backup", whole)
        path = f"/api/backup?base={base}"

        def send(number: int) -> None:
            store(port, path, change(number))

        compare(
            table, "5 KB change to 50 MB",
            lambda: c.median_ms(lambda: send(1), 5, 1),
            lambda: c.median_ms(lambda: store(port, "/api/backup", whole), 5, 1),
            "whole upload", 1,
        )  # fmt: skip
        for times, most in ((1, 120), (8, 300)):
            at_once = [lambda number=number: send(number) for number in range(times)]
            used = max(peak(process.pid, at_once) for _ in range(3)) / MB
            table.add(f"memory, {times} at once", f"{used:.0f} MB", f"{most} MB", used / most, 1)


if __name__ == "__main__":
    main()
