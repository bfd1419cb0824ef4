"""The words of these tests: tabs of the host application, and what the server has of them."""

import contextlib
import json
import os
import shutil
import signal
from pathlib import Path

from chromium import CHROMIUM
from support import CATEGORIES

MINUTE = 60_000  # milliseconds
LISTS = "**/api/backup/list*"  # requests for the list

#: The key of a record by its category.
KEY_PATHS = dict.fromkeys(CATEGORIES, "id") | {"atoms": "slug", "configOverrides": "atomSlug"}


def by_key(data):
    """The records of a document's data, or of a device, by category and key."""
    kept = ("synced", "audioBlob")
    return {
        category: {
            record[path]: {name: value for name, value in record.items() if name not in kept}
            for record in data[category]
        }
        for category, path in KEY_PATHS.items()
    }


def stored_backups(server):
    """What the server lists, newest first."""
    return server.get("/api/backup/list").json["backups"]


def latest_data(server):
    """The five categories of the newest backup."""
    return server.get("/api/backup/latest").json["data"]


def open_host(context, wire, server=None, auto=False, token=None, host="localhost"):
    """Open the host application in a new tab, and wait for the backup of its start, if any."""
    tab = Tab(context.new_page(), server)
    tab.clock.install()
    query = "&".join(["auto"] * auto + [f"token={token}"] * bool(token))
    tab.goto(f"http://{host}:{wire.port}/host/?{query}")
    tab.evaluate("host.started")
    return tab


class Tab:
    """A tab of the host application; what it has not itself is its page's, of playwright."""

    def __init__(self, page, server=None):
        self.page = page
        self.server = server

    def __getattr__(self, name):
        return getattr(self.page, name)

    def put(self, store, *records):
        self.evaluate("([store, records]) => host.put(store, ...records)", [store, list(records)])

    def put_atom(self, slug, length=200):
        """Store an atom of about so many bytes, incompressible; return it."""
        atom = {"slug": slug, "title": slug, "code": self.evaluate(f"host.noise({length})")}
        self.put("atoms", atom)
        return atom

    def get(self, store, key):
        return self.evaluate("([store, key]) => host.get(store, key)", [store, key])

    def remove(self, store, key):
        self.evaluate("([store, key]) => host.remove(store, key)", [store, key])

    def stored(self):
        """All records by category and key, without what the client does to them."""
        names = list(KEY_PATHS)
        all_of = "(names) => Promise.all(names.map((name) => host.getAll(name)))"
        return by_key(dict(zip(names, self.evaluate(all_of, names), strict=True)))

    def titles(self, store="atoms"):
        return {key: record["title"] for key, record in self.stored()[store].items()}

    def call(self, name, *parameters):
        """Call a function of the client; return what it resolves to."""
        call = "([name, parameters]) => host.client[name](...parameters)"
        return self.evaluate(call, [name, list(parameters)])

    def failure(self, name, *parameters):
        """Call a function of the client that must fail with a BackupError; return its message."""
        call = """([name, parameters]) => host.client[name](...parameters).then(
            (value) => { throw new Error(`it succeeded: ${JSON.stringify(value)}`); },
            (error) => { if (error instanceof host.client.BackupError) return error.message; })"""
        message = self.evaluate(call, [name, list(parameters)])
        assert message, "it failed otherwise"
        return message

    def back_up(self):
        """Call createBackup; return the receipt."""
        return self.call("createBackup")

    def start_backup(self):
        """Call createBackup; ``evaluate("receipt")`` waits for it."""
        self.evaluate("void (window.receipt = host.client.createBackup())")

    def restore(self, id, items=None, conflicts="keep"):
        return self.call("restoreFromBackup", id, items, {"conflicts": conflicts})

    def unsynced(self):
        return self.call("getUnsyncedCount")

    def wait_for_status(self, seconds=20, **expected):
        """Wait until the client's status has these members; return it."""
        return self.evaluate("(given) => host.until(...given)", [expected, seconds])

    def wait_for_state(self, state, text=""):
        """Wait until ``<sync-status>`` has this state, and says this."""
        found = self.locator(f"sync-status[data-state={state}]", has_text=text)
        found.wait_for(timeout=20_000)

    def newest(self):
        """The newest document of this device, from the server's files."""
        device = self.call("getDeviceId")
        ids = [it["id"] for it in stored_backups(self.server) if it.get("deviceId") == device]
        return json.loads((self.server.data_dir / f"backup-{ids[0]}.json").read_text())

    def assert_backed_up(self):
        """Wait for the plain green words; then the newest backup of this device has all of it."""
        self.wait_for_state("backed-up")
        assert by_key(self.newest()["data"]) == self.stored()

    def answer_lists(self, **answer):
        """Answer each request for the list in the server's place, until it is unrouted."""
        self.route(LISTS, lambda route: route.fulfill(**answer))

    def close_for_real(self):
        """Close it as its cross does: with every event that a page gets at its end."""
        with self.expect_event("close"):
            self.page.close(run_before_unload=True)

    def hide(self, state="hidden"):
        """Do what a tab switch does to a page; a headless tab itself stays visible."""
        self.evaluate(
            """value => {
                Object.defineProperty(document, 'visibilityState', {value, configurable: true});
                document.dispatchEvent(new Event('visibilitychange'));
            }""",
            state,
        )

    def show(self):
        self.hide("visible")

    def return_to(self):
        self.hide()
        self.show()

    def send_plain(self):
        """Compress nothing: the wire tells a beacon of plain text from a fetch."""
        self.evaluate("delete window.CompressionStream")

    def open_by_script(self):
        """Open the host application in a window that may close itself."""
        with self.expect_popup(timeout=MINUTE) as popup:
            self.evaluate("void window.open('/host/?auto')")
        popup.value.wait_for_url("**/host/**", timeout=MINUTE)
        popup.value.evaluate("host.started")
        return Tab(popup.value, self.server)

    def write_and_close(self, slug, length):
        """Store an atom, and close the window in the task in which its transaction completes."""
        with self.expect_event("close", timeout=MINUTE):
            self.evaluate(
                """async ([slug, length]) => {
                    const atom = { slug, title: slug, code: host.noise(length) };
                    const transaction = (await host.getDB()).transaction('atoms', 'readwrite');
                    transaction.objectStore('atoms').put(atom);
                    transaction.oncomplete = () => window.close();
                }""",
                [slug, length],
            )


class Profile:
    """A browser of its own, which can be killed and started again on the same profile."""

    def __init__(self, playwright, directory):
        self._playwright = playwright
        self.directory = directory
        self.context = None

    def start(self):
        self.context = self._playwright.chromium.launch_persistent_context(
            self.directory, executable_path=shutil.which("chromium"), args=CHROMIUM
        )
        return self.context

    def kill(self):
        """SIGKILL to every process of this browser."""
        own = f"--user-data-dir={self.directory}".encode()
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if own in command.read_bytes():
                    os.kill(int(command.parent.name), signal.SIGKILL)
        (Path(self.directory) / "SingletonLock").unlink(missing_ok=True)


class Trace:
    """The processor time of the pages' tasks while it is open, in milliseconds.

    Not their time by the clock, most of which other programs may have had.
    """

    def __init__(self, page):
        self._page, self._browser = page, page.context.browser

    def __enter__(self):
        categories = ["toplevel", "blink.user_timing"]
        self._browser.start_tracing(page=self._page, categories=categories)
        return self

    def __exit__(self, *_):
        events = json.loads(self._browser.stop_tracing())["traceEvents"]
        threads = [e for e in events if e["name"] == "thread_name"]
        pages = {(e["pid"], e["tid"]) for e in threads if e["args"]["name"] == "CrRendererMain"}
        self._marks = {e["name"]: e["ts"] for e in events if e["cat"] == "blink.user_timing"}
        self._tasks = [
            (e["ts"], e["tdur"] / 1000)
            for e in events
            if e["name"].endswith("RunTask") and "tdur" in e and (e["pid"], e["tid"]) in pages
        ]

    def tasks(self, after=None, before=None):
        """The time of each task; after one mark of the page, and before another, where given."""
        start = self._marks[after] if after else 0
        end = self._marks[before] if before else float("inf")
        return [spent for began, spent in self._tasks if start <= began <= end]
