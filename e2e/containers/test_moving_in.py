"""An application moves in: its own site, files of the Express server, and the page beside it."""

import shutil

import pytest
from chromium import CHROMIUM

from .test_deployment import EXPRESS_DATA, fill

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


@pytest.fixture
def page(playwright):
    program = shutil.which("chromium")
    browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM)
    yield browser.new_page()
    browser.close()


def test_the_page_opened_before_the_application_breaks_neither(redeployed, volume, tmp_path, page):
    (tmp_path / "about").mkdir()
    (tmp_path / "index.html").write_text(SITE)
    (tmp_path / "about" / "index.html").write_text("<p>About</p>")
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o755)
    name = volume()
    fill(redeployed, name, owner="10001:10001")
    redeployed.configure(SITE_DIR=tmp_path, BACKUP_VOLUME=name)
    redeployed.deploy(NEW_STORAGE=name)
    site, errors = f"http://localhost:{redeployed.port}", []
    page.on("pageerror", lambda error: errors.append(str(error)))

    page.goto(f"{site}/backups")
    page.get_by_text("Open the application once").wait_for()
    assert page.evaluate("indexedDB.databases().then((all) => all.map(({ name }) => name))") in (
        [],
        ["eoe-cloud-backup"],
    )
    assert len(redeployed.listed()) == len(list(EXPRESS_DATA.iterdir()))
    page.get_by_role("link", name="Open the application").click()
    page.get_by_text("Spiral").wait_for()
    page.goto(f"{site}/backups/")
    page.get_by_text("Open the application once").wait_for(state="hidden")
    page.goto(f"{site}/about")
    page.get_by_text("About").wait_for()
    page.goto(site)
    page.get_by_text("Spiral").wait_for()
    versions = page.evaluate("indexedDB.databases()")
    assert {"name": "eoe-atoms", "version": 3} in versions
    assert errors == []
