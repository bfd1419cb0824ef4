"""The module as an application gets it: on a server, with types, built by its own tools."""

import json
import re
import subprocess

import pytest
from support import ROOT

from .conftest import PORTFOLIO

README = (PORTFOLIO / "README.md").read_text()
BIN = PORTFOLIO / "node_modules" / ".bin"


def run(*command, cwd=PORTFOLIO):
    done = subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=120)
    return done.stdout


def test_importing_it_on_a_server_does_nothing(site):
    script = """
    import * as api from 'eoe-cloud-backup';
    import { SyncStatusElement } from 'eoe-cloud-backup/sync-status';
    api.configure({ baseUrl: '' });
    console.log([...Object.keys(api), SyncStatusElement.name].join(' '));"""
    names = run("node", "--input-type=module", "--eval", script).split()
    assert {"configure", "createBackup", "enableAutoBackup", "SyncStatusElement"} <= set(names)


def test_its_types_hold_and_are_generated_and_its_own_tests_pass(site, tmp_path):
    run(BIN / "tsc")
    run(BIN / "tsc", "--project", "tsconfig.types.json", "--outDir", str(tmp_path))
    run("npm", "test")
    package = json.loads((PORTFOLIO / "package.json").read_text())
    for entry in package["exports"].values():
        assert (tmp_path / entry["types"].removeprefix("./types/")).exists()


@pytest.fixture
def application(site, tmp_path_factory):
    """An application that has installed the package by the commands of portfolio/README.md."""
    app = tmp_path_factory.mktemp("portfolio")
    (app / "package.json").write_text('{"name": "app", "private": true, "type": "module"}')
    (commands,) = re.findall(r"```sh\n(BACKUP_SERVER=.*?)```", README, re.DOTALL)
    # `npm ci` has been run; other tests need what it would replace.
    commands = commands.replace("../portfolio-backup-server", str(ROOT)).replace("npm ci && ", "")
    run("bash", "-euo", "pipefail", "-c", commands, cwd=app)
    return app


def test_an_application_can_install_it_build_and_use_the_types_that_its_pages_expect(application):
    own, anew = re.findall(r"```js\n(.*?)```", README, re.DOTALL)
    (application / "db.js").write_text("export const getDB = async () => null;")
    (application / "backup-client.ts").write_text(own)
    (application / "main.js").write_text(anew.replace("'../lib/db'", "'./db.js'"))
    (application / "index.html").write_text(
        '<script type="module">import "/main.js"; import "/backup-client.ts";</script>'
    )
    run(BIN / "vite", "build", "--logLevel", "warn", cwd=application)
    assert list((application / "dist" / "assets").glob("*.js"))
    (application / "use.ts").write_text(
        """import { createBackup } from 'eoe-cloud-backup';
        import { getUnsyncedCount, listBackups, restoreFromBackup } from 'eoe-cloud-backup/compat';
        import type { BackupStatus, BackupSummary } from 'eoe-cloud-backup/compat';
        export const id: Promise<string> = createBackup().then((receipt) => receipt.id);
        export const list: Promise<BackupSummary[]> = listBackups();
        export const status: BackupStatus = 'success';
        export const count: Promise<number> = getUnsyncedCount();
        export const atoms = restoreFromBackup('x').then((it) => it?.atomsRestored ?? 0);"""
    )
    run(BIN / "tsc", "--strict", "--noEmit", "--module", "nodenext", "use.ts", cwd=application)
