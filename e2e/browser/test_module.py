"""The module as an application gets it: on a server, with types, built by its own tools."""

import json
import re
import subprocess
from pathlib import Path

from .conftest import PORTFOLIO


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


def test_its_types_hold_and_are_generated(site, tmp_path):
    run("npx", "--no-install", "tsc")
    run("npx", "--no-install", "tsc", "--project", "tsconfig.types.json", "--outDir", str(tmp_path))
    package = json.loads((PORTFOLIO / "package.json").read_text())
    for entry in package["exports"].values():
        assert (tmp_path / entry["types"].removeprefix("./types/")).exists()


def test_an_application_can_install_it(site, tmp_path):
    """By the commands of portfolio/README.md, and build with what it got, types included."""
    text = (PORTFOLIO / "README.md").read_text()
    (install,) = re.findall(r"npm install (\S+\.tgz)", text)
    run("npm", "pack", "--pack-destination", str(tmp_path))
    archive = tmp_path / Path(install).name
    app = tmp_path / "app"
    app.mkdir()
    (app / "package.json").write_text('{"name": "app", "private": true, "type": "module"}')
    run("npm", "install", "--no-audit", "--no-fund", "--prefer-offline", str(archive), cwd=app)
    (five_lines,) = re.findall(r"```js\n(.*?)```", text, re.DOTALL)
    (app / "main.js").write_text(five_lines.replace("'../lib/db'", "'./db.js'"))
    (app / "db.js").write_text("export const getDB = async () => null;")
    (app / "index.html").write_text('<script type="module" src="/main.js"></script>')
    run(str(PORTFOLIO / "node_modules/.bin/vite"), "build", "--logLevel", "warn", cwd=app)
    assert list((app / "dist" / "assets").glob("*.js"))
    (app / "use.ts").write_text(
        "import { createBackup } from 'eoe-cloud-backup';\n"
        "export const id: Promise<string> = createBackup().then((receipt) => receipt.id);\n"
    )
    tsc = str(PORTFOLIO / "node_modules/.bin/tsc")
    run(tsc, "--strict", "--noEmit", "--module", "nodenext", "use.ts", cwd=app)


def test_it_depends_on_two_small_libraries_at_run_time():
    package = json.loads((PORTFOLIO / "package.json").read_text())
    assert list(package["dependencies"]) == ["@noble/hashes", "idb"]


def test_the_lock_file_names_no_registry():
    lock = json.loads((PORTFOLIO / "package-lock.json").read_text())
    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []
