"""What is collected and sent, what an answer means, and what then counts as synced."""

import hashlib
import itertools

import pytest

from .driving import (
    back_up,
    failure_of,
    get,
    latest_data,
    open_host,
    put,
    put_atom,
    stored_backups,
    unsynced,
    wait_for_status,
)


def status_of(page):
    return page.evaluate("host.client.getBackupStatus()")


def gaps(uploads):
    """Seconds from the end of each upload to the start of the next."""
    return [later.started - earlier.ended for earlier, later in itertools.pairwise(uploads)]


# --- retrying -------------------------------------------------------------------------------------


def test_it_tries_four_times_one_two_and_four_seconds_apart(tab, wire, server):
    page = tab()
    put_atom(page, "edited")
    wire.answers = [(500, {}, {"error": "No."})] * 3
    receipt = back_up(page)

    assert [upload.status for upload in wire.uploads] == [500, 500, 500, 201]
    assert gaps(wire.uploads) == pytest.approx([1, 2, 4], abs=0.5)
    assert len({upload.key for upload in wire.uploads}) == 1
    assert [backup["id"] for backup in stored_backups(server)] == [receipt["id"]]


def test_the_fifth_failure_is_an_error_with_the_servers_reason(tab, wire):
    page = tab()
    put_atom(page, "edited")
    page.evaluate("window.fast = setTimeout; window.setTimeout = (f, ms) => fast(f, ms / 100)")
    page.evaluate("host.client.configure({ timeoutMs: 500_000 })")
    wire.answers = [(503, {}, {"error": "The disk is being replaced."})] * 4
    assert failure_of(page, "host.client.createBackup()") == "The disk is being replaced."
    assert len(wire.uploads) == 4
    status = status_of(page)
    assert status["status"] == "error"
    assert status["lastError"] == "The disk is being replaced."
    assert status["unsyncedCount"] == 1


@pytest.mark.parametrize("status", [408, 507])
def test_it_tries_again_after(tab, wire, status):
    page = tab()
    put_atom(page, "edited")
    wire.answers = [(status, {}, {"error": "Not now."})]
    back_up(page)
    assert [upload.status for upload in wire.uploads] == [status, 201]


@pytest.mark.parametrize("status", [400, 413])
def test_it_does_not_try_again_after(tab, wire, status):
    page = tab()
    put_atom(page, "edited")
    wire.answers = [(status, {}, {"error": "Never."})]
    assert failure_of(page, "host.client.createBackup()") == "Never."
    page.wait_for_timeout(1500)
    assert len(wire.uploads) == 1


def test_it_tries_again_after_a_network_error(tab, wire, server):
    page = tab()
    put_atom(page, "edited")
    wire.cut()
    page.evaluate("void (window.receipt = host.client.createBackup())")
    page.wait_for_timeout(500)
    wire.mend()
    receipt = page.evaluate("window.receipt")
    assert [backup["id"] for backup in stored_backups(server)] == [receipt["id"]]


def test_retry_after_is_waited_for(tab, wire):
    page = tab()
    put_atom(page, "edited")
    wire.answers = [(429, {"Retry-After": "3"}, {"error": "Slowly."})]
    back_up(page)
    assert gaps(wire.uploads) == pytest.approx([3], abs=0.5)


def test_a_server_that_wants_a_long_rest_gets_it(tab, wire):
    page = tab()
    put_atom(page, "edited")
    wire.answers = [(429, {"Retry-After": "3600"}, {"error": "In an hour."})]
    assert failure_of(page, "host.client.createBackup()") == "In an hour."
    assert len(wire.uploads) == 1


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


def test_a_lost_reply_leaves_one_backup(tab, wire, server):
    page = tab()
    put_atom(page, "edited")
    wire.lost_replies = 1
    receipt = back_up(page)
    assert [upload.status for upload in wire.uploads] == [None, 200]
    assert [backup["id"] for backup in stored_backups(server)] == [receipt["id"]]
    assert unsynced(page) == 0


# --- answers --------------------------------------------------------------------------------------

RECEIPT = {
    "id": "2026-02-01T10-54-27",
    "timestamp": "2026-02-01T10:54:27Z",
    "size": 1,
    "counts": dict.fromkeys(
        ["atoms", "compositions", "snapshots", "voiceNotes", "configOverrides"], 0
    ),
}


@pytest.mark.parametrize(
    "answer",
    [
        "<!doctype html><title>Log in to the hotel's network</title>",
        {"ok": True},
        None,
        {**RECEIPT, "id": 7},
        {**RECEIPT, "timestamp": "yesterday"},
        {**RECEIPT, "counts": None},
        RECEIPT,  # of another backup: this one has an atom and a snapshot
    ],
)
def test_a_200_that_is_no_receipt_marks_nothing(tab, wire, answer):
    page = tab()
    put_atom(page, "edited")
    put(page, "snapshots", {"id": "s1", "synced": False})
    wire.answers = [(200, {}, answer)]
    failure_of(page, "host.client.createBackup()")
    assert get(page, "snapshots", "s1")["synced"] is False
    assert unsynced(page) == 2
    assert status_of(page)["lastBackupTime"] is None


def test_a_listing_that_is_none_is_an_error_not_an_empty_list(tab):
    page = tab()
    answers = ["<html>", "{}", '{"backups": null}', '{"backups": [{"id": "x"}]}']
    page.route("**/api/backup/list", lambda route: route.fulfill(body=answers.pop()))
    for _ in range(4):
        failure_of(page, "host.client.listBackups()")


def test_the_listing_is_what_the_server_has(tab, server):
    page = tab()
    assert page.evaluate("host.client.listBackups()") == []
    put_atom(page, "edited")
    back_up(page)
    assert page.evaluate("host.client.listBackups()") == stored_backups(server)


# --- one at a time --------------------------------------------------------------------------------


def test_a_second_call_joins_the_first(tab, wire):
    page = tab()
    put_atom(page, "edited")
    receipts = page.evaluate(
        "Promise.all([host.client.createBackup(), host.client.createBackup()])"
    )
    assert receipts[0] == receipts[1]
    assert len(wire.uploads) == 1


def test_each_call_after_the_other_is_a_backup(tab, server):
    page = tab()
    put_atom(page, "edited")
    first, second = back_up(page), back_up(page)
    assert [backup["id"] for backup in stored_backups(server)] == [second["id"], first["id"]]


def test_two_tabs_do_not_upload_at_once(tab, wire, server):
    pages = [tab(), tab()]
    put_atom(pages[0], "edited", 20_000)
    wire.gate.clear()
    for page in pages:
        page.evaluate("void (window.receipt = host.client.createBackup())")
    wire.wait(lambda uploads: len(uploads) == 1)
    pages[1].wait_for_timeout(500)
    assert len(wire.uploads) == 1
    wire.gate.set()

    # The second tab's wish is fulfilled by the first one's backup: nothing changed since.
    receipts = [page.evaluate("window.receipt") for page in pages]
    assert receipts[0] == receipts[1]
    assert len(stored_backups(server)) == 1
    assert [unsynced(page) for page in pages] == [0, 0]


def test_a_tab_that_waited_uploads_what_changed_meanwhile(tab, wire, server):
    pages = [tab(), tab()]
    put_atom(pages[0], "first")
    wire.gate.clear()
    pages[0].evaluate("void (window.receipt = host.client.createBackup())")
    wire.wait(lambda uploads: len(uploads) == 1)
    pages[1].evaluate("void (window.receipt = host.client.createBackup())")
    put_atom(pages[1], "second")
    wire.gate.set()
    receipts = [page.evaluate("window.receipt") for page in pages]
    assert receipts[0]["id"] != receipts[1]["id"]
    assert [atom["slug"] for atom in latest_data(server)["atoms"]] == ["first", "second"]


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


def test_marking_by_hand_marks_only_what_was_acknowledged(tab):
    page = tab()
    put(page, "compositions", {"id": "c1", "synced": False})
    assert page.evaluate("host.client.markAsSynced()") == 0
    back_up(page)
    put(page, "compositions", {"id": "c1", "synced": False}, {"id": "c2", "synced": False})
    assert page.evaluate("host.client.markAsSynced()") == 1
    assert get(page, "compositions", "c1")["synced"] is True
    assert get(page, "compositions", "c2")["synced"] is False


def test_every_store_counts_with_or_without_a_flag(tab):
    page = tab()
    put(page, "atoms", {"slug": "a1"}, {"slug": "a2"})
    put(page, "compositions", {"id": "c1", "synced": False})
    put(page, "snapshots", {"id": "s1", "synced": False}, {"id": "s2", "synced": True})
    put(page, "voiceNotes", {"title": "hum", "synced": False})
    put(page, "configOverrides", {"atomSlug": "a1"})
    assert unsynced(page) == 6
    back_up(page)
    assert unsynced(page) == 0


def test_edits_and_deletions_count(tab):
    page = tab()
    put(page, "atoms", {"slug": "a1", "title": "one"}, {"slug": "a2"})
    put(page, "snapshots", {"id": "s1", "title": "one", "synced": False})
    back_up(page)
    put(page, "atoms", {"slug": "a1", "title": "two"})
    put(page, "snapshots", {"id": "s1", "title": "the flag left as it was", "synced": True})
    page.evaluate("host.remove('atoms', 'a2')")
    assert unsynced(page) == 3


def test_a_deleted_backup_is_no_backup_any_more(tab, server):
    page = tab()
    put_atom(page, "edited")
    put(page, "snapshots", {"id": "s1", "synced": False})
    receipt = back_up(page)
    page.evaluate("(id) => host.client.deleteBackup(id)", receipt["id"])
    assert stored_backups(server) == []
    assert unsynced(page) == 2
    assert status_of(page)["lastBackupTime"] is None


FAIL_THE_CLIENTS_OWN_WRITES = """() => {
    const put = IDBObjectStore.prototype.put;
    IDBObjectStore.prototype.put = function (...parameters) {
        if (this.transaction.db.name !== 'eoe-cloud-backup') return put.apply(this, parameters);
        throw new DOMException('full', 'QuotaExceededError');
    };
}"""


def test_a_deletion_that_cannot_be_remembered_is_not_begun(tab, server):
    """Or the client would go on to believe in a backup that is gone."""
    page = tab()
    put_atom(page, "edited")
    receipt = back_up(page)
    page.evaluate(FAIL_THE_CLIENTS_OWN_WRITES)
    assert "full" in failure_of(page, f"host.client.deleteBackup('{receipt['id']}')")
    assert [backup["id"] for backup in stored_backups(server)] == [receipt["id"]]


def test_a_deletion_of_unknown_outcome_counts_as_done(tab, wire, server):
    page = tab()
    put_atom(page, "edited")
    receipt = back_up(page)
    page.evaluate("host.client.configure({ baseUrl: '/nowhere' })")
    assert failure_of(page, f"host.client.deleteBackup('{receipt['id']}')")
    page.evaluate("host.client.configure({ baseUrl: '' })")
    assert unsynced(page) == 1


@pytest.mark.parametrize(
    "call",
    ["createBackup()", "restoreFromBackup(id)", "deleteBackup(id)"],
)
def test_a_failure_of_the_clients_own_database_is_told_like_any_other(tab, server, call):
    page = tab()
    put_atom(page, "edited")
    id = server.upload({"atoms": [{"slug": "a1"}]})["id"]
    last = back_up(page)["id"]
    put_atom(page, "edited again")
    page.evaluate(FAIL_THE_CLIENTS_OWN_WRITES)
    id = last if "delete" in call else id
    message = failure_of(page, f"((id) => host.client.{call})('{id}')")
    assert message == "The client's own database eoe-cloud-backup failed: full"


def test_a_state_that_comes_back_is_a_backup_of_its_own(tab, server):
    page = tab()
    for title in ("one", "two", "one"):
        put(page, "atoms", {"slug": "a1", "title": title})
        back_up(page)
    assert len(stored_backups(server)) == 3
    assert latest_data(server)["atoms"][0]["title"] == "one"


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


def test_a_store_that_cannot_be_read_fails_the_backup(tab, wire):
    page = tab()
    page.evaluate(
        """() => {
            const getDB = () => new Promise((resolve) => {
                const request = indexedDB.open('without-snapshots', 1);
                request.onupgradeneeded = () => {
                    request.result.createObjectStore('atoms', { keyPath: 'slug' });
                    request.result.createObjectStore('compositions', { keyPath: 'id' });
                    request.result.createObjectStore('voiceNotes', { keyPath: 'id' });
                    request.result.createObjectStore('configOverrides', { keyPath: 'atomSlug' });
                };
                request.onsuccess = () => resolve(request.result);
            });
            host.client.configure({ getDB });
        }"""
    )
    assert "eoe-atoms" in failure_of(page, "host.client.createBackup()")
    assert "eoe-atoms" in failure_of(page, "host.client.getUnsyncedCount()")
    assert status_of(page)["status"] == "error"
    assert wire.uploads == []


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


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("new Date(0)", "title is a Date"),
        ("NaN", "title is NaN"),
        ("-Infinity", "title is -Infinity"),
        ("10n", "title is a bigint"),
        ("{ deep: [1, new Map()] }", "title.deep[1] is a Map"),
        ("[1, , 3]", "title[1] is a undefined"),
        ("new Blob(['x'])", "title is a Blob"),
        ("new Uint8Array(3)", "title is a Uint8Array"),
        ("(() => { const ring = {}; ring.self = ring; return ring; })()", "contains itself"),
    ],
)
def test_a_value_json_cannot_hold_is_an_error_that_names_the_record(tab, wire, value, words):
    page = tab()
    page.evaluate(f"host.put('snapshots', {{ id: 'odd', title: {value}, synced: false }})")
    message = failure_of(page, "host.client.createBackup()")
    assert 'snapshots/"odd"' in message
    assert words in message
    assert wire.uploads == []
    assert status_of(page)["lastError"] == message

    # The reason gone, so is the error.
    page.evaluate("host.remove('snapshots', 'odd')")
    assert unsynced(page) == 0
    assert status_of(page)["lastError"] is None


def test_a_member_that_is_undefined_is_left_out(tab, server):
    page = tab()
    page.evaluate("host.put('atoms', { slug: 'a1', title: undefined, n: -0 })")
    back_up(page)
    assert latest_data(server)["atoms"] == [{"slug": "a1", "n": 0}]


def test_voice_notes_go_without_their_audio(tab, server):
    page = tab()
    page.evaluate(
        "host.put('voiceNotes', { title: 'hum', audioBlob: new Blob(['x']), synced: false })"
    )
    back_up(page)
    assert latest_data(server)["voiceNotes"] == [{"title": "hum", "synced": False, "id": 1}]
    assert page.evaluate("host.get('voiceNotes', 1).then((note) => note.audioBlob.size)") == 1


@pytest.mark.parametrize("title", ["half an emoji: \ud83d", "žluťoučký \U0001f40e", "\u0000\u2028"])
def test_text_arrives_as_it_was(tab, server, title):
    page = tab()
    escaped = title.encode("utf-16-be", "surrogatepass").hex()
    literal = "".join(f"\\u{escaped[i : i + 4]}" for i in range(0, len(escaped), 4))
    page.evaluate(f"host.put('atoms', {{ slug: 'a1', title: '{literal}' }})")
    back_up(page)
    assert latest_data(server)["atoms"][0]["title"] == title


def test_an_empty_database_is_backed_up_when_somebody_asks(tab, server):
    page = tab()
    back_up(page)
    assert all(records == [] for records in latest_data(server).values())


# --- around it ------------------------------------------------------------------------------------


def test_the_hosts_database_is_never_made_or_upgraded(tab, context, wire):
    page = tab()
    page.evaluate("host.client.configure({ getDB: undefined })")
    assert "opened" not in page.evaluate("host.client.getBackupStatus().lastError ?? ''")
    page.evaluate("host.getDB().then((database) => database.close())")
    page.evaluate(
        """async () => {
            await new Promise((resolve) => {
                indexedDB.deleteDatabase('eoe-atoms').onsuccess = resolve;
            });
        }"""
    )
    assert "no database eoe-atoms" in failure_of(page, "host.client.createBackup()")
    names = page.evaluate("indexedDB.databases().then((all) => all.map(({ name }) => name))")
    assert "eoe-atoms" not in names


def test_without_getdb_the_existing_database_is_used_at_its_version(tab, server):
    page = tab()
    put_atom(page, "edited")
    page.evaluate("host.client.configure({ getDB: undefined })")
    back_up(page)
    assert len(latest_data(server)["atoms"]) == 1
    version = "indexedDB.databases().then((all) => all.find((d) => d.name === 'eoe-atoms').version)"
    assert page.evaluate(version) == 3


def test_a_connection_that_another_copy_of_idb_wraps_will_do(tab, server):
    page = tab()
    page.evaluate(
        """async () => {
            const database = await host.openDB('eoe-atoms', 3);
            host.client.configure({ getDB: async () => database });
            await host.client.enableAutoBackup();
            await database.put('snapshots', { id: 's1', synced: false });
        }"""
    )
    wait_for_status(page, unsyncedCount=1)
    back_up(page)
    assert get(page, "snapshots", "s1")["synced"] is True


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


def test_writes_through_another_connection_are_seen_when_announced(tab):
    page = tab(auto=True)
    page.evaluate(
        """async () => {
            const database = await new Promise((resolve) => {
                const request = indexedDB.open('eoe-atoms', 3);
                request.onsuccess = () => resolve(request.result);
            });
            const transaction = database.transaction('atoms', 'readwrite');
            transaction.objectStore('atoms').put({ slug: 'elsewhere' });
            await new Promise((resolve) => { transaction.oncomplete = resolve; });
            host.client.notifyChanged();
        }"""
    )
    wait_for_status(page, unsyncedCount=1)


def test_another_tab_is_told(tab):
    first, second = tab(auto=True), tab(auto=True)
    put_atom(first, "edited")
    wait_for_status(second, unsyncedCount=1)
    back_up(first)
    status = wait_for_status(second, unsyncedCount=0)
    assert status["lastBackupTime"] is not None


def test_the_event_tells_what_the_status_is(tab, wire):
    page = tab()
    put_atom(page, "large", 8_000_000)  # more than the kernel takes at once
    wire.upload_rate = 4_000_000
    receipt = back_up(page)
    statuses = page.evaluate("host.statuses")
    names = [name for name, _ in itertools.groupby(status["status"] for status in statuses)]
    assert names[-2:] == ["backing-up", "success"]
    progress = [s["progress"] for s in statuses if s["status"] == "backing-up"]
    assert progress[0] == 0
    assert progress == sorted(progress)
    assert len({p for p in progress if 0 < p <= 1}) > 1
    assert statuses[-1]["lastBackupTime"] == receipt["timestamp"]
    assert statuses[-1]["lastError"] is None
    assert statuses[-1]["progress"] is None


def test_configure_refuses_what_makes_no_sense(tab):
    page = tab()
    for options in ("{ baseUrl: 7 }", "{ getDB: {} }", "{ token: 7 }", "{ timeoutMs: 0 }"):
        call = f"(async () => host.client.configure({options}))()"
        assert failure_of(page, call).startswith("configure: ")


def test_configure_takes_undefined_for_left_out(tab, server):
    page = tab()
    page.evaluate("host.client.configure({ baseUrl: undefined, timeoutMs: undefined })")
    assert back_up(page)["id"]


def test_digests_are_sha256(tab):
    page = tab()
    for length in (0, 1, 55, 56, 63, 64, 65, 1000, 100_000):
        text = "é" * (length // 2) + "e" * (length % 2)
        digest = hashlib.sha256(text.encode()).hexdigest()
        assert page.evaluate("(text) => host.sha256(text)", text) == digest
