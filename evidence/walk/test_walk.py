"""Random things happen to two devices, their tabs and their server; the status must stay true.

Each step is followed by a return to the page and a minute. Then the words of the page are compared
with the truth, which is worked out from the server's files: a plain green "Backed up" while the
newest backup of the device is not exactly the device's records ends the walk, and so does anything
else that stays so for longer than the time of an upload. At the end nothing is lost, and no state
has been stored twice in a row without a reason.
"""

import contextlib
import itertools
import json
import random
import shutil
import time
from dataclasses import dataclass, field

from browser.conftest import build_site, image_nginx
from browser.driving import by_key, open_host
from browser.wire import Wire
from chromium import CHROMIUM
from playwright.sync_api import Error, sync_playwright

MINUTE = 60_000
#: Seconds until the status must be settled: twice the client's own pause between two questions.
PATIENCE = 60
SETTLED = ("backed-up", "empty", "emptied")
STORES = {"atoms": "slug", "snapshots": "id", "voiceNotes": "id"}
WRITE_ELSEWHERE = """(record) => new Promise((resolve) => {
    indexedDB.open('eoe-atoms').onsuccess = ({ target: { result: own } }) => {
        const transaction = own.transaction('atoms', 'readwrite');
        transaction.objectStore('atoms').put(record);
        transaction.oncomplete = () => resolve(own.close());
    };
})"""


@dataclass
class Device:
    """A browser context with up to two tabs."""

    name: str
    context: object
    pages: list = field(default_factory=list)
    id: str = ""
    reasons: int = 0  # how often a state may have been stored again


class Walk:
    """One walk; ``trace`` says what has happened so far. The steps are the methods of ``KINDS``."""

    def __init__(self, browser, wire, server, seed):
        self.wire, self.server, self.random = wire, server, random.Random(seed)
        self.trace = []
        self.devices = [Device(name, browser.new_context()) for name in ("phone", "laptop")]
        for device in self.devices:
            self.open(device)
            device.id = device.pages[0].evaluate("host.client.getDeviceId()")

    def open(self, device):
        device.pages.append(open_host(device.context, self.wire, auto=True))

    def step(self):
        """Do one thing, return to the pages that it concerns, and compare."""
        device = self.random.choice(self.devices)
        page = self.random.choice(device.pages)
        (kind,) = self.random.choices([*KINDS], KINDS.values())
        self.trace.append(f"{device.name}: {kind.__name__}")
        kind(self, device, page)
        for each in self.devices if kind in REASONS else [device]:
            each.reasons += kind in REASONS
            self.return_to(each)

    def edit(self, device, page):
        store = self.random.choice([*STORES])
        key = self.random.randint(1, 5)
        record = {STORES[store]: key if store == "voiceNotes" else f"k{key}"}
        record["n"], length = self.random.randint(0, 3), self.random.choice([20] * 4 + [20_000])
        page.put(store, record | {"code": page.evaluate(f"host.noise({length})")})

    def edit_without_the_client(self, device, page):
        """Write through a connection of its own, which the client sees at the next return."""
        page.evaluate(WRITE_ELSEWHERE, {"slug": "k1", "n": self.random.randint(0, 100)})

    def remove(self, device, page):
        store = self.random.choice([*STORES])
        if keys := [*page.stored()[store]]:
            page.remove(store, self.random.choice(keys))

    def close(self, device, page):
        self.edit(device, page)
        page.close_for_real()
        device.pages.remove(page)

    def kill(self, device, page):
        """End the process of the tab, which gets no event of its end."""
        self.edit(device, page)
        with contextlib.suppress(Error):  # that is the answer of a page that crashed
            page.goto("chrome://crash")
        page.close()
        device.pages.remove(page)

    def second_tab(self, device, page):
        if len(device.pages) < 2:
            self.open(device)

    def restore(self, device, page):
        if ids := self.ids():
            conflicts = self.random.choice(["keep", "replace"])
            page.restore(self.random.choice(ids), conflicts=conflicts)

    def files(self):
        """Newest first. Names of files do not sort like ids: a dot comes after a hyphen."""
        found = self.server.data_dir.glob("backup-*.json")
        return sorted(found, key=lambda file: file.stem, reverse=True)

    def ids(self):
        return [file.stem.removeprefix("backup-") for file in self.files()]

    def delete_backup(self, *_):
        if ids := self.ids():
            chosen = self.random.choice([*ids, ids[0], ids[0]])
            self.server.request("DELETE", f"/api/backup/{chosen}")

    def empty_server(self, *_):
        for file in self.files():
            file.unlink()

    def series(self, device):
        """The contents of a device's backups, newest first."""
        documents = [json.loads(file.read_text()) for file in self.files()]
        return [by_key(one["data"]) for one in documents if one.get("deviceId") == device.id]

    def is_safe(self, device, page):
        """Whether the newest backup of the device has exactly the device's records."""
        return self.series(device)[:1] == [page.stored()]

    def return_to(self, device):
        if not device.pages:
            self.open(device)
        for page in device.pages:
            page.return_to()
            page.clock.run_for(MINUTE)
            self.settle(device, page)

    def settle(self, device, page):
        """Wait until what the page says is settled and true; never may it say more than is so."""
        status, deadline = page.locator("sync-status"), time.monotonic() + PATIENCE
        while True:
            said = status.get_attribute("data-state")
            true = self.is_safe(device, page)
            # What it said before and after the look at the files counts, not what changed between.
            if said == "backed-up" == status.get_attribute("data-state"):
                assert true, f"{device.name} says backed up:\n" + "\n".join(self.trace)
                return
            if said in SETTLED and not any(page.stored().values()):
                return
            text = page.locator("sync-status .text").text_content()
            assert time.monotonic() < deadline, f"{device.name}: {text}\n" + "\n".join(self.trace)
            if "everything is sent again at" in text:
                page.clock.run_for(61 * MINUTE)
            page.wait_for_timeout(50)

    def finish(self):
        """Check what was lost and what was stored twice."""
        for device in self.devices:
            self.return_to(device)
            page = device.pages[0]
            assert self.is_safe(device, page) or not any(page.stored().values())
            pairs = itertools.pairwise(self.series(device))
            assert sum(one == other for one, other in pairs) <= device.reasons, self.trace
            device.context.close()


#: How often each thing happens.
KINDS = {
    Walk.edit: 10,
    Walk.edit_without_the_client: 3,
    Walk.remove: 3,
    Walk.close: 4,
    Walk.kill: 2,
}
KINDS |= {Walk.restore: 4, Walk.second_tab: 2, Walk.delete_backup: 3, Walk.empty_server: 1}
#: After which a state may be stored again.
REASONS = (Walk.restore, Walk.delete_backup, Walk.empty_server)


def test_the_status_is_true_after_each_step_of_a_random_walk(tmp_path, start_server, amount):
    site = build_site(tmp_path / "site")
    with sync_playwright() as playwright:
        program = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM)
        for seed in range(amount.walks):
            server = start_server(tmp_path / f"data-{seed}")
            nginx = image_nginx(tmp_path / f"nginx-{seed}", site, server)
            with nginx as running, Wire(running.port) as wire:
                walk = Walk(browser, wire, server, seed)
                for _ in range(amount.steps):
                    walk.step()
                walk.finish()
            print(f"seed {seed}: {amount.steps} steps, 0 lost, 0 doubled")
        browser.close()
