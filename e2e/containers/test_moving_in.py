"""An application moves in: its own site, files of the Express server, and the page beside it."""

import re
import shutil
import subprocess

from support import ROOT

from .conftest import run

EXPRESS_DATA = ROOT / "tests" / "samples" / "express-data"
APPLICATION = ROOT / "e2e" / "browser" / "application"


def test_express_files_are_handed_over_and_the_page_opened_first_breaks_no_application(
    redeployed, tmp_path, browser
):
    site = tmp_path / "site"
    if not (ROOT / "portfolio" / "node_modules").exists():
        run("npm", "ci", "--no-audit", "--no-fund", cwd=ROOT / "portfolio")
    build = ("npx", "--no-install", "vite", "build", "--outDir", str(site), str(APPLICATION))
    run(*build, cwd=ROOT / "portfolio")
    subprocess.run(["chmod", "-R", "a+rX", tmp_path], check=True)
    shutil.copytree(EXPRESS_DATA, tmp_path / "data")  # owned by another user than the server's
    storage = str(tmp_path / "data")
    redeployed.configure(SITE_DIR=site, DATA_DIR=storage)
    refused = redeployed.deploy(fails=True, NEW_STORAGE=storage)
    command = re.search(r"^  docker compose run .*\\\n.*$", refused, re.MULTILINE)[0]
    run("bash", "-euc", command, cwd=redeployed.directory, env=redeployed.environ)
    redeployed.deploy(NEW_STORAGE=storage)
    written = {path.name: path.read_bytes() for path in EXPRESS_DATA.iterdir()}
    newest, *others = redeployed.listed()
    documents = {f"backup-{id}.json": redeployed.document(id) for id in (newest, *others)}
    assert documents == written
    assert redeployed.request("DELETE", f"/api/backup/{others[0]}").status == 200

    address, errors, page = f"http://localhost:{redeployed.port}", [], browser.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: "Policy" in said.text and errors.append(said.text))
    page.goto(f"{address}/backups")
    page.get_by_text("Open the application once").wait_for()
    made = page.evaluate("indexedDB.databases().then((all) => all.map(({ name }) => name))")
    assert "eoe-atoms" not in made
    page.get_by_role("link", name="Open the application").click()
    page.locator(f"#list [data-id='{newest}']").wait_for()
    page.evaluate("(id) => app.restore(id)", newest)
    assert "Restored: " in page.locator("#result").text_content()
    page.evaluate("app.db.saveAtom({ slug: 'spiral', title: 'Spiral', date: '2026-01-30' })")
    page.click("#back-up")
    page.locator("#badge[data-state=synced]").wait_for(state="attached")
    page.goto(f"{address}/backups/")
    page.locator("sync-status[data-state=backed-up]").wait_for()
    page.goto(address)
    page.wait_for_function("window.app")
    titles = "app.db.getAllAtomsSorted().then((all) => all.map(({ title }) => title))"
    assert "Spiral" in page.evaluate(titles)
    assert {"name": "eoe-atoms", "version": 3} in page.evaluate("indexedDB.databases()")
    assert len(redeployed.listed()) > len(others)
    assert errors == []
    page.close()
