"""Driving a browser: opening, hiding, closing and killing pages, and reading what is stored."""

import contextlib
import json
import os
import shutil
import signal
from pathlib import Path

from chromium import CHROMIUM
from support import wait_until

MINUTE = 60_000  # milliseconds: for what may take long on a busy machine

#: The key of a record by its category.
KEY_PATHS = {
    "atoms": "slug",
    "compositions": "id",
    "snapshots": "id",
    "voiceNotes": "id",
    "configOverrides": "atomSlug",
}


@contextlib.contextmanager
def longest_task(page, lengths):
    """Append the processor time of the longest task that any page has meanwhile, in ms.

    Not its time by the clock, most of which other programs may have had; and not those before a
    mark ``loaded``, which are the browser's for any page.
    """
    browser = page.context.browser
    browser.start_tracing(page=page, categories=["toplevel", "blink.user_timing"])
    yield
    events = json.loads(browser.stop_tracing())["traceEvents"]
    pages = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    loaded = max((event["ts"] for event in events if event["name"] == "loaded"), default=0)
    tasks = [
        event["tdur"] / 1000
        for event in events
        if event["name"].endswith("RunTask")
        and "tdur" in event
        and event["ts"] > loaded
        and (event["pid"], event["tid"]) in pages
    ]
    lengths.append(max(tasks))


def open_host(context, wire, auto=False, token=None, host="localhost"):
    """Open the host application in a new tab, and wait for the backup of its start, if any."""
    page = context.new_page()
    page.clock.install()
    query = "&".join(["auto"] * auto + [f"token={token}"] * bool(token))
    page.goto(f"http://{host}:{wire.port}/host/?{query}")
    page.evaluate("host.started")
    return page


def send_plain(page):
    """Make the page compress nothing: the wire tells a beacon of plain text from a fetch."""
    page.evaluate("delete window.CompressionStream")


def open_by_script(page):
    """Open the host application in a window that may close itself; wait for its start's backup."""
    with page.expect_popup(timeout=MINUTE) as popup:
        page.evaluate("void window.open('/host/?auto')")
    popup.value.wait_for_url("**/host/**", timeout=MINUTE)
    popup.value.evaluate("host.started")
    return popup.value


def write_and_close(window, slug, length):
    """Store an atom, and close the window in the task in which its transaction completes."""
    with window.expect_event("close", timeout=MINUTE):
        window.evaluate(
            """async ([slug, length]) => {
                const atom = { slug, title: slug, code: host.noise(length) };
                const transaction = (await host.getDB()).transaction('atoms', 'readwrite');
                transaction.objectStore('atoms').put(atom);
                transaction.oncomplete = () => window.close();
            }""",
            [slug, length],
        )


def failure_of(page, call):
    """Run a JavaScript expression that must reject with a BackupError; return its message."""
    return page.evaluate(
        f"""() => {call}.then(
            () => {{ throw new Error('nothing was thrown'); }},
            (error) => {{
                if (error instanceof host.client.BackupError) return error.message;
                throw error;
            }},
        )"""
    )


def put_atom(page, slug, length=200):
    """Store an atom of about so many bytes, incompressible; return it."""
    return page.evaluate(
        """async ([slug, length]) => {
            const atom = { slug, title: slug, code: host.noise(length) };
            await host.put('atoms', atom);
            return atom;
        }""",
        [slug, length],
    )


def put(page, store, *records):
    page.evaluate("([store, records]) => host.put(store, ...records)", [store, list(records)])


def get(page, store, key):
    return page.evaluate("([store, key]) => host.get(store, key)", [store, key])


def back_up(page):
    """Call createBackup; return the receipt."""
    return page.evaluate("host.client.createBackup()")


def remove(page, store, key):
    page.evaluate("([store, key]) => host.remove(store, key)", [store, key])


def restore(page, id, items=None, conflicts=None):
    """Call restoreFromBackup; ``conflicts`` is JavaScript, by default left out."""
    options = f"{{ conflicts: {conflicts} }}" if conflicts else "undefined"
    return page.evaluate(
        f"([id, items]) => host.client.restoreFromBackup(id, items ?? undefined, {options})",
        [id, items],
    )


def stored_here(page):
    """All records by category and key, without what the client does to them."""
    records = page.evaluate(
        """async (names) => Object.fromEntries(
            await Promise.all(names.map(async (name) => [name, await host.getAll(name)])))""",
        list(KEY_PATHS),
    )
    return by_key(records)


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


def own_newest(page, server):
    """The newest document of this device, from the server's files."""
    device = page.evaluate("host.client.getDeviceId()")
    ids = [b["id"] for b in stored_backups(server) if b.get("deviceId") == device]
    return json.loads((server.data_dir / f"backup-{ids[0]}.json").read_text())


def atoms_on(page, server):
    """The slugs in the newest backup of this device; none without one."""
    try:
        return {atom["slug"] for atom in own_newest(page, server)["data"]["atoms"]}
    except IndexError:
        return set()


def wait_for_backed_up(page):
    """Wait for the plain green words, that the server has confirmed."""
    page.locator("sync-status[data-state=backed-up]").wait_for(timeout=20_000)


def unsynced(page):
    return page.evaluate("host.client.getUnsyncedCount()")


def stored_backups(server):
    """What the server lists, newest first."""
    return server.get("/api/backup/list").json["backups"]


def latest_data(server):
    """The five categories of the newest backup."""
    return server.get("/api/backup/latest").json["data"]


def wait_for_backup(server, seconds=20):
    """Wait until one is stored whose sender nobody can ask; return its data."""
    wait_until(lambda: stored_backups(server), seconds, pause=0.05)
    return latest_data(server)


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
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if f"--user-data-dir={self.directory}".encode() in command:
                os.kill(int(entry.name), signal.SIGKILL)
        (Path(self.directory) / "SingletonLock").unlink(missing_ok=True)


def close_for_real(page):
    """Close a tab as its cross does: with every event that a page gets at its end."""
    with page.expect_event("close"):
        page.close(run_before_unload=True)


def switch_away(page):
    """What a tab switch does to a page; headless tabs stay visible, so this is told to it."""
    _set_visibility(page, "hidden")


def switch_back(page):
    _set_visibility(page, "visible")


def _set_visibility(page, state):
    page.evaluate(
        """state => {
            Object.defineProperty(document, 'visibilityState', {value: state, configurable: true});
            document.dispatchEvent(new Event('visibilitychange'));
        }""",
        state,
    )


def wait_for_status(page, seconds=20, **expected):
    """Wait until the client's status has these members; return it."""
    return page.evaluate(
        "([expected, seconds]) => host.until(expected, seconds)", [expected, seconds]
    )
