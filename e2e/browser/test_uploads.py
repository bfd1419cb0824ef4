"""What is collected and sent, what an answer means, and when it is tried again."""

import itertools
import json

import pytest
from support import wait_until

from .driving import (
    MINUTE,
    atoms_on,
    back_up,
    failure_of,
    get,
    latest_data,
    open_host,
    put,
    put_atom,
    stored_backups,
    switch_away,
    unsynced,
    wait_for_backed_up,
    wait_for_status,
)

# --- trying again ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "waits"),
    [
        ([(500, {}, {"error": "No."})] * 3, [1, 2, 4]),
        ([(429, {"Retry-After": "3"}, {"error": "Slowly."})], [3]),
        ("lost", [0]),  # the browser itself repeats what a reused connection lost
    ],
    ids=["failures", "Retry-After", "a lost reply"],
)
def test_what_failed_is_tried_again_under_one_key(tab, wire, server, answers, waits):
    page = tab()
    put_atom(page, "edited")
    if answers == "lost":
        wire.lost_replies = 1
    else:
        wire.answers = list(answers)
    receipt = back_up(page)
    # Never sooner; how much later is the machine's matter, but less than the next wait.
    gaps = [later.started - earlier.ended for earlier, later in itertools.pairwise(wire.uploads)]
    assert len(gaps) == len(waits)
    assert all(wait - 0.1 < gap < wait + 4 for gap, wait in zip(gaps, waits, strict=True)), gaps
    assert len({upload.key for upload in wire.uploads}) == 1
    assert [backup["id"] for backup in stored_backups(server)] == [receipt["id"]]
    assert unsynced(page) == 0


def test_a_server_that_does_not_answer_is_given_up_and_tried_again(tab, wire, server):
    page = tab()
    put_atom(page, "edited")
    page.evaluate("host.client.configure({ timeoutMs: 400 })")
    wire.gate.clear()
    page.evaluate("void (window.receipt = host.client.createBackup())")
    wire.wait(lambda uploads: len(uploads) == 2)
    wire.gate.set()
    page.evaluate("window.receipt")
    assert len(stored_backups(server)) == 1


def test_a_slow_upload_is_no_timeout(tab, wire):
    page = tab()
    put_atom(page, "large", 2_000_000)
    page.evaluate("host.client.configure({ timeoutMs: 1000 })")
    wire.upload_rate = 700_000
    back_up(page)
    (upload,) = wire.uploads
    assert upload.ended - upload.started > 2


@pytest.mark.parametrize("status", [400, 401, 403, 413])
def test_what_is_refused_waits_for_an_edit_a_return_or_configure(tab, wire, status):
    page = tab(auto=True)
    put_atom(page, "edited", 20_000)
    for happens in (
        "null",
        "host.put('atoms', { slug: 'more', code: host.noise(20_000) })",
        "host.client.configure({ device: 'Laptop' })",
        "document.dispatchEvent(new Event('visibilitychange'))",
    ):
        wire.answers = [(status, {}, {"error": "Never."})]
        before = len(wire.uploads)
        page.evaluate(happens)
        page.clock.run_for(6_000)
        wire.wait_answered(before + 1)
        wait_for_status(page, status="error", lastError="Never.")
        page.clock.run_for(20 * MINUTE)
        assert len(wire.uploads) == before + 1
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.clock.run_for(6_000)
    wait_for_backed_up(page)


@pytest.mark.parametrize(
    ("answer", "times"),
    [
        ((507, {}, {"error": "The disk is full."}), 4),
        ((429, {"Retry-After": "600"}, {"error": "In ten minutes."}), 1),
    ],
)
def test_a_server_that_wants_a_rest_gets_ten_minutes(tab, wire, answer, times):
    page = tab(auto=True)
    put_atom(page, "edited", 20_000)
    wire.answers = [answer] * times
    try_until_it_fails(page)
    page.locator("sync-status", has_text=answer[2]["error"]).wait_for()
    before = len(wire.uploads)
    page.clock.run_for(9.5 * MINUTE)
    assert len(wire.uploads) == before
    page.clock.run_for(40_000)
    wait_for_backed_up(page)


def try_until_it_fails(page):
    """Let the page's clock run until an upload has failed, its attempts included."""

    def failed():
        page.clock.run_for(1_000)
        return page.evaluate("host.client.getBackupStatus().status") == "error"

    wait_until(failed, 60, pause=0.1)


@pytest.mark.parametrize(
    "back",
    [
        "null",
        "host.client.listBackups()",
        "void window.dispatchEvent(new Event('online'))",
        "void document.dispatchEvent(new Event('visibilitychange'))",
    ],
)
def test_a_server_away_is_asked_each_half_minute_and_when_it_seems_back(tab, wire, back):
    page = tab(auto=True)
    put_atom(page, "edited", 20_000)
    wire.cut()
    try_until_it_fails(page)
    with page.expect_event("requestfailed") as asked:  # the next try is planned after that
        page.clock.run_for(31_000)
    assert "/api/backup/list" in asked.value.url
    wire.mend()
    page.evaluate(back)
    if back == "null":
        page.clock.run_for(31_000)
    wait_for_backed_up(page)


def test_small_edits_leave_ten_minutes_after_the_first_in_a_tab_that_stays_open(tab, wire):
    page = tab(auto=True)
    # What the browser says of the network is not believed.
    page.evaluate("Object.defineProperty(navigator, 'onLine', { value: false })")
    page.clock.pause_at(page.evaluate("Date.now() + 1000"))
    put_atom(page, "first")
    wait_for_status(page, unsyncedCount=1)
    page.clock.run_for(9 * MINUTE)
    put_atom(page, "second")
    wait_for_status(page, unsyncedCount=2)
    assert wire.uploads == []
    page.clock.run_for(61_000)
    wait_for_backed_up(page)
    assert len(wire.uploads) == 1


def test_what_commits_while_the_page_is_hidden_leaves_at_once(tab, wire, server):
    page = tab(auto=True)
    wait_for_status(page, unsyncedCount=0)
    switch_away(page)
    put_atom(page, "late")
    assert wire.wait_answered(1)[0].status == 201
    assert atoms_on(page, server) == {"late"}


def test_much_leaves_after_five_seconds_of_quiet_and_a_minute_at_most(tab, wire):
    page = tab(auto=True)
    page.clock.pause_at(page.evaluate("Date.now() + 1000"))
    put_atom(page, "large", 20_000)
    wait_for_status(page, unsyncedCount=1)
    for second in range(0, 56, 4):
        assert wire.uploads == [], f"after {second} s"
        page.clock.run_for(4_000)
        put_atom(page, "large", 20_000)
        page.wait_for_timeout(50)
    page.clock.run_for(5_000)
    wait_for_backed_up(page)


# --- answers --------------------------------------------------------------------------------------

RECEIPT = {
    "id": "2026-02-01T10-54-27",
    "timestamp": "2026-02-01T10:54:27Z",
    "size": 1,
    "counts": dict.fromkeys(
        ["atoms", "compositions", "snapshots", "voiceNotes", "configOverrides"], 0
    ),
}


def test_a_200_that_is_no_receipt_marks_nothing(tab, wire):
    page = tab()
    put_atom(page, "edited")
    put(page, "snapshots", {"id": "s1", "synced": False})
    for answer in (
        "<!doctype html><title>Log in to the hotel's network</title>",
        {"ok": True},
        None,
        {**RECEIPT, "id": 7},
        {**RECEIPT, "timestamp": "yesterday"},
        {**RECEIPT, "counts": None},
        RECEIPT,  # of another backup: this one has an atom and a snapshot
    ):
        wire.answers = [(200, {}, answer)]
        failure_of(page, "host.client.createBackup()")
        assert get(page, "snapshots", "s1")["synced"] is False
        assert unsynced(page) == 2
        assert wait_for_status(page, lastBackupTime=None)["status"] == "error"


@pytest.mark.parametrize("answer", ["<html>", "{}", '{"backups": null}', '{"backups": {}}'])
def test_a_listing_that_is_none_is_an_error_not_an_empty_list(tab, answer):
    page = tab()
    page.route("**/api/backup/list", lambda route: route.fulfill(body=answer))
    failure_of(page, "host.client.listBackups()")


def test_an_entry_that_is_wrong_names_itself_and_hides_no_other(tab):
    page = tab()
    good = {**RECEIPT, "id": "2026-02-01T10-54-27-123Z-ab12", "clientTimestamp": ""}
    wrong = {"timestamp": None, "size": "?", "counts": {}}.items()
    wrong = [{name: value} for name, value in [*wrong, ("timestamp", 7), ("timestamp", "today")]]
    backups = [good, *({**good, **member} for member in wrong), {"no": "id"}]
    page.route("**/api/backup/list*", lambda route: route.fulfill(json={"backups": backups}))
    listed = page.evaluate("host.client.listBackupPage()")
    assert [it["id"] for it in listed["backups"]] == [good["id"]] * 6
    assert {it["timestamp"] for it in listed["backups"]} == {"2026-02-01T10:54:27Z"}
    fine = [it["problem"] is None for it in listed["backups"]]
    assert fine == [True, False, False, True, False, False]  # counts may lack a category
    assert listed["unreadable"] == ["Entry 7 of the server's list has no id"]


def test_the_listing_is_what_the_server_has_page_by_page(tab, server):
    page = tab()
    assert page.evaluate("host.client.listBackups()") == []
    put_atom(page, "edited")
    ids = [back_up(page)["id"] for _ in range(3)][::-1]
    device = page.evaluate("host.client.getDeviceId()")
    listed = page.evaluate("host.client.listBackups()")
    assert [(b["id"], b["deviceId"], b["device"], b["problem"]) for b in listed] == [
        (id, device, None, None) for id in ids
    ]
    pages = page.evaluate(
        """async () => {
            const first = await host.client.listBackupPage({ limit: 2 });
            return [first, await host.client.listBackupPage({ before: first.next })];
        }"""
    )
    assert [[b["id"] for b in each["backups"]] for each in pages] == [ids[:2], ids[2:]]
    assert pages[1]["next"] is None


# --- one at a time --------------------------------------------------------------------------------


def test_calls_at_once_and_those_of_two_tabs_are_one_upload(tab, wire, server):
    pages = [tab(), tab()]
    put_atom(pages[0], "edited", 20_000)
    wire.gate.clear()
    for page in pages:
        page.evaluate("void (window.receipts = [1, 2].map(() => host.client.createBackup()))")
    wire.wait(lambda uploads: len(uploads) == 1)
    pages[1].wait_for_timeout(500)
    assert len(wire.uploads) == 1
    wire.gate.set()

    # The second tab's wish is fulfilled by the first one's backup: nothing changed since.
    receipts = [receipt for page in pages for receipt in page.evaluate("Promise.all(receipts)")]
    (backup,) = stored_backups(server)
    assert [receipt["id"] for receipt in receipts] == [backup["id"]] * 4
    assert [unsynced(page) for page in pages] == [0, 0]


# --- marking --------------------------------------------------------------------------------------


def test_an_edit_during_the_upload_stays_unsynced(tab, wire, server):
    page = tab()
    put(page, "snapshots", {"id": "s1", "title": "before", "synced": False})
    put(page, "snapshots", {"id": "s2", "title": "untouched", "synced": False})
    put(page, "atoms", {"slug": "a1", "title": "before"})
    wire.gate.clear()
    page.evaluate("void (window.receipt = host.client.createBackup())")
    wire.wait(lambda uploads: len(uploads) == 1)
    put(page, "snapshots", {"id": "s1", "title": "after", "synced": False})
    put(page, "atoms", {"slug": "a1", "title": "after"})
    wire.gate.set()
    page.evaluate("window.receipt")

    assert get(page, "snapshots", "s1")["synced"] is False
    assert get(page, "snapshots", "s2")["synced"] is True
    assert unsynced(page) == 2
    assert page.evaluate("host.client.getUnsyncedSnapshots()") == [
        {"id": "s1", "title": "after", "synced": False}
    ]
    back_up(page)
    assert unsynced(page) == 0
    assert latest_data(server)["atoms"] == [{"slug": "a1", "title": "after"}]


FAIL_THE_CLIENTS_OWN_WRITES = """() => {
    const put = IDBObjectStore.prototype.put;
    IDBObjectStore.prototype.put = function (...parameters) {
        if (this.transaction.db.name !== 'eoe-portfolio-backup') return put.apply(this, parameters);
        throw new DOMException('full', 'QuotaExceededError');
    };
}"""


@pytest.mark.parametrize("call", ["createBackup()", "restoreFromBackup(id)"])
def test_a_failure_of_the_clients_own_database_is_told_like_any_other(tab, server, call):
    page = tab()
    put_atom(page, "edited")
    id = server.upload({"atoms": [{"slug": "a1"}]})["id"]
    back_up(page)
    put_atom(page, "edited again")
    page.evaluate(FAIL_THE_CLIENTS_OWN_WRITES)
    message = failure_of(page, f"((id) => host.client.{call})('{id}')")
    assert message == "The client's own database eoe-portfolio-backup failed: full"


def test_a_connection_that_is_lost_is_opened_again(tab):
    """As after site data was cleared, or for another tab's upgrade."""
    page = tab()
    put_atom(page, "edited")
    back_up(page)
    page.evaluate(
        """() => new Promise((resolve, reject) => {
            const request = indexedDB.deleteDatabase('eoe-portfolio-backup');
            request.onsuccess = resolve;
            request.onblocked = reject;
        })"""
    )
    back_up(page)
    assert unsynced(page) == 0


# --- collecting -----------------------------------------------------------------------------------


def test_the_five_stores_are_read_at_one_moment(tab, server):
    page = tab()
    page.evaluate(
        """() => {
            // Both records change together, all the time.
            window.stop = false;
            window.writing = (async () => {
                const database = await host.getDB();
                for (let n = 0; !window.stop; n += 1) {
                    const transaction = database.transaction(['atoms', 'snapshots'], 'readwrite');
                    transaction.objectStore('atoms').put({ slug: 'n', n });
                    transaction.objectStore('snapshots').put({ id: 'n', n, synced: false });
                    await new Promise((resolve) => { transaction.oncomplete = resolve; });
                }
            })();
        }"""
    )
    for _ in range(5):
        back_up(page)
        data = latest_data(server)
        assert data["atoms"][0]["n"] == data["snapshots"][0]["n"]
    page.evaluate("async () => { window.stop = true; await window.writing; }")


def test_a_read_that_fails_fails_the_backup(tab, wire):
    page = tab()
    put_atom(page, "edited")
    page.evaluate(
        """() => {
            const getAll = IDBObjectStore.prototype.getAll;
            IDBObjectStore.prototype.getAll = function (...parameters) {
                const request = getAll.apply(this, parameters);
                if (this.name === 'snapshots') this.transaction.abort();
                return request;
            };
        }"""
    )
    failure_of(page, "host.client.createBackup()")
    assert wire.uploads == []


def test_text_arrives_as_it_was_and_voice_notes_without_their_audio(tab, server):
    page = tab()
    titles = ["half an emoji: \ud83d", "žluťoučký \U0001f40e", "\u0000\u2028"]
    literal = json.dumps([{"slug": f"a{n}", "title": title} for n, title in enumerate(titles)])
    page.evaluate(f"host.put('atoms', ...{literal})")
    page.evaluate(
        "host.put('voiceNotes', { title: 'hum', audioBlob: new Blob(['x']), synced: false })"
    )
    back_up(page)
    data = latest_data(server)
    assert [atom["title"] for atom in data["atoms"]] == titles
    assert data["voiceNotes"] == [{"title": "hum", "synced": False, "id": 1}]
    assert page.evaluate("host.get('voiceNotes', 1).then((note) => note.audioBlob.size)") == 1


# --- around it ------------------------------------------------------------------------------------


def test_without_getdb_the_hosts_database_is_used_but_never_made_or_upgraded(tab, server):
    page = tab()
    back_up(page)  # of an empty database, which is sent when somebody asks
    assert latest_data(server)["atoms"] == []
    page.evaluate("host.client.configure({ getDB: undefined })")
    put_atom(page, "edited")
    back_up(page)
    assert len(latest_data(server)["atoms"]) == 1
    versions = """indexedDB.databases().then((all) =>
        all.filter(({ name }) => name === 'eoe-atoms').map(({ version }) => version))"""
    assert page.evaluate(versions) == [3]
    page.evaluate("host.getDB().then((database) => database.close())")
    page.evaluate(
        """() => new Promise((resolve) => {
            indexedDB.deleteDatabase('eoe-atoms').onsuccess = () => resolve();
        })"""
    )
    assert "no database eoe-atoms" in failure_of(page, "host.client.createBackup()")
    assert page.evaluate(versions) == []


class TestOnAPlainHttpHost:
    @pytest.fixture
    def server_settings(self):
        return {"TRUSTED_HOSTS": "portfolio.test,127.0.0.1"}

    def test_it_works_without_locks_and_web_cryptography(self, context, wire, server):
        page = open_host(context, wire, auto=True, host="portfolio.test")
        assert not page.evaluate("isSecureContext || 'locks' in navigator || 'subtle' in crypto")
        put_atom(page, "edited")
        back_up(page)
        assert unsynced(page) == 0
        assert len(stored_backups(server)) == 1


def test_a_host_that_opens_a_connection_for_each_write_is_followed_too(tab):
    page = tab(auto=True)
    page.evaluate("host.client.configure({ getDB: () => host.openDB('eoe-atoms') })")
    wait_for_status(page, unsyncedCount=0)
    page.evaluate(
        """async () => {
            const database = await host.openDB('eoe-atoms');
            await database.put('atoms', { slug: 'unseen' });
            window.dispatchEvent(new KeyboardEvent('keyup'));
        }"""
    )
    wait_for_status(page, unsyncedCount=1)


def test_configure_refuses_what_makes_no_sense(tab):
    page = tab()
    for options in ("{ baseUrl: 7 }", "{ getDB: {} }", "{ token: 7 }", "{ timeoutMs: 0 }"):
        call = f"(async () => host.client.configure({options}))()"
        assert failure_of(page, call).startswith("configure: ")
