"""What is collected and sent, what an answer means, and when it is tried again."""

import json

import pytest
from support import wait_until

from .driving import LISTS, MINUTE, latest_data, open_host


def test_what_failed_is_tried_again_under_one_key(open_tab, wire):
    tab = open_tab(auto=False)
    tab.put_atom("edited")
    tab.evaluate(
        """() => {
            const { setTimeout } = window;
            window.waits = [];
            window.setTimeout = (work, wait) => {
                if (wait < 10_000) window.waits.push(wait);  // a longer one is a time limit
                return setTimeout(work, wait < 10_000 ? wait / 100 : wait);
            };
        }"""
    )
    later = (429, {"Retry-After": "3"}, {"error": "Slowly."})
    wire.answers = [(500, {}, {"error": "No."}), later, (503, {}, "<h1>No</h1>")]
    receipt = tab.back_up()
    assert tab.evaluate("window.waits") == [1000, 3000, 4000]
    assert len({upload.key for upload in wire.uploads}) == 1
    assert [upload.status for upload in wire.uploads] == [500, 429, 503, 201]
    assert tab.newest()["id"] == receipt["id"]


def test_an_attempt_is_given_up_for_standing_still_and_not_for_being_slow(open_tab, wire, server):
    tab = open_tab(auto=False)
    tab.evaluate("host.client.configure({ timeoutMs: 1000 })")
    tab.put_atom("small")
    wire.gate.clear()
    tab.start_backup()
    wire.wait(lambda uploads: len(uploads) == 2)
    wire.gate.set()
    tab.evaluate("window.receipt")
    tab.put_atom("large", 500_000)
    wire.upload_rate = 200_000
    tab.back_up()
    assert len(wire.uploads) == 3
    assert len(server.listed()) == 2


def test_what_is_refused_waits_for_an_edit_a_return_or_configure(tab, wire):
    for status, happens in {
        400: "host.put('atoms', { slug: 'more' })",
        401: "host.client.configure({ token: 'another' })",
        403: "document.dispatchEvent(new Event('visibilitychange'))",
        413: "host.remove('atoms', 'more')",
    }.items():
        wire.answers = [(status, {}, {"error": "Never."})]
        tab.put_atom("edited", 20_000)
        tab.clock.run_for(6_000)
        tab.wait_for_status(status="error", lastError="Never.")
        refused = len(wire.uploads)
        tab.clock.run_for(20 * MINUTE)
        assert len(wire.uploads) == refused
        tab.evaluate(happens)
        tab.clock.run_for(6_000)
        tab.assert_backed_up()


def try_until_it_fails(tab):
    """Let the page's clock run until an upload has failed, its attempts included."""

    def failed():
        tab.clock.run_for(1_000)
        return tab.call("getBackupStatus")["status"] == "error"

    wait_until(failed, 60, pause=0.1)


def test_a_server_that_wants_a_rest_gets_ten_minutes(tab, wire):
    for status, headers, attempts in ((507, {}, 4), (429, {"Retry-After": "600"}, 1)):
        before = len(wire.uploads)
        tab.put_atom("edited", 20_000)
        wire.answers = [(status, headers, {"error": f"Not now: {status}."})] * attempts
        try_until_it_fails(tab)
        tab.wait_for_state("error", f"Not now: {status}.")
        tab.clock.run_for(9.5 * MINUTE)
        assert len(wire.uploads) == before + attempts
        tab.clock.run_for(40_000)
        tab.assert_backed_up()


def test_a_server_away_is_asked_each_half_minute_and_when_it_seems_back(tab, wire):
    for back in (
        None,
        "host.client.listBackups()",
        "void window.dispatchEvent(new Event('online'))",
        "void document.dispatchEvent(new Event('visibilitychange'))",
    ):
        tab.put_atom("edited", 20_000)
        wire.cut()
        try_until_it_fails(tab)
        with tab.expect_event("requestfailed") as asked:  # the next try is planned after that
            tab.clock.run_for(31_000)
        assert "/api/backup/list" in asked.value.url
        wire.mend()
        if back:
            tab.evaluate(back)
        else:
            tab.clock.run_for(31_000)
        tab.assert_backed_up()


def test_small_edits_leave_ten_minutes_after_the_first_in_a_tab_that_stays_open(tab, wire):
    # What the browser says of the network is not believed.
    tab.evaluate("Object.defineProperty(navigator, 'onLine', { value: false })")
    tab.clock.pause_at(tab.evaluate("Date.now() + 1000"))
    tab.put_atom("first")
    tab.wait_for_status(unsyncedCount=1)
    tab.clock.run_for(9 * MINUTE)
    tab.put_atom("second")
    tab.wait_for_status(unsyncedCount=2)
    assert wire.uploads == []
    tab.clock.run_for(61_000)
    tab.assert_backed_up()
    assert len(wire.uploads) == 1


def test_much_leaves_after_five_seconds_of_quiet_and_a_minute_at_most(tab, wire):
    tab.clock.pause_at(tab.evaluate("Date.now() + 1000"))
    for second in range(0, 60, 4):
        assert wire.uploads == [], f"after {second} s"
        tab.put_atom("large", 20_000)
        tab.wait_for_status(unsyncedCount=1)
        tab.clock.run_for(4_000)
    tab.clock.run_for(1_000)
    tab.assert_backed_up()


def test_of_two_connections_that_a_host_opened_at_its_start_the_kept_one_is_watched(tab):
    tab.evaluate(
        """async () => {
            const open = () => new Promise((resolve) => {
                const request = indexedDB.open('eoe-atoms');
                request.onsuccess = () => resolve(request.result);
            });
            const first = await open();
            window.kept = await open();
            let asked = 0;
            host.client.configure({ getDB: async () => (++asked < 3 ? first : window.kept) });
            await host.client.getUnsyncedCount();
        }"""
    )
    tab.evaluate(
        "void kept.transaction('atoms', 'readwrite').objectStore('atoms').put({ slug: 'a' })"
    )
    tab.wait_for_status(unsyncedCount=1)


def test_what_commits_while_the_page_is_hidden_leaves_at_once(tab, wire):
    tab.hide()
    tab.put_atom("late")
    assert wire.wait_answered(1)[0].status == 201
    assert [atom["slug"] for atom in tab.newest()["data"]["atoms"]] == ["late"]


RECEIPT = {"id": "2026-02-01T10-54-27-123Z-ab12", "timestamp": "2026-02-01T10:54:27Z"}
RECEIPT |= {"size": 1, "counts": {"atoms": 0}}  # of another backup, where there are atoms


def test_a_200_that_is_no_receipt_marks_nothing(open_tab, wire):
    tab = open_tab(auto=False)
    tab.put("snapshots", {"id": "s1", "synced": False})
    for answer in (None, {}, {**RECEIPT, "timestamp": "yesterday"}, RECEIPT):
        wire.answers = [(200, {}, answer)]
        assert "receipt" in tab.failure("createBackup")
        assert tab.get("snapshots", "s1")["synced"] is False
        assert tab.wait_for_status(unsyncedCount=1, lastBackupTime=None)["status"] == "error"


def test_a_list_is_read_entry_by_entry_and_what_is_none_is_an_error(tab):
    for answer in ("<html>", "{}", '{"backups": null}', '{"backups": {}}'):
        tab.answer_lists(body=answer)
        tab.failure("listBackups")
        tab.unroute(LISTS)
    members = [("timestamp", None), ("timestamp", 7), ("timestamp", "today"), ("size", "?")]
    wrong = [{**RECEIPT, name: value} for name, value in members]
    tab.answer_lists(json={"backups": [RECEIPT, *wrong, {"no": "id"}]})
    listed = tab.call("listBackupPage")
    assert [it["id"] for it in listed["backups"]] == [RECEIPT["id"]] * 5
    assert {it["timestamp"] for it in listed["backups"]} == {RECEIPT["timestamp"]}
    assert [it["problem"] is None for it in listed["backups"]] == [True] + [False] * 4
    assert listed["unreadable"] == ["Entry 6 of the server's list has no id"]


def test_calls_at_once_and_those_of_two_tabs_are_one_upload(open_tab, wire, server):
    tabs = [open_tab(auto=False), open_tab(auto=False)]
    tabs[0].put_atom("edited", 20_000)
    wire.gate.clear()
    for tab in tabs:
        tab.evaluate("void (window.receipts = [1, 2].map(() => host.client.createBackup()))")
    wire.wait(lambda uploads: len(uploads) == 1)
    wire.gate.set()
    # The second tab's wish is fulfilled by the first one's backup: nothing changed since.
    receipts = [receipt for tab in tabs for receipt in tab.evaluate("Promise.all(receipts)")]
    assert [receipt["id"] for receipt in receipts] == server.listed() * 4
    assert len(wire.uploads) == 1
    assert [tab.unsynced() for tab in tabs] == [0, 0]


def test_a_backup_that_is_asked_for_during_another_has_what_was_edited_in_between(open_tab, wire):
    tab = open_tab(auto=False)
    tab.put_atom("a1")
    wire.gate.clear()
    tab.start_backup()
    wire.wait(lambda uploads: len(uploads) == 1)
    tab.put_atom("a2")
    tab.start_backup()
    wire.gate.set()
    assert tab.evaluate("window.receipt")["counts"]["atoms"] == 2
    assert tab.unsynced() == 0


def test_a_backup_is_made_also_after_the_clock_was_set_back(open_tab, server):
    tab = open_tab(auto=False)
    tab.put_atom("a1")
    tab.evaluate("window.now = Date.now; Date.now = () => now() + 86_400_000")
    server.request("DELETE", f"/api/backup/{tab.back_up()['id']}")
    tab.evaluate("Date.now = now")
    receipt = tab.back_up()
    assert server.listed() == [receipt["id"]]


def test_text_arrives_as_it_was_and_voice_notes_without_their_audio(open_tab, server):
    tab = open_tab(auto=False)
    titles = ["half an emoji: \ud83d", "žluťoučký \U0001f40e", "\u0000\u2028"]
    literal = json.dumps([{"slug": f"a{n}", "title": title} for n, title in enumerate(titles)])
    tab.evaluate(f"host.put('atoms', ...{literal})")
    tab.evaluate("host.put('voiceNotes', { title: 'hum', audioBlob: new Blob(['x']) })")
    tab.back_up()
    data = latest_data(server)
    assert [atom["title"] for atom in data["atoms"]] == titles
    assert data["voiceNotes"] == [{"title": "hum", "id": 1}]
    assert tab.evaluate("host.get('voiceNotes', 1).then((note) => note.audioBlob.size)") == 1


@pytest.mark.parametrize("server_settings", [{"TRUSTED_HOSTS": "portfolio.test,127.0.0.1"}])
def test_on_a_plain_http_host_it_works_without_locks_and_web_cryptography(context, wire, server):
    tab = open_host(context, wire, server, auto=True, host="portfolio.test")
    assert not tab.evaluate("isSecureContext || 'locks' in navigator || 'subtle' in crypto")
    tab.put_atom("edited")
    tab.back_up()
    tab.assert_backed_up()
