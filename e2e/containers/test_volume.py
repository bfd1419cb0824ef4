"""The volume of the containers: thinned by the prune service, and copied to a new host and back."""

import json
import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path

import pytest
from commands import write_backup
from support import ROOT, SETTINGS, backups_in, free_port, wait_until

OFF_SITE = (ROOT / "docs" / "off-site.md").read_text()


class Host:
    """A Compose project of its own with the backup server, as on a host of its own."""

    def __init__(self, place: Path):
        self.env_file = place / ".env"
        self.project = f"portfolio-test-{secrets.token_hex(4)}"
        self.port = free_port()
        self.environ = {k: v for k, v in os.environ.items() if k not in SETTINGS} | {
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_ENV_FILES": str(self.env_file),
            "RESTIC_REPOSITORY": str(place / "elsewhere"),
            "RESTIC_PASSWORD": "correct horse",
            "RESTIC_CACHE_DIR": str(place / "cache"),
        }
        self.configure()

    def configure(self, **settings: str) -> None:
        lines = [f"{name}={value}\n" for name, value in {"PORT": self.port, **settings}.items()]
        self.env_file.write_text("".join(lines))

    def run(self, script: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=ROOT,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def recipe(self, name: str) -> str:
        """Run the block behind a marker of docs/off-site.md, on this project's volume."""
        block = re.search(rf"<!-- off-site: {name} -->\n```sh\n(.*?)```", OFF_SITE, re.DOTALL)[1]
        return self.run(block.replace("portfolio_backup-data", f"{self.project}_backup-data"))

    def up(self, *services: str) -> str:
        return self.run(f"docker compose up --detach --build --wait {' '.join(services)}")

    @property
    def directory(self) -> Path:
        name = f"{self.project}_backup-data"
        inspect = f"docker volume inspect --format '{{{{.Mountpoint}}}}' {name}"
        return Path(self.run(inspect).strip())

    def ask(self, method: str, path: str, body: bytes | None = None) -> dict:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        assert response.status in (200, 201), answer
        return answer

    def remove(self) -> None:
        self.run("docker compose down --volumes --rmi local --remove-orphans --timeout 5")


@pytest.fixture
def host(tmp_path) -> Iterator[Host]:
    assert os.geteuid() == 0, "only root can read a volume's directory"
    host = Host(tmp_path)
    yield host
    host.remove()


def test_the_prune_service_runs_only_while_it_is_asked_for(host):
    host.up("backup", "prune")
    for hour in range(5):
        made = datetime.now(UTC) - timedelta(hours=hour + 1)
        name = write_backup(host.directory, made)
        os.chown(host.directory / f"backup-{name}.json", 10001, 10001)
    assert host.run("docker compose ps --all --quiet prune") == ""

    host.configure(PRUNE="--keep-last 2 --timezone Europe/Zurich")
    host.up("backup", "prune")
    wait_until(lambda: len(backups_in(host.directory)) == 2, 60)
    assert "Deleted 3 of 5 backups" in host.run("docker compose logs prune")
    host.configure(PRUNE="--keep-nothing")
    host.run("docker compose up --detach prune")
    wait_until(lambda: "No such option" in host.run("docker compose logs prune"), 60)
    host.configure()
    host.up("backup", "prune")
    assert host.run("docker compose ps --all --quiet prune") == ""
    assert len(backups_in(host.directory)) == 2


def test_a_copy_of_the_volume_comes_back_on_a_new_host(host, sample):
    host.run("restic init")
    host.up("backup")
    for query in ("", "", "?key=key-of-the-last-one"):
        host.ask("POST", f"/api/backup{query}", sample)
    listed = host.ask("GET", "/api/backup/list")
    stored = backups_in(host.directory)
    host.recipe("volume copy")
    host.run("docker compose down --volumes")

    host.project = host.environ["COMPOSE_PROJECT_NAME"] = f"{host.project}-new"
    host.recipe("volume restore")
    # As another program than restic, or another user, would have left it.
    for path in (host.directory, *host.directory.rglob("*")):
        os.chown(path, 1234, 1234, follow_symlinks=False)
    host.directory.chmod(0o755)
    (host.directory / ".keys").chmod(0o700)
    assert "3 backups in /data/backups, 0 damaged" in host.recipe("volume owner")
    status = host.directory.stat()
    assert (status.st_uid, status.st_mode & 0o777) == (10001, 0o700)
    host.up("backup")
    assert host.ask("GET", "/api/backup/list") == listed
    assert backups_in(host.directory) == stored
    again = host.ask("POST", "/api/backup?key=key-of-the-last-one", sample)
    assert again["id"] == listed["backups"][0]["id"], "keys came along, too"
    assert host.ask("POST", "/api/backup", sample)["id"] > again["id"]
