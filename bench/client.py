"""A small HTTP client that costs little itself, and the server processes the benchmarks start."""

import multiprocessing
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent


class Client:
    """One kept-alive connection to 127.0.0.1; requests are bytes, sent as they are."""

    def __init__(self, port: int):
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(1024 * 1024)

    def send(self, *pieces: bytes) -> tuple[int, bytes]:
        """Send a request, read the answer to its end; return its status and, if small, its body."""
        for piece in pieces:
            self._socket.sendall(piece)
        head, received = b"", b""
        while b"\r\n\r\n" not in received:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError("the server closed the connection")
            received += data
        head, _, body = received.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        left = length - len(body)
        while left > 0:
            count = self._socket.recv_into(self._buffer, min(left, len(self._buffer)))
            if length <= len(self._buffer):
                body += self._buffer[:count]
            left -= count
        return int(head[9:12]), body

    def close(self) -> None:
        self._socket.close()


def request(method: str, path: str, body: bytes = b"", content_type="application/json") -> bytes:
    """Return the bytes of a request, its body's not included."""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()


def median_ms(work: Callable[[], object], times: int, warm_up: int = 3) -> float:
    """Run ``work`` again and again; return the median duration in milliseconds."""
    durations = []
    for turn in range(-warm_up, times):
        start = time.perf_counter()
        work()
        if turn >= 0:
            durations.append(time.perf_counter() - start)
    return median(durations) * 1000


def _sender(port: int, pieces: tuple[bytes, ...]) -> Callable[[], None]:
    client = Client(port)

    def send() -> None:
        status, _ = client.send(*pieces)
        assert status < 300, status

    return send


def _repeat(make_work, arguments: tuple, seconds: float, start, counts) -> None:
    work = make_work(*arguments)
    work()
    start.wait()
    end = time.perf_counter() + seconds
    done = 0
    while time.perf_counter() < end:
        work()
        done += 1
    counts.put(done)


def rate(port: int, pieces: tuple[bytes, ...], clients: int, seconds: float) -> float:
    """Let several client processes send the same request all the time; return requests/second."""
    return rate_of(_sender, (port, pieces), clients, seconds)


def rate_of(make_work, arguments: tuple, processes: int, seconds: float) -> float:
    """Let several processes do what ``make_work(*arguments)`` returns; return times/second."""
    start, counts = multiprocessing.Event(), multiprocessing.Queue()
    processes = [
        multiprocessing.Process(target=_repeat, args=(make_work, arguments, seconds, start, counts))
        for _ in range(processes)
    ]
    for process in processes:
        process.start()
    time.sleep(0.3)
    start.set()
    total = sum(counts.get() for _ in processes)
    for process in processes:
        process.join()
    return total / seconds


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory on the disk of the checkout, since /tmp may be memory."""
    path = Path(tempfile.mkdtemp(prefix="bench-", dir=os.environ.get("BENCH_DIR", ROOT)))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(command: list, port: int, **options) -> Iterator[subprocess.Popen]:
    """A process that listens on a port."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, **{**quiet, **options})
    try:
        wait_until_open(port)
        yield process
    finally:
        process.terminate()
        process.wait()


@contextmanager
def server(
    data_dir: Path, python: str | Path = sys.executable, **environ: str
) -> Iterator[tuple[int, subprocess.Popen]]:
    """The real server with its shipped settings; yields its port and process."""
    port = free_port()
    environ = {**os.environ, "PORT": str(port), "DATA_DIR": str(data_dir), **environ}
    command = [python, "-m", "backup_server"]
    with running(command, port, env=environ, cwd=data_dir.parent) as process:
        yield port, process


EXPRESS = Path(__file__).parent / "express"


@contextmanager
def express(directory: Path, *durable: str) -> Iterator[int]:
    """What a user would write instead, see express/server.js; yields its port."""
    if not (EXPRESS / "node_modules").is_dir():
        sys.exit(f"first run: npm ci --prefix {EXPRESS}")
    directory.mkdir()
    port = free_port()
    command = ["node", EXPRESS / "server.js", str(port), directory, *durable]
    with running(command, port, stderr=None):
        yield port


def wrk(port: int, path: str, clients: int, seconds: int, body: Path | None = None) -> float:
    """Let wrk(1) ask for a path, or post a file to it, all the time; return requests/second."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", f"http://127.0.0.1:{port}{path}"]
    environ = dict(os.environ)
    if body:
        command += ["-s", Path(__file__).parent / "post.lua"]
        environ["BODY"] = str(body)
    run = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    if "Non-2xx" in run.stdout or "Socket errors" in run.stdout:
        sys.exit(f"requests failed:\n{run.stdout}")
    return float(re.search(r"Requests/sec: +([0-9.]+)", run.stdout)[1])


NGINX = """
daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log stderr crit;
events {{ worker_connections 64; }}
http {{
  access_log off; sendfile on; tcp_nopush on; default_type application/json;
  client_max_body_size 100m; client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/p; fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u;
  scgi_temp_path {directory}/s;
  server {{ listen 127.0.0.1:{port}; root {root};{dav} }}
}}
"""


@contextmanager
def nginx(directory: Path, root: Path, webdav: bool = False) -> Iterator[int]:
    """nginx serving the files of ``root``, and storing them by PUT if asked; yields its port."""
    port = free_port()
    configuration = directory / "nginx.conf"
    dav = " dav_methods PUT;" if webdav else ""
    user = "user root;" if os.geteuid() == 0 else ""
    text = NGINX.format(directory=directory, port=port, root=root, dav=dav)
    configuration.write_text(user + text)
    command = [shutil.which("nginx") or "/usr/sbin/nginx", "-c", configuration]
    with running(command, port, stderr=None):
        yield port


def wait_until_open(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)


def anonymous_bytes(pid: int) -> int:
    """Return the anonymous memory of a process and its children (proc_pid_smaps_rollup(5))."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    total = 0
    for process in (str(pid), *children):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Anonymous:"):
                total += int(line.split()[1]) * 1024
    return total
