"""The module as an application gets it: on a server, with types, built by its own tools."""

import json
import re
import subprocess

import pytest
from support import ROOT

from .conftest import PORTFOLIO

README = (PORTFOLIO / "README.md").read_text()


def run(*command, cwd=PORTFOLIO):
    return subprocess.run(
        command, cwd=cwd, check=True, capture_output=True, text=True, timeout=120
    ).stdout


def test_importing_it_on_a_server_does_nothing(site):
    names = run(
        "node",
        "--input-type=module",
        "--eval",
        "import * as api from 'eoe-cloud-backup';"
        "import { SyncStatusElement } from 'eoe-cloud-backup/sync-status';"
        "api.configure({ baseUrl: '' });"
        "console.log(JSON.stringify([...Object.keys(api), SyncStatusElement.name]));",
    )
    assert set(json.loads(names)) >= {
        "configure",
        "createBackup",
        "listBackups",
        "restoreFromBackup",
        "enableAutoBackup",
        "disableAutoBackup",
        "markAsSynced",
        "getUnsyncedSnapshots",
        "getUnsyncedCount",
        "getBackupStatus",
        "SyncStatusElement",
    }


def test_its_types_hold_and_are_generated_and_its_own_tests_pass(site, tmp_path):
    run("npx", "--no-install", "tsc")
    run("npx", "--no-install", "tsc", "--project", "tsconfig.types.json", "--outDir", str(tmp_path))
    run("npm", "test")
    package = json.loads((PORTFOLIO / "package.json").read_text())
    for entry in package["exports"].values():
        assert (tmp_path / entry["types"].removeprefix("./types/")).exists()


@pytest.fixture(scope="module")
def application(site, tmp_path_factory):
    """An application that has installed the package by the commands of portfolio/README.md."""
    app = tmp_path_factory.mktemp("portfolio")
    (app / "package.json").write_text('{"name": "app", "private": true, "type": "module"}')
    (commands,) = re.findall(r"```sh\n(BACKUP_SERVER=.*?)```", README, re.DOTALL)
    # `npm ci` has been run; other tests need what it would replace.
    commands = commands.replace("../portfolio-backup-server", str(ROOT)).replace("npm ci && ", "")
    run("bash", "-euo", "pipefail", "-c", commands, cwd=app)
    return app


def test_an_application_can_install_it_and_build(application):
    own, anew = re.findall(r"```js\n(.*?)```", README, re.DOTALL)
    (application / "db.js").write_text("export const getDB = async () => null;")
    (application / "backup-client.ts").write_text(own)
    (application / "main.js").write_text(anew.replace("'../lib/db'", "'./db.js'"))
    (application / "index.html").write_text(
        '<script type="module" src="/main.js"></script>'
        '<script type="module" src="/backup-client.ts"></script>'
    )
    vite = str(PORTFOLIO / "node_modules/.bin/vite")
    run(vite, "build", "--logLevel", "warn", cwd=application)
    assert list((application / "dist" / "assets").glob("*.js"))
    assert (application / "vendor" / "eoe-cloud-backup-1.0.0.tgz").exists()


def test_its_types_are_the_applications(application):
    """The names and results that the application's pages import, with the types they expect."""
    (application / "use.ts").write_text(
        "import { createBackup } from 'eoe-cloud-backup';\n"
        "import { listBackups, restoreFromBackup, getUnsyncedCount } from"
        " 'eoe-cloud-backup/compat';\n"
        "import type { BackupStatus, BackupSummary } from 'eoe-cloud-backup/compat';\n"
        "export const id: Promise<string> = createBackup().then((receipt) => receipt.id);\n"
        "export const list: Promise<BackupSummary[]> = listBackups();\n"
        "export const status: BackupStatus = 'success';\n"
        "export const count: Promise<number> = getUnsyncedCount();\n"
        "export const atoms = restoreFromBackup('x', { atoms: true }).then((it) =>"
        " it?.atomsRestored ?? 0);\n"
    )
    tsc = str(PORTFOLIO / "node_modules/.bin/tsc")
    run(tsc, "--strict", "--noEmit", "--module", "nodenext", "use.ts", cwd=application)


def test_it_depends_on_two_small_libraries_at_run_time():
    package = json.loads((PORTFOLIO / "package.json").read_text())
    assert list(package["dependencies"]) == ["@noble/hashes", "idb"]


def test_the_lock_file_names_no_registry():
    lock = json.loads((PORTFOLIO / "package-lock.json").read_text())
    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []
