"""The volume of the containers: thinned by the prune service, and copied to a new host and back."""

import os
import re
import secrets
from pathlib import Path

from support import ROOT, backups_in, free_port, wait_until

from .conftest import Direct, run

OFF_SITE = (ROOT / "docs" / "off-site.md").read_text()


def test_the_prune_service_runs_only_while_it_is_asked_for(deployment, sample):
    for backup_id in deployment.listed():
        deployment.request("DELETE", f"/api/backup/{backup_id}")
    kept = [deployment.upload(sample)["id"] for _ in range(5)][:-3:-1]
    compose, logs = deployment.compose, ("logs", "prune")
    assert compose("ps", "--all", "--quiet", "prune") == ""

    deployment.configure(PRUNE="--keep-last 2 --timezone Europe/Zurich")
    deployment.start("prune")
    wait_until(lambda: "Deleted 3 of 5 backups" in compose(*logs), 60)
    assert deployment.listed() == kept
    deployment.configure(PRUNE="--keep-nothing")
    compose("up", "--no-build", "--detach", "prune")
    wait_until(lambda: "No such option" in compose(*logs), 60)
    deployment.configure()
    deployment.start("prune")
    assert compose("ps", "--all", "--quiet", "prune") == ""
    assert deployment.listed() == kept


def test_a_copy_of_the_volume_comes_back_on_a_new_host(deployment, sample, tmp_path):
    assert os.geteuid() == 0, "only root can read a volume's directory"
    here = deployment.environ | {
        "RESTIC_REPOSITORY": str(tmp_path / "elsewhere"),
        "RESTIC_PASSWORD": "correct horse",
        "RESTIC_CACHE_DIR": str(tmp_path / "cache"),
    }
    project = f"portfolio-test-{secrets.token_hex(4)}"
    there, new = here | {"COMPOSE_PROJECT_NAME": project}, Direct(free_port())
    there["PORT"] = str(new.port)

    def recipe(name, environ):
        """Run the block behind a marker of docs/off-site.md, on the volume of a project."""
        block = re.search(rf"<!-- off-site: {name} -->\n```sh\n(.*?)```", OFF_SITE, re.DOTALL)[1]
        block = block.replace("portfolio_backup-data", volume_of(environ))
        command = ("bash", "-euo", "pipefail", "-c", block)
        return run(*command, cwd=deployment.directory, env=environ).stdout

    for query in ("", "", "?key=key-of-the-last-one"):
        last = deployment.upload(sample, query)
    listing = deployment.get("/api/backup/list").body
    stored = backups_in(directory_of(here))
    run("restic", "init", env=here)
    recipe("volume copy", here)
    try:
        recipe("volume restore", there)
        directory = directory_of(there)
        # As another program than restic, or another user, would have left it.
        for path in (directory, *directory.rglob("*")):
            os.chown(path, 1234, 1234, follow_symlinks=False)
        directory.chmod(0o755)
        (directory / ".keys").chmod(0o700)
        assert f"{len(stored)} backups in /data/backups, 0 damaged" in recipe("volume owner", there)
        status = directory.stat()
        assert (status.st_uid, status.st_mode & 0o777) == (10001, 0o700)
        deployment.compose("up", "--no-build", "--detach", "--wait", "backup", env=there)
        assert new.get("/api/backup/list").body == listing
        assert backups_in(directory) == stored
        again = new.post("/api/backup?key=key-of-the-last-one", sample)
        assert (again.status, again.json) == (200, last), "keys came along, too"
        assert new.upload(sample)["id"] > last["id"]
    finally:
        down = ("down", "--volumes", "--rmi", "local", "--timeout", "5")
        deployment.compose(*down, env=there)


def volume_of(environ):
    return f"{environ['COMPOSE_PROJECT_NAME']}_backup-data"


def directory_of(environ):
    inspect = ("docker", "volume", "inspect", "--format", "{{.Mountpoint}}", volume_of(environ))
    return Path(run(*inspect).stdout.strip())
