"""The portfolio's nginx, run from its real templates without a container.

``running_nginx`` is what the tests of the configuration and the browser tests put between a
client and a backup server.
"""

import contextlib
import os
import re
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from support import free_port

TEMPLATES = {
    path.name.removesuffix(".template"): path.read_text()
    for path in (Path(__file__).parent.parent / "portfolio" / "nginx").glob("*.template")
}

#: The policy of the page in the image, which tests serve from another directory.
IMAGE_POLICY = re.search(
    r'^ +/srv/site +"(default-src.*)";$', TEMPLATES["headers.conf"], re.MULTILINE
)[1]

# as portfolio/Dockerfile and compose.yaml set them
DEFAULTS = {
    "RESOLVER": "127.0.0.11",
    "PUBLIC_HOST": "localhost",
    "MAX_BODY_BYTES": "52428800",
    "CONTENT_SECURITY_POLICY": "",
}


@dataclass(frozen=True)
class Nginx:
    """A running nginx: its address, its process, and the file its two logs go to."""

    port: int
    process: subprocess.Popen
    log_path: Path

    @property
    def url(self):
        """Address without a slash at its end, under a name the backup server trusts."""
        return f"http://localhost:{self.port}"

    def log(self):
        return self.log_path.read_text()


def render(template, values):
    """A template's text with ``${NAME}`` replaced, as the image's entrypoint does it.

    Raises KeyError if the template has a name in capitals that *values* lacks.
    """
    return re.sub(r"\$\{([A-Z][A-Z_]*)\}", lambda name: str(values[name[1]]), template)


@contextlib.contextmanager
def running_nginx(directory, site_root, upstream, shortened=None, **settings):
    """Run nginx on a free loopback port until the block ends; yields an ``Nginx``.

    *directory* takes its configuration, temporary files and log; *site_root* is the static site;
    *upstream* is the backup server as ``host:port``; *settings* replace ``DEFAULTS``.
    *shortened* gives timeouts fewer seconds than they have, by the name of the directive.
    Raises RuntimeError with nginx's own words if it does not start.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    own = {"LISTEN": f"127.0.0.1:{port}", "SITE_ROOT": site_root, "BACKUP_UPSTREAM": upstream}
    texts = {name: render(text, DEFAULTS | own | settings) for name, text in TEMPLATES.items()}
    for directive, seconds in (shortened or {}).items():
        pattern = rf"\b{directive} \d+s;"
        assert sum(len(re.findall(pattern, text)) for text in texts.values()) == 1, directive
        texts = {n: re.sub(pattern, f"{directive} {seconds}s;", t) for n, t in texts.items()}
    for name, text in texts.items():
        (directory / name).write_text(text)
    command = ["nginx", "-p", f"{directory}/", "-c", f"{directory}/nginx.conf", "-e", "stderr"]
    if os.geteuid() == 0:
        command += ["-g", "user root;"]  # or its workers could not read pytest's directories
    log_path = directory / "nginx.log"
    with log_path.open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_until_listening(process, port, log_path)
        yield Nginx(port, process, log_path)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_until_listening(process, port, log_path, seconds=10):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.02)
    raise RuntimeError(f"nginx did not start:\n{log_path.read_text()}")
