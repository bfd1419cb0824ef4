"""What leaves when a page is hidden, closed or killed, and what follows at the next start."""

import pytest
from support import CATEGORIES

from .driving import (
    back_up,
    by_key,
    close_for_real,
    get,
    latest_data,
    open_by_script,
    open_host,
    put,
    put_atom,
    send_plain,
    stored_backups,
    stored_here,
    switch_away,
    switch_back,
    unsynced,
    wait_for_backup,
    wait_for_status,
    write_and_close,
)


def portfolio(page, count=20):
    """Store some records of each kind and back them up; return the receipt."""
    put(page, "atoms", *({"slug": f"a{n:02}", "title": "first"} for n in range(count)))
    put(page, "compositions", {"id": "c1", "title": "first", "synced": False})
    put(page, "snapshots", *({"id": f"s{n}", "n": n, "synced": False} for n in range(5)))
    put(page, "voiceNotes", {"title": "hum", "synced": False})
    put(page, "configOverrides", {"atomSlug": "a01", "speed": 1, "synced": False})
    return back_up(page)


def write(page, body):
    """Run JavaScript with `transaction`, over all five stores, until that is complete."""
    page.evaluate(
        f"""async () => {{
            const transaction = (await host.getDB()).transaction({list(CATEGORIES)}, 'readwrite');
            const ended = new Promise((resolve) => {{
                transaction.oncomplete = transaction.onabort = resolve;
            }});
            const store = (name) => transaction.objectStore(name);
            {body}
            await ended;
        }}"""
    )


def leave(page, wire):
    """Hide the page; return the upload that left."""
    before = len(wire.uploads)
    switch_away(page)
    return wire.wait_answered(before + 1)[before]


# --- what a close sends ---------------------------------------------------------------------------


def test_an_edit_leaves_as_the_change_of_the_last_backup(tab, wire, server):
    page = tab(auto=True)
    page.evaluate("host.client.configure({ device: 'the “small” one' })")
    receipt = portfolio(page)
    atom = put_atom(page, "a01", 5_000)
    page.evaluate("host.remove('snapshots', 's1')")
    close_for_real(page)

    _, upload = wire.wait_answered(2)
    assert upload.base == receipt["id"]
    assert upload.document["atoms"] == {"put": [atom], "delete": []}
    assert upload.document["snapshots"] == {"put": [], "delete": ["s1"]}
    counts = {**receipt["counts"], "snapshots": 4}
    assert upload.document["counts"] == counts
    members = {"atoms", "snapshots", "counts", "clientTimestamp", "deviceId", "device"}
    assert set(upload.document) == members
    assert stored_backups(server)[0]["counts"] == counts
    assert [b["device"] for b in stored_backups(server)] == ["the “small” one"] * 2
    assert by_key(latest_data(server)) == stored_here(tab())


def test_a_transaction_that_completed_leaves_with_a_close_in_the_same_task(tab, wire, server):
    page = tab(auto=True)
    portfolio(page)
    window = open_by_script(page)
    send_plain(window)
    write_and_close(window, "last", 50_000)
    upload = wire.wait_answered(2, seconds=60)[1]
    assert upload.status == 201
    assert upload.is_plain_beacon
    assert upload.headers["content-type"] == "text/plain"
    assert len(by_key(latest_data(server))["atoms"]["last"]["code"]) == 50_000


def test_the_same_change_has_the_same_key_in_each_tab_and_after_a_crash(profile, wire, server):
    context = profile.start()
    page = open_host(context, wire, auto=True)
    portfolio(page)
    other = open_host(context, wire, auto=True)
    put_atom(page, "a01", 3_000)
    wait_for_status(other, unsyncedCount=1)
    wire.lost_replies = 100
    switch_away(page)
    wire.wait(lambda uploads: len(uploads) >= 2)
    before = len(wire.uploads)
    switch_away(other)
    wire.wait(lambda uploads: len(uploads) > before)
    profile.kill()
    wire.lost_replies = 0
    page = open_host(profile.start(), wire, auto=True)
    wait_for_status(page, status="success", unsyncedCount=0)
    changes = wire.uploads[1:]
    assert len(changes) >= 3
    assert len({upload.key for upload in changes}) == 1
    assert len({upload.base for upload in changes}) == 1
    assert len(stored_backups(server)) == 2


def test_five_kilobytes_leave_with_a_closing_tab(tab, wire, server):
    page = tab(auto=True)
    atom = put_atom(page, "edited", 5_000)
    wait_for_status(page, unsyncedCount=1)
    wire.upload_rate = 4_000
    close_for_real(page)

    assert wait_for_backup(server)["atoms"] == [atom]
    (upload,) = wire.uploads
    assert upload.document["atoms"] == [atom]

    # The beacon was no acknowledgement: the same state is sent again, and is the same backup.
    wire.upload_rate = None
    page = tab(auto=True)
    status = wait_for_status(page, status="success")
    assert status["unsyncedCount"] == 0
    uploads = wire.wait_answered(2)
    assert [upload.key for upload in uploads] == [upload.key] * 2
    first, second = (upload.document for upload in uploads)
    assert {**first, "clientTimestamp": None} == {**second, "clientTimestamp": None}
    assert len(stored_backups(server)) == 1


def test_what_compresses_well_leaves_with_a_close_however_long_it_is(tab, wire, server):
    page = tab(auto=True)
    portfolio(page)
    put(page, "atoms", {"slug": "long", "code": "let x = 1;\n" * 20_000})
    page.wait_for_timeout(1000)
    close_for_real(page)
    upload = wire.wait_answered(2)[1]
    assert upload.headers["content-type"] == "application/gzip"
    assert len(by_key(latest_data(server))["atoms"]["long"]["code"]) == 220_000


# --- writes that are seen -------------------------------------------------------------------------

WRITES = {
    "put, and changed after the call": """
        const atom = { slug: 'a03', title: 'at the call', deep: [{ n: 1 }] };
        store('atoms').put(atom);
        atom.title = 'after it';
        atom.deep[0].n = 2;""",
    "add": "store('atoms').add({ slug: 'new', title: 'added' });",
    "delete": "store('atoms').delete('a03'); store('voiceNotes').delete(1);",
    "put over and over": """
        for (let n = 0; n < 50; n += 1) store('atoms').put({ slug: 'a03', n });
        store('atoms').delete('a04');
        store('atoms').put({ slug: 'a04', title: 'back' });""",
    "a key that IndexedDB gives": """
        store('voiceNotes').put({ title: 'two', synced: false });
        store('voiceNotes').add({ title: 'three', synced: false });""",
    "a cursor": """
        store('atoms').openCursor().onsuccess = ({ target: { result: cursor } }) => {
            if (!cursor) return;
            if (cursor.key === 'a02') cursor.delete();
            if (cursor.key === 'a05') cursor.update({ ...cursor.value, title: 'by a cursor' });
            cursor.continue();
        };""",
    "an object that is no plain one": """
        class Atom { constructor() { this.slug = 'a03'; } get title() { return 'not stored'; } }
        store('atoms').put(new Atom());""",
    "an error that the host prevents": """
        store('atoms').put({ slug: 'a03', title: 'stays' });
        store('atoms').add({ slug: 'a04', title: 'is there already' }).onerror = (event) => {
            event.preventDefault();
            event.stopPropagation();
        };""",
    "two at once": """
        store('atoms').put({ slug: 'a03', title: 'with' });
        store('snapshots').put({ id: 's3', title: 'it', synced: false });""",
    "clear": "store('atoms').clear(); store('atoms').put({ slug: 'a00', title: 'only' });",
    "a range": "store('atoms').delete(IDBKeyRange.bound('a03', 'a07'));",
}


@pytest.mark.parametrize("body", WRITES.values(), ids=list(WRITES))
def test_what_is_written_is_what_the_server_has_after_a_close(tab, wire, server, body):
    page = tab(auto=True)
    portfolio(page)
    write(page, body)
    # What these have done is found by a scan.
    for words, count in {"clear": 20, "IDBKeyRange": 5, "openCursor": 2}.items():
        if words in body:
            wait_for_status(page, unsyncedCount=count)
    expected = stored_here(page)
    upload = leave(page, wire)
    assert upload.status == 201
    assert upload.base
    assert by_key(latest_data(server)) == expected


def test_an_aborted_transaction_leaves_nothing(tab, wire):
    page = tab(auto=True)
    portfolio(page)
    write(page, "store('atoms').put({ slug: 'a03', n: 1 }).onsuccess = () => transaction.abort();")
    switch_away(page)
    page.wait_for_timeout(300)
    assert unsynced(page) == 0
    assert len(wire.uploads) == 1


# --- what follows ---------------------------------------------------------------------------------


def test_what_is_disabled_at_once_sends_nothing(tab, wire):
    """As a framework does that mounts, unmounts and mounts again."""
    page = tab()
    put_atom(page, "edited")
    page.evaluate(
        """async () => {
            const started = host.client.enableAutoBackup();
            host.client.disableAutoBackup();
            await started;
        }"""
    )
    assert wire.uploads == []


def test_five_megabytes_follow_at_the_next_start(tab, wire, server):
    page = tab(auto=True)
    atom = put_atom(page, "large", 5_000_000)
    wait_for_status(page, unsyncedCount=1)
    wire.upload_rate = 200_000
    close_for_real(page)
    wire.wait(lambda uploads: all(upload.ended for upload in uploads))
    assert stored_backups(server) == []

    wire.upload_rate = None
    page = tab(auto=True)
    status = wait_for_status(page, status="success")
    assert status["unsyncedCount"] == 0
    assert latest_data(server)["atoms"] == [atom]
    assert len(stored_backups(server)) == 1


def test_an_edit_survives_a_killed_browser(profile, wire, server):
    page = open_host(profile.start(), wire, auto=True)
    atom = put_atom(page, "edited", 5_000)
    profile.kill()

    page = open_host(profile.start(), wire, auto=True)
    wait_for_status(page, status="success", unsyncedCount=0)
    assert latest_data(server)["atoms"] == [atom]


def test_three_events_of_one_close_send_once(tab, wire):
    page = tab(auto=True)
    put_atom(page, "edited")
    wait_for_status(page, unsyncedCount=1)
    page.evaluate(
        """() => {
            window.dispatchEvent(new Event('beforeunload', { cancelable: true }));
            Object.defineProperty(document, 'visibilityState', { value: 'hidden' });
            document.dispatchEvent(new Event('visibilitychange'));
            window.dispatchEvent(new PageTransitionEvent('pagehide'));
        }"""
    )
    wire.wait_answered(1)
    page.wait_for_timeout(500)
    assert len(wire.uploads) == 1


def test_the_return_to_a_tab_acknowledges_what_its_beacon_sent(tab, wire, server, kinds):
    page = tab(auto=True)
    put_atom(page, "edited")
    wait_for_status(page, unsyncedCount=1)
    switch_away(page)
    wire.wait_answered(1)
    assert wait_for_status(page, unsyncedCount=1)["lastBackupTime"] is None

    switch_back(page)
    wait_for_status(page, status="success", unsyncedCount=0)
    assert [upload.status for upload in wire.uploads] == [201, 200]
    assert kinds == ["ping", "xhr"]
    assert wire.uploads[0].headers["content-type"] == "application/gzip"
    assert len(stored_backups(server)) == 1


@pytest.mark.parametrize("beacon", ["undefined", "() => false"])
def test_without_a_beacon_an_edit_leaves_by_a_kept_alive_fetch(tab, wire, kinds, beacon):
    page = tab(auto=True)
    page.evaluate(f"navigator.sendBeacon = {beacon}")
    put_atom(page, "edited")
    wait_for_status(page, unsyncedCount=1)
    switch_away(page)
    assert wire.wait_answered(1)[0].status == 201
    assert kinds == ["fetch"]


def test_a_beacon_that_was_lost_is_sent_again_by_the_next_close(tab, wire, server):
    page = tab(auto=True)
    atom = put_atom(page, "edited")
    wait_for_status(page, unsyncedCount=1)
    wire.cut()
    switch_away(page)
    switch_back(page)
    wait_for_status(page, reached=False)
    wire.mend()
    close_for_real(page)
    assert wait_for_backup(server)["atoms"] == [atom]


def test_a_quota_that_others_have_used_up_is_noticed(tab, wire, server):
    page = tab(auto=True)
    atom = put_atom(page, "edited", 8_000)
    wait_for_status(page, unsyncedCount=1)
    wire.upload_rate = 20_000
    # The host's own beacon, still on its way: 60 of the 64 KiB.
    page.evaluate("navigator.sendBeacon('/api/backup?other', 'x'.repeat(60 * 1024))")
    wire.wait(lambda uploads: len(uploads) == 1)
    switch_away(page)
    wait_for_status(page, status="success", unsyncedCount=0)
    assert latest_data(server)["atoms"] == [atom]


@pytest.mark.parametrize("records", [0, 1])
def test_an_empty_database_or_an_unchanged_one_is_not_sent_by_itself(tab, wire, records):
    page = tab(auto=True)
    if records:
        put_atom(page, "edited")
        back_up(page)
    wait_for_status(page, unsyncedCount=0)
    switch_away(page)
    switch_back(page)
    close_for_real(page)
    page = tab(auto=True)
    wait_for_status(page, unsyncedCount=0)
    page.wait_for_timeout(300)
    assert len(wire.uploads) == records


def test_an_idle_page_reads_nothing(tab):
    page = tab(auto=True)
    put_atom(page, "edited")
    wait_for_status(page, unsyncedCount=1)
    transactions = page.evaluate(
        """async () => {
            let begun = 0;
            const database = await host.getDB();
            const own = database.transaction;
            database.transaction = function (...parameters) {
                begun += 1;
                return own.apply(this, parameters);
            };
            await new Promise((resolve) => setTimeout(resolve, 3000));
            return begun;
        }"""
    )
    assert transactions == 0


def test_edits_during_the_look_after_a_start_leave_like_others(tab, wire, server):
    page = tab()
    page.evaluate(
        """() => host.put('snapshots', ...Array.from({ length: 3000 }, (_, n) => (
            { id: `s${n}`, code: host.noise(3000), synced: false })))"""
    )
    back_up(page)
    page.close()
    page = tab()
    page.evaluate("void host.client.enableAutoBackup()")
    page.evaluate(
        """async () => {
            await host.put('snapshots', { id: 's0', title: 'during', synced: false });
            await host.put('snapshots', { id: 's2999', title: 'during', synced: false });
            window.sawCount = host.client.getBackupStatus().unsyncedCount;
        }"""
    )
    upload = leave(page, wire)
    assert page.evaluate("window.sawCount") is None, "the look was over too soon for this test"
    assert [s["id"] for s in upload.document["snapshots"]["put"]] == ["s0", "s2999"]
    assert len(upload.body) < 1_000  # of 9 MB
    wait_for_status(page, seconds=60, unsyncedCount=0, storedCount=3000)
    assert get(page, "snapshots", "s0")["title"] == "during"
    assert len(wait_for_backup(server)["snapshots"]) == 3000


class TestWithAToken:
    @pytest.fixture
    def server_settings(self):
        return {"BACKUP_TOKEN": "a-secret-of-the-owner"}

    def test_a_closing_tab_sends_it_along(self, tab, wire, server):
        page = tab(auto=True, token="a-secret-of-the-owner")
        put_atom(page, "edited", 5_000)
        wait_for_status(page, unsyncedCount=1)
        wire.upload_rate = 8_000
        close_for_real(page)

        (upload,) = wire.wait_answered(1)
        assert upload.headers["authorization"] == "Bearer a-secret-of-the-owner"
        assert upload.status == 201
