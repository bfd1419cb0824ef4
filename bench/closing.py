"""What an edit costs, and whether it leaves with its tab, whatever the portfolio's size.

    PYTHONPATH=tests:e2e .venv/bin/python bench/closing.py

A real Chromium, whose tabs are closed as by their cross, nginx and the real server. Prints the
table of portfolio/README.md.
"""

import argparse
import shutil
import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from browser.conftest import build_site, image_nginx
from browser.driving import MINUTE, Tab, Trace
from browser.wire import Wire
from chromium import CHROMIUM
from support import Server

#: Records of about 5 KB, incompressible, by the portfolio's name.
SIZES = {"5 KB": 1, "1 MB": 200, "5 MB": 1000, "50 MB": 10_000}

FILL = """async (count) => {
    for (let start = 0; start < count; start += 200) {
        const length = Math.min(200, count - start);
        const records = Array.from({ length }, (_, n) => (
            { id: `s${start + n}`, code: host.noise(4900), synced: false }));
        await host.put('snapshots', ...records);
    }
    await host.client.createBackup();
}"""

#: Stores an atom; tells how long the client held the page up when that was complete, until the
#: change was ready, in milliseconds, and whether a close in that moment would have sent it.
EDIT = """async ([slug, length]) => {
    const atom = { slug, code: host.noise(length) };
    const transaction = (await host.getDB()).transaction('atoms', 'readwrite');
    transaction.objectStore('atoms').put(atom);
    return new Promise((resolve) => {
        transaction.oncomplete = ({ timeStamp }) => {
            const ready = performance.now() - timeStamp;
            const { unsyncedCount } = host.client.getBackupStatus();
            resolve([ready, unsyncedCount > 0]);
        };
    });
}"""


@dataclass
class Figures:
    """What was measured with one portfolio; times in milliseconds, one an edit."""

    rounds: int
    arrived: int = 0  # edits of 5 KB, a second before the close
    arrived_same_task: int = 0  # edits of up to 50 KB, in the task in which they were complete
    ready: list = field(default_factory=list)
    edit_tasks: list = field(default_factory=list)  # the longest each, by processor time
    scan_tasks: list = field(default_factory=list)
    sent_during_scan: bool = False
    bytes_at_close: int = 0
    bytes_at_start: int = 0
    bytes_while_open: int = 0


class Bench:
    def __init__(self, context, wire, server):
        self.context, self.wire, self.server = context, wire, server

    def started(self):
        page = self.opened("/host/?auto")
        page.evaluate("host.started")
        return page

    def opened(self, path):
        page = Tab(self.context.new_page())
        page.set_default_timeout(5 * MINUTE)
        page.goto(f"{self.wire.url}{path}")
        return page

    def has(self, slug):
        """Whether the newest backup has this atom."""
        body = {"backupId": self.server.listed()[0], "items": ["atoms"]}
        data = self.server.post("/api/restore", body).json["data"]
        return any(atom["slug"] == slug for atom in data["atoms"])

    def size_of(self, upload):
        return len(upload.body) + sum(len(n) + len(v) + 4 for n, v in upload.headers.items())

    def sent_since(self, before):
        """Wait for an upload more than so many, and its answer; return it, None without one."""
        try:
            return self.wire.wait_answered(before + 1, 60)[before]
        except AssertionError:
            return None

    def measure(self, records, rounds):
        figures = Figures(rounds)
        page = self.opened("/host/")
        page.evaluate(FILL, records)
        page.close()
        for n in range(rounds):
            self.edit_and_close(figures, f"edit-{n}")
        for n in range(rounds):
            self.close_in_the_same_task(figures, f"same-{n}", (5 + 45 * n // rounds) * 1000)
        self.edit_during_the_scan(figures)
        self.edit_while_open(figures)
        return figures

    def edit_and_close(self, figures, slug):
        count = len(self.wire.uploads)
        page = self.started()
        if len(self.wire.uploads) > count:  # what the close before has sent is acknowledged
            size = self.size_of(self.wire.uploads[count])
            figures.bytes_at_start = max(figures.bytes_at_start, size)
        count = len(self.wire.uploads)
        with Trace(page) as trace:
            ready, told = page.evaluate(EDIT, [slug, 5000])
            page.wait_for_timeout(1000)
        figures.edit_tasks.append(max(trace.tasks()))
        figures.ready.append(ready if told else float("inf"))
        page.close_for_real()
        upload = self.sent_since(count)
        if upload and upload.status == 201 and self.has(slug):
            figures.arrived += 1
            figures.bytes_at_close = max(figures.bytes_at_close, self.size_of(upload))

    def close_in_the_same_task(self, figures, slug, length):
        opener = self.opened("/404.html")
        window = opener.open_by_script()
        window.send_plain()
        count = len(self.wire.uploads)
        window.write_and_close(slug, length)
        upload = self.sent_since(count)
        # Not before: the two share a process, which would end without a `pagehide` in the window.
        opener.close()
        if upload and upload.status == 201 and upload.is_plain_beacon and self.has(slug):
            figures.arrived_same_task += 1

    def edit_during_the_scan(self, figures):
        page = self.opened("/404.html")
        with Trace(page) as trace:
            page.goto(f"{self.wire.url}/host/?auto")
            page.evaluate("void performance.mark('loaded')")
            page.evaluate(EDIT, ["during", 5000])
            scanning = page.evaluate("host.client.getBackupStatus().unsyncedCount") is None
            count = len(self.wire.uploads)
            page.hide()
            upload = self.sent_since(count)
            figures.sent_during_scan = scanning and bool(upload) and self.has("during")
            page.evaluate("host.started")
        figures.scan_tasks.append(max(trace.tasks("loaded")))
        page.close()

    def edit_while_open(self, figures):
        page = self.started()
        count = len(self.wire.uploads)
        page.evaluate(EDIT, ["while-open", 5000])
        page.show()
        upload = self.sent_since(count)
        figures.bytes_while_open = self.size_of(upload) if upload else 0
        page.close()


def run(sizes, rounds):
    """Yield each size's name and figures."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        directory = Path(temporary)
        site = build_site(directory / "site")
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=CHROMIUM
        )
        for name in sizes:
            own = directory / name.replace(" ", "")
            own.mkdir()
            server = Server(own / "data").start()
            try:
                with image_nginx(own / "nginx", site, server) as nginx, Wire(nginx.port) as wire:
                    context = browser.new_context()
                    yield name, Bench(context, wire, server).measure(SIZES[name], rounds)
                    context.close()
            finally:
                server.stop()
        browser.close()


ROWS = {
    "edit, 1 s, close: arrived": lambda f: f"{f.arrived} of {f.rounds}",
    "complete and closed in one task, 5 to 50 KB: arrived": (
        lambda f: f"{f.arrived_same_task} of {f.rounds}"
    ),
    "edit → ready, median and most": (
        lambda f: f"{statistics.median(f.ready):.1f}, {max(f.ready):.1f} ms"
    ),
    "longest task of the page for an edit, median and most": (
        lambda f: f"{statistics.median(f.edit_tasks):.0f}, {max(f.edit_tasks):.0f} ms"
    ),
    "longest task of the first scan after a start": (lambda f: f"{max(f.scan_tasks):.0f} ms"),
    "an edit during that scan has left": lambda f: "yes" if f.sent_during_scan else "no scan seen",
    "sent for an edit of 5 KB: at the close": lambda f: f"{f.bytes_at_close / 1000:.1f} KB",
    "at the next start": lambda f: f"{f.bytes_at_start / 1000:.1f} KB",
    "while open": lambda f: f"{f.bytes_while_open / 1000:.1f} KB",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    options = parser.parse_args()
    measured = dict(run(options.sizes, options.rounds))
    print("| portfolio |", " | ".join(measured), "|")
    print("| --- |", " | ".join("---:" for _ in measured), "|")
    for title, cell in ROWS.items():
        print(f"| {title} |", " | ".join(cell(figures) for figures in measured.values()), "|")


if __name__ == "__main__":
    main()
