"""The portfolio's nginx, run from its real templates without a container."""

import contextlib
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support import Remote

SOURCE = Path(__file__).parent.parent / "portfolio" / "nginx"

#: As portfolio/Dockerfile and compose.yaml set them, but for the places on this machine.
DEFAULTS = {
    "PAGE_ROOT": "/srv/site",
    "BACKUPS_PATH": "/backups",
    "RESOLVER": "127.0.0.11",
    "PUBLIC_HOST": "localhost",
    "MAX_BODY_BYTES": "52428800",
    "CONTENT_SECURITY_POLICY": "",
}


@dataclass(frozen=True)
class Nginx(Remote):
    """A running nginx: its port, its process, and the file its two logs go to."""

    port: int
    process: subprocess.Popen
    log_path: Path

    @property
    def url(self) -> str:
        """Address without a slash at its end, under a name the backup server trusts."""
        return f"http://localhost:{self.port}"

    def log(self) -> str:
        return self.log_path.read_text()


def render(source: Path, settings: dict[str, str]) -> dict[str, str]:
    """Complete the settings by settings.sh, and fill the templates in as the image does.

    Raises RuntimeError with settings.sh's own line, and KeyError if a template has a name in
    capitals that is no setting.
    """
    command = [SOURCE / "settings.sh", "env", "-0"]
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    values = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    return {
        path.stem: re.sub(r"\$\{([A-Z_]+)\}", lambda name: values[name[1]], path.read_text())
        for path in source.glob("*.template")
    }


@contextlib.contextmanager
def running_nginx(
    directory: Path,
    site_root: Path | str,
    upstream: str,
    shortened: dict[str, int] | None = None,
    source: Path = SOURCE,
    **settings: object,
) -> Iterator[Nginx]:
    """Run nginx on a loopback port of the kernel's choice until the block ends.

    *directory* takes its configuration, temporary files and log; *site_root* is the static site;
    *upstream* is the backup server as ``host:port``; *settings* replace ``DEFAULTS``.
    *shortened* gives timeouts fewer seconds than they have, by the name of the directive.
    Raises RuntimeError with the line that settings.sh or nginx itself ends with.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0), backlog=511) as listener:
        port = listener.getsockname()[1]
        own = {"LISTEN": f"127.0.0.1:{port}", "SITE_ROOT": site_root, "BACKUP_UPSTREAM": upstream}
        values = {name: str(value) for name, value in (DEFAULTS | own | settings).items()}
        for name, text in render(source, values).items():
            for directive, seconds in (shortened or {}).items():
                text = re.sub(rf"\b{directive} \d+s;", f"{directive} {seconds}s;", text)
            (directory / name).write_text(text)
        command = ["nginx", "-p", f"{directory}/", "-c", f"{directory}/nginx.conf", "-e", "stderr"]
        if os.geteuid() == 0:
            command += ["-g", "user root;"]  # or its workers could not read pytest's directories
        log_path = directory / "nginx.log"
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
                # Sockets that are handed on, as from an nginx to its next version.
                env=os.environ | {"NGINX": f"{listener.fileno()};"},
            )
    nginx = Nginx(port, process, log_path)
    try:
        try:
            nginx.get("/")
        except OSError:  # the connection is reset if nginx ends before it serves
            process.wait(30)
            raise RuntimeError(f"nginx did not start:\n{nginx.log()}") from None
        yield nginx
    finally:
        process.terminate()
        process.wait(timeout=30)
