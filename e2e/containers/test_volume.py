"""The volume of the containers: thinned by the prune service, and copied to a new host and back."""

import os
import re
import secrets
from pathlib import Path

from support import ROOT, Remote, backups_in, free_port, wait_until

from .conftest import run

OFF_SITE = (ROOT / "docs" / "off-site.md").read_text()


def test_the_prune_service_runs_only_while_it_is_asked_for(deployment, sample):
    for backup_id in deployment.listed():
        deployment.request("DELETE", f"/api/backup/{backup_id}")
    kept = [deployment.upload(sample)["id"] for _ in range(5)][:-3:-1]
    compose = deployment.compose
    assert compose("ps", "--all", "--quiet", "prune") == ""
    deployment.configure(PRUNE="--keep-last 2", TZ="Europe/Zurich")
    deployment.start("prune")
    wait_until(lambda: "Deleted 3 of 5 backups" in compose("logs", "prune"), 60)
    assert deployment.listed() == kept
    deployment.configure()
    deployment.start("prune")
    assert compose("ps", "--all", "--quiet", "prune") == ""


def test_a_backup_comes_back_from_a_copy_by_compose_as_the_docs_say(deployment, sample, tmp_path):
    backup_id = deployment.upload(sample)["id"]
    before = deployment.document(backup_id)
    deployment.compose("cp", "backup:/data/backups", str(tmp_path / "copy"))
    assert deployment.request("DELETE", f"/api/backup/{backup_id}").status == 200
    name = f"backup-{backup_id}.json"
    copied = (tmp_path / "copy" / name).read_text()
    # Written by the server's own user: a plain `compose cp` would make it root's alone.
    deployment.execute("backup", "tee", f"/data/backups/{name}", input=copied)
    assert deployment.document(backup_id) == before


def test_a_copy_of_the_volume_comes_back_on_a_new_host(deployment, sample, tmp_path):
    assert os.geteuid() == 0, "only root can read a volume's directory"
    here = deployment.environ | {
        "RESTIC_REPOSITORY": str(tmp_path / "elsewhere"),
        "RESTIC_PASSWORD": "correct horse",
        "RESTIC_CACHE_DIR": str(tmp_path / "cache"),
    }
    new = Remote()
    new.port, project = free_port(), f"portfolio-test-{secrets.token_hex(4)}"
    there = here | {"COMPOSE_PROJECT_NAME": project, "PORT": str(new.port)}

    def recipe(name, environ):
        """Run the block behind a marker of docs/off-site.md, on the volume of a project."""
        block = re.search(rf"<!-- off-site: {name} -->\n```sh\n(.*?)```", OFF_SITE, re.DOTALL)[1]
        volume = f"{environ['COMPOSE_PROJECT_NAME']}_backup-data"
        command = ("bash", "-euo", "pipefail", "-c")
        block = block.replace("portfolio_backup-data", volume)
        return run(*command, block, cwd=deployment.directory, env=environ).stdout

    def directory_of(project):
        inspect = ("docker", "volume", "inspect", "--format", "{{.Mountpoint}}")
        return Path(run(*inspect, f"{project}_backup-data").stdout.strip())

    for query in ("", "", "?key=key-of-the-last-one"):
        last = deployment.upload(sample, query)
    listing = deployment.get("/api/backup/list").body
    stored = backups_in(directory_of(deployment.project))
    run("restic", "init", env=here)
    recipe("volume copy", here)
    try:
        recipe("volume restore", there)
        directory = directory_of(project)
        # As another program than restic, or another user, would have left it.
        for path in (directory, *directory.rglob("*")):
            os.chown(path, 1234, 1234, follow_symlinks=False)
        directory.chmod(0o755)
        assert f"{len(stored)} backups in /data/backups, 0 damaged" in recipe("volume owner", there)
        status = directory.stat()
        assert (status.st_uid, status.st_mode & 0o777) == (10001, 0o700)
        deployment.start("backup", env=there)
        assert new.get("/api/backup/list").body == listing
        assert backups_in(directory) == stored
        again = new.post("/api/backup?key=key-of-the-last-one", sample)
        assert (again.status, again.json) == (200, last), "keys came along, too"
        assert new.upload(sample)["id"] > last["id"]
    finally:
        deployment.compose("down", "--volumes", "--rmi", "local", "--timeout", "5", env=there)
