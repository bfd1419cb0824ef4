"""Random things happen to two devices, their tabs and their server; the status must stay true.

    PYTHONPATH=tests:e2e:evidence .venv/bin/python -m walk.walk --seeds 10 --steps 200

Each step is followed by a return to the page and a minute. Then the words of the page are compared
with the truth, which is worked out from the server's files: a plain green "Backed up" while the
newest backup of the device is not exactly what is stored there ends the walk, and so does anything
else that stays so for longer than the time of an upload. At the end nothing is lost, and no state
has been stored twice in a row without a reason.
"""

import argparse
import contextlib
import itertools
import json
import random
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from browser.conftest import build_site, image_nginx
from browser.driving import by_key, close_for_real, open_host, stored_here, switch_away, switch_back
from browser.wire import Wire
from chromium import CHROMIUM
from playwright.sync_api import Error
from support import Server

MINUTE = 60_000
SETTLED = ("backed-up", "empty", "emptied")
STORES = {"atoms": "slug", "snapshots": "id", "voiceNotes": "id"}


@dataclass
class Device:
    """A browser context with up to two tabs."""

    name: str
    context: object
    pages: list = field(default_factory=list)
    id: str = ""
    reasons: int = 0  # what may store a state again: restores, losses, backups by hand


class Walk:
    """One walk; ``trace`` says what has happened so far."""

    def __init__(self, browser, wire, server, seed):
        self.wire, self.server = wire, server
        self.random = random.Random(seed)
        self.trace = []
        self.copy = None  # of the directory, to be brought back
        self.devices = [Device(name, browser.new_context()) for name in ("phone", "laptop")]
        for device in self.devices:
            self.open(device)
            device.id = device.pages[0].evaluate("host.client.getDeviceId()")

    def open(self, device):
        device.pages.append(open_host(device.context, self.wire, auto=True))

    # --- what happens -----------------------------------------------------------------------------

    def step(self):
        """Do one thing, return to the pages that it concerns, and compare."""
        device = self.random.choice(self.devices)
        page = self.random.choice(device.pages)
        kinds = [(self.edit, 8), (self.edit_much, 2), (self.remove, 3), (self.close, 4)]
        kinds += [(self.kill, 2), (self.restore, 4), (self.undo, 1), (self.by_hand, 1)]
        kinds += [(self.second_tab, 2), (self.delete_backup, 3), (self.empty_server, 1)]
        kinds += [(self.keep_copy, 1), (self.bring_copy_back, 1), (self.flag, 1)]
        kind = self.random.choices(*zip(*kinds, strict=True))[0]
        self.trace.append(f"{device.name}: {kind.__name__}")
        concerned = [device]
        if kind in (self.delete_backup, self.empty_server, self.bring_copy_back):
            kind()
            concerned = self.devices
            for each in self.devices:
                each.reasons += 1
        else:
            kind(device, page)
        for each in concerned:
            self.return_to(each)

    def edit(self, device, page, length=20):
        store = self.random.choice(list(STORES))
        key = (
            self.random.randint(1, 5) if store == "voiceNotes" else f"k{self.random.randint(0, 7)}"
        )
        record = {STORES[store]: key, "n": self.random.randint(0, 3)}
        page.evaluate(
            "([store, record, length]) => host.put(store, { ...record, code: host.noise(length) })",
            [store, record, length],
        )

    def edit_much(self, device, page):
        self.edit(device, page, 20_000)

    def remove(self, device, page):
        store = self.random.choice(list(STORES))
        page.evaluate(
            """async ([store, path, n]) => {
                const all = await host.getAll(store);
                if (all.length) await host.remove(store, all[n % all.length][path]);
            }""",
            [store, STORES[store], self.random.randint(0, 100)],
        )

    def flag(self, device, page):
        page.evaluate(
            """async () => {
                const all = await host.getAll('snapshots');
                await host.put('snapshots', ...all.map((it) => ({ ...it, synced: true })));
            }"""
        )

    def close(self, device, page):
        self.edit(device, page)
        close_for_real(page)
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
        ids = self.ids()
        if not ids:
            return
        choice = self.random.choice(["keep", "replace"])
        page.evaluate(
            "([id, conflicts]) => host.client.restoreFromBackup(id, undefined, { conflicts })",
            [self.random.choice(ids), choice],
        )
        device.reasons += 1

    def undo(self, device, page):
        page.evaluate("host.client.undoRestore().catch(() => {})")
        device.reasons += 1

    def by_hand(self, device, page):
        page.evaluate("host.client.createBackup()")
        device.reasons += 1

    def delete_backup(self):
        ids = self.ids()
        if ids:
            chosen = self.random.choice([*ids, ids[0], ids[0]])
            self.server.request("DELETE", f"/api/backup/{chosen}")

    def empty_server(self):
        for file in self.files():
            file.unlink()

    def keep_copy(self, device, page):
        self.copy = {file.name: file.read_bytes() for file in self.files()}

    def bring_copy_back(self):
        if self.copy is None:
            return
        self.empty_server()
        for name, content in self.copy.items():
            (self.server.data_dir / name).write_bytes(content)

    # --- what is true -----------------------------------------------------------------------------

    def files(self):
        return list(self.server.data_dir.glob("backup-*.json"))

    def ids(self):
        """Newest first. Names of files do not sort like ids: a dot comes after a hyphen."""
        names = (file.name.removeprefix("backup-").removesuffix(".json") for file in self.files())
        return sorted(names, reverse=True)

    def series(self, device):
        """The documents of a device, newest first."""
        files = (self.server.data_dir / f"backup-{id}.json" for id in self.ids())
        documents = (json.loads(file.read_text()) for file in files)
        return [document for document in documents if document.get("deviceId") == device.id]

    def truth(self, device, page):
        """Whether the newest backup of the device is exactly what is stored there."""
        series = self.series(device)
        return bool(series) and by_key(series[0]["data"]) == stored_here(page)

    def return_to(self, device):
        if not device.pages:
            self.open(device)
        for page in device.pages:
            switch_away(page)
            switch_back(page)
            page.clock.run_for(MINUTE)
            self.settle(device, page)

    def settle(self, device, page, seconds=30):
        """Wait until what the page says is settled and true; never may it say more than is so."""
        state = page.locator("sync-status")
        deadline = time.monotonic() + seconds
        while True:
            said = state.get_attribute("data-state")
            true = self.truth(device, page)
            # What it said before and after the look at the files counts, not what changed between.
            if said == "backed-up" == state.get_attribute("data-state"):
                assert true, f"{device.name} says backed up:\n" + "\n".join(self.trace)
                return
            if said in SETTLED and not any(stored_here(page).values()):
                return
            text = page.locator("sync-status .text").text_content()
            assert time.monotonic() < deadline, f"{device.name}: {text}\n" + "\n".join(self.trace)
            if "everything is sent again at" in text:
                page.clock.run_for(61 * MINUTE)
            page.wait_for_timeout(50)

    def finish(self):
        """Return what was lost and what was stored twice, over both devices."""
        lost = doubled = 0
        for device in self.devices:
            self.return_to(device)
            page = device.pages[0]
            if any(stored_here(page).values()):
                lost += not self.truth(device, page)
            contents = [by_key(document["data"]) for document in self.series(device)]
            pairs = itertools.pairwise(contents)
            doubled += max(0, sum(one == other for one, other in pairs) - device.reasons)
            device.context.close()
        return lost, doubled


def run(seeds, steps):
    """Yield each seed with what its walk has lost and stored twice."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        site = build_site(Path(temporary) / "site")
        program = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM)
        for seed in seeds:
            own = Path(temporary) / str(seed)
            own.mkdir()
            server = Server(own / "data").start()
            try:
                with image_nginx(own / "nginx", site, server) as nginx, Wire(nginx.port) as wire:
                    walk = Walk(browser, wire, server, seed)
                    for _ in range(steps):
                        walk.step()
                    yield seed, *walk.finish()
            finally:
                server.stop()
        browser.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    for seed, lost, doubled in run(
        range(options.first, options.first + options.seeds), options.steps
    ):
        print(f"seed {seed}: {options.steps} steps, {lost} lost, {doubled} doubled", flush=True)


if __name__ == "__main__":
    main()
