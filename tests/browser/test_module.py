"""The module as an application gets it: on a server, with types, built by its own tools."""

import json
import subprocess

from .conftest import PORTFOLIO


def run(*command):
    return subprocess.run(
        command, cwd=PORTFOLIO, check=True, capture_output=True, text=True, timeout=120
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


def test_its_one_runtime_dependency_is_idb():
    package = json.loads((PORTFOLIO / "package.json").read_text())
    assert list(package["dependencies"]) == ["idb"]


def test_the_lock_file_names_no_registry():
    lock = json.loads((PORTFOLIO / "package-lock.json").read_text())
    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []
