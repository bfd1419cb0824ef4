"""An application moves in: its own site, files of the Express server, and the page beside it."""

import re
import shutil

from support import ROOT

from .conftest import run

EXPRESS_DATA = ROOT / "tests" / "samples" / "express-data"

#: Opens its database as the application does, and reads by one of its indexes.
SITE = """<!doctype html><title>EOE</title><link rel="icon" href="data:,"><main>not yet</main>
<script>
  const show = (text) => { document.querySelector('main').textContent = text; };
  const stores = {
    atoms: [{ keyPath: 'slug' }, 'date', 'type'],
    compositions: [{ keyPath: 'id' }, 'name', 'updatedAt', 'synced'],
    snapshots: [{ keyPath: 'id' }, 'atomSlug', 'createdAt', 'synced'],
    voiceNotes: [{ keyPath: 'id', autoIncrement: true }, 'atomSlug', 'synced'],
    configOverrides: [{ keyPath: 'atomSlug' }],
  };
  const opened = indexedDB.open('eoe-atoms', 3);
  opened.onupgradeneeded = () => {
    for (const [name, [options, ...indexes]] of Object.entries(stores)) {
      const store = opened.result.createObjectStore(name, options);
      for (const index of indexes) store.createIndex(index, index);
    }
  };
  opened.onerror = () => show(opened.error.message);
  opened.onsuccess = () => {
    try {
      const atoms = opened.result.transaction('atoms', 'readwrite').objectStore('atoms');
      atoms.put({ slug: 'spiral', title: 'Spiral', date: '2026-01-30', type: 'visual' });
      atoms.index('date').getAll().onsuccess = ({ target }) => {
        show(target.result.map(({ title }) => title).join());
      };
    } catch (error) { show(error.message); }
  };
</script>"""


def test_express_files_are_handed_over_and_the_page_opened_first_breaks_no_application(
    redeployed, tmp_path, browser
):
    (tmp_path / "index.html").write_text(SITE)
    tmp_path.chmod(0o755)
    shutil.copytree(EXPRESS_DATA, tmp_path / "data")  # owned by another user than the server's
    storage = str(tmp_path / "data")
    redeployed.configure(SITE_DIR=tmp_path, DATA_DIR=storage)
    refused = redeployed.deploy(fails=True, NEW_STORAGE=storage)
    command = re.search(r"^  docker compose run .*\\\n.*$", refused, re.MULTILINE)[0]
    run("bash", "-euc", command, cwd=redeployed.directory, env=redeployed.environ)
    redeployed.deploy(NEW_STORAGE=storage)
    written = {path.name: path.read_bytes() for path in EXPRESS_DATA.iterdir()}
    listed = redeployed.listed()
    assert {f"backup-{id}.json": redeployed.document(id) for id in listed} == written
    assert redeployed.request("DELETE", f"/api/backup/{listed[0]}").status == 200

    site, errors, page = f"http://localhost:{redeployed.port}", [], browser.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{site}/backups")
    page.get_by_text("Open the application once").wait_for()
    made = page.evaluate("indexedDB.databases().then((all) => all.map(({ name }) => name))")
    assert "eoe-atoms" not in made
    page.get_by_role("link", name="Open the application").click()
    page.get_by_text("Spiral").wait_for()
    page.goto(f"{site}/backups/")
    page.get_by_text("Open the application once").wait_for(state="hidden")
    page.goto(site)
    page.get_by_text("Spiral").wait_for()
    assert {"name": "eoe-atoms", "version": 3} in page.evaluate("indexedDB.databases()")
    assert errors == []
    page.close()
