"""``python bench/through_nginx.py [REF]``: 50 MB up and down through the containers' nginx.

Its configuration of the checkout and that of the commit REF take turns, in front of one backup
server, which is measured itself, too. Prints a table of medians in milliseconds.
"""

import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import client as c

sys.path[:0] = [str(c.ROOT / "e2e"), str(c.ROOT / "tests")]

from nginx import SOURCE, running_nginx  # noqa: E402

BODY = b'{"atoms":["%s"]}' % (b"x" * (50 * 1024 * 1024 - len(b'{"atoms":[""]}')))
ROUNDS = 15


def configuration(ref: str, directory: Path) -> Path:
    """Write the templates of a commit into a directory."""
    archive = ["git", "-C", str(c.ROOT), "archive", ref, "portfolio/nginx"]
    directory.mkdir()
    packed = subprocess.run(archive, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(directory)], input=packed, check=True)
    return directory / "portfolio" / "nginx"


def timed_ms(port: int, *pieces: bytes) -> tuple[float, bytes]:
    client = c.Client(port)
    start = time.perf_counter()
    status, body = client.send(*pieces)
    milliseconds = (time.perf_counter() - start) * 1000
    client.close()
    assert status < 300, status
    return milliseconds, body


def main() -> None:
    ref = sys.argv[1] if len(sys.argv) > 1 else "HEAD"
    with c.scratch() as directory, ExitStack() as stack:
        data = directory / "data"
        port, _ = stack.enter_context(c.server(data))
        ports = {"the server itself": port}
        for name, source in (
            (f"nginx of {ref}", configuration(ref, directory / "before")),
            ("nginx of the checkout", SOURCE),
        ):
            place, upstream = directory / name.replace(" ", "-"), f"127.0.0.1:{port}"
            nginx = running_nginx(place, directory, upstream, source=source)
            ports[name] = stack.enter_context(nginx).port
        up, down = {name: [] for name in ports}, {name: [] for name in ports}
        for turn in range(-1, ROUNDS):
            for name, port in ports.items():
                sent = timed_ms(port, c.request("POST", "/api/backup", BODY), BODY)[0]
                read = timed_ms(port, c.request("GET", "/api/backup/latest"))[0]
                if turn >= 0:
                    up[name].append(sent)
                    down[name].append(read)
                for path in data.glob("backup-*"):
                    path.unlink()
    print("| through | POST 50 MB | GET 50 MB |\n| --- | ---: | ---: |")
    for name in ports:
        print(f"| {name} | {median(up[name]):.0f} ms | {median(down[name]):.0f} ms |")


if __name__ == "__main__":
    main()
