"""A small HTTP client that costs little itself, and the server processes the benchmarks start."""

import multiprocessing
import os
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
def server(data_dir: Path, **environ: str) -> Iterator[tuple[int, subprocess.Popen]]:
    """The real server with its shipped settings; yields its port and process."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "backup_server"],
        env={**os.environ, "PORT": str(port), "DATA_DIR": str(data_dir), **environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=data_dir.parent,
    )
    try:
        wait_until_open(port)
        yield port, process
    finally:
        process.terminate()
        process.wait()


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
    process = subprocess.Popen([shutil.which("nginx") or "/usr/sbin/nginx", "-c", configuration])
    try:
        wait_until_open(port)
        yield port
    finally:
        process.terminate()
        process.wait()


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
