"""What all tests share: the application in the process, or a real server over real HTTP."""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from email.message import Message
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from backup_server import create_app
from backup_server.settings import Settings

CATEGORIES = ("atoms", "compositions", "snapshots", "voiceNotes", "configOverrides")
ROOT = Path(__file__).resolve().parent.parent
SETTINGS = [
    *("PORT", "HOST", "DATA_DIR", "MAX_BODY_BYTES", "CORS_ORIGINS", "TRUSTED_HOSTS"),
    *("BACKUP_TOKEN", "WEB_CONCURRENCY", "GUNICORN_CMD_ARGS"),
]


def free_port() -> int:
    """Return a port that a bound socket keeps for us, and SO_REUSEADDR lets a server bind."""
    _holders.append(socket.socket())
    _holders[-1].bind(("", 0))
    _holders[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return _holders[-1].getsockname()[1]


_holders: list[socket.socket] = []


def wait_until(condition: Callable[[], Any], seconds: float = 20, pause: float = 0.01) -> None:
    """Ask again and again until the condition holds; AssertionError when the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(pause)


class Answer(NamedTuple):
    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Api:
    """Requests as tests write them; a subclass sends them."""

    data_dir: Path

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send one request; header names have underscores for hyphens."""
        return self._send(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, **headers)

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        """Send a body as JSON unless it is bytes or a Content-Type says otherwise."""
        if not isinstance(body, bytes | bytearray):
            body = json.dumps(body).encode()
        headers.setdefault("Content_Type", "application/json")
        return self.request("POST", path, body, **headers)

    def upload(self, body: Any, query: str = "", **headers: str) -> dict:
        """Store a backup and return its receipt."""
        answer = self.post("/api/backup" + query, body, **headers)
        assert answer.status == 201, answer.body
        return answer.json

    def listed(self) -> list[str]:
        return [backup["id"] for backup in self.get("/api/backup/list").json["backups"]]


class Client(Api):
    """The application in this process; its settings are written as in the environment."""

    def __init__(self, data_dir: Path, **environ: str):
        self.data_dir = data_dir
        settings = Settings.from_environ({"DATA_DIR": str(data_dir), **environ})
        self._client = create_app(settings).test_client()

    def _send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Answer:
        # gunicorn says so of every body: it ends a chunked one, too.
        environ = {"wsgi.input_terminated": True}
        if "Content-Length" in headers:
            environ["CONTENT_LENGTH"] = headers["Content-Length"]
        sent = {"data": body, "headers": {"Host": "localhost"} | headers}
        with self._client.open(path, method=method, environ_overrides=environ, **sent) as response:
            received = Message()
            for name, value in response.headers:
                received[name] = value
            return Answer(response.status_code, received, response.data)


class Remote(Api):
    """What listens on a port of this machine."""

    port: int

    def connect(self, timeout: float = 60) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def _send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Answer:
        with closing(self.connect()) as connection:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())


class Server(Remote):
    """A server process; ``command``, a shell's if it is text, is ``python -m backup_server``."""

    def __init__(self, data_dir: Path, command: list[str] | str | None = None, **environ: str):
        self.data_dir = data_dir
        self.port = free_port()
        self.log_path = data_dir.with_name(f"{data_dir.name}-{self.port}.log")
        own = {"PORT": str(self.port), "DATA_DIR": str(data_dir)}
        self.environ = inherited_environ() | own | environ
        self.command = command or [sys.executable, "-m", "backup_server"]
        self.process: subprocess.Popen | None = None

    def launch(self) -> None:
        """Start the process and wait for nothing."""
        with open(self.log_path, "ab") as log:
            own = {"env": self.environ, "shell": isinstance(self.command, str)}
            own |= {"stdout": log, "stderr": log, "start_new_session": True}
            self.process = subprocess.Popen(self.command, **own)

    def start(self) -> "Server":
        """Start the process and wait until it answers."""
        self.launch()
        wait_until(self._answers)
        return self

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log
        with suppress(OSError):
            return bool(self.get("/api/health"))
        return False

    def stop(self) -> int:
        """Ask the server to end (SIGTERM); return its exit status."""
        self.process.terminate()
        return self.process.wait(30)

    def kill(self) -> None:
        """Kill all of its processes at once (SIGKILL)."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def pids(self) -> list[int]:
        """Return its process and that one's workers."""
        master = self.process.pid
        children = Path(f"/proc/{master}/task/{master}/children").read_text()
        return [master, *map(int, children.split())]

    @property
    def log(self) -> str:
        return self.log_path.read_text()


def inherited_environ() -> dict[str, str]:
    """Return the environment without what changes how the server and its commands behave."""
    dropped = {*SETTINGS, "PYTHONUNBUFFERED"}
    return {name: value for name, value in os.environ.items() if name not in dropped}


def assert_error(answer: Answer, status: int, *words: str) -> None:
    """Check the one shape that all errors have, and that the sentence has these words in it."""
    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/json"
    assert list(answer.json) == ["error"]
    assert answer.json["error"].endswith(".")
    assert all(word in answer.json["error"] for word in words), answer


def written(rendered: tuple) -> bytes:
    """Return the file that a rendered document becomes."""
    _, before, after = rendered
    after = b"".join(after)
    return before + hashlib.sha256(before + after).hexdigest().encode() + after


def backups_in(data_dir: Path) -> dict[str, bytes]:
    """Return the bytes of every backup's file, by file name."""
    return {path.name: path.read_bytes() for path in data_dir.glob("backup-*.json")}


def strays_in(data_dir: Path) -> list[str]:
    """Return what lies in a storage directory that neither is a backup nor belongs there."""
    known = re.compile(r"backup-.*\.json|\.last-id|\.keys")
    return [name for name in os.listdir(data_dir) if not known.fullmatch(name)]


@pytest.fixture
def make_client(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Make applications on the test's own directory; afterwards it may hold no stray."""
    yield lambda **environ: Client(tmp_path / "data", **environ)
    assert not (tmp_path / "data").is_dir() or strays_in(tmp_path / "data") == []


@pytest.fixture
def client(make_client: Callable[..., Client]) -> Client:
    """The application with default settings and nothing stored."""
    return make_client()


@contextmanager
def _servers(directory: Path) -> Iterator[Callable[..., Server]]:
    servers = []

    def start(data_dir: Path | None = None, **options: Any) -> Server:
        servers.append(Server(data_dir or directory / "data", **options))
        return servers[-1].start()

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.stop()
    for server in servers:
        assert not server.data_dir.is_dir() or strays_in(server.data_dir) == []


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers, on ``data_dir`` or else the test's own; afterwards none may leave a stray."""
    with _servers(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with _servers(tmp_path_factory.mktemp("shared")) as start:
        yield start()


@pytest.fixture
def server(shared_server: Server) -> Server:
    """A running server with default settings; what other tests of the module stored is there."""
    return shared_server


@pytest.fixture
def sample() -> bytes:
    """What the front end sends: 24 KB."""
    return (ROOT / "tests" / "samples" / "first-backup.json").read_bytes()
