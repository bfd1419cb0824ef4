"""The status can't lie: what is in no backup is never called backed up.

Each case was seen once with a green "Backed up". The truth is worked out from the server's files.
"""

import json

import pytest
from support import wait_until

from .driving import (
    atoms_on,
    back_up,
    by_key,
    close_for_real,
    failure_of,
    get,
    open_host,
    own_newest,
    put,
    put_atom,
    remove,
    restore,
    send_plain,
    stored_backups,
    stored_here,
    switch_away,
    switch_back,
    unsynced,
    wait_for_backed_up,
    wait_for_status,
)

THREE = [{"slug": slug, "title": slug} for slug in ("a1", "a2", "a3")]
SNAPSHOTS = [{"id": f"s{n}", "title": f"s{n}", "synced": False} for n in (1, 2, 3)]


def leave_and_return(page):
    switch_away(page)
    switch_back(page)


def assert_backed_up(page, server):
    """Wait for the plain green words; then the newest backup of this device has all of it."""
    wait_for_backed_up(page)
    assert by_key(own_newest(page, server)["data"]) == stored_here(page)


# --- what happened elsewhere ----------------------------------------------------------------------


def test_what_was_restored_is_in_the_newest_backup(tab, wire, server):
    page = tab(auto=True)
    put(page, "atoms", *THREE)
    first = back_up(page)["id"]
    put(page, "atoms", {**THREE[0], "title": "edited"})
    restore(page, first, conflicts="'replace'")
    wire.wait_answered(2)  # also where nothing differs
    assert_backed_up(page, server)
    remove(page, "atoms", "a3")
    back_up(page)
    restore(page, first)
    assert_backed_up(page, server)
    page.evaluate("(id) => host.client.deleteBackup(id)", first)
    page.reload()
    assert_backed_up(page, server)
    assert atoms_on(page, server) == {"a1", "a2", "a3"}


@pytest.mark.parametrize("moment", ["while open", "while away", "while closed"])
@pytest.mark.parametrize("loss", ["the last one", "all of them", "all but last week's"])
def test_a_base_that_is_gone_is_followed_by_everything(tab, server, moment, loss):
    page = tab(auto=True)
    files = []
    for atom in THREE:
        put(page, "atoms", atom)
        files.append(server.data_dir / f"backup-{back_up(page)['id']}.json")
    if moment == "while closed":
        page.close()
    if moment == "while away":
        switch_away(page)
    first = {"the last one": 2, "all of them": 0, "all but last week's": 1}[loss]
    for file in files[first:]:
        file.unlink()
    if moment == "while closed":
        page = tab(auto=True)
    elif moment == "while away":
        switch_back(page)
    else:
        page.clock.run_for(5 * 60_000)
    wait_until(lambda: "a3" in atoms_on(page, server), 20)
    assert_backed_up(page, server)


def test_flags_are_cleared_while_the_base_is_lost(tab, wire, server):
    page = tab(auto=True)
    put(page, "snapshots", *SNAPSHOTS)
    id = back_up(page)["id"]
    server.request("DELETE", f"/api/backup/{id}")
    wire.answers = [(507, {}, {"error": "The disk is full."})] * 9
    leave_and_return(page)
    wait_for_status(page, unsyncedCount=3, lastBackupTime=None)
    wait_until(lambda: get(page, "snapshots", "s1")["synced"] is False, 20)


def test_a_base_that_another_tab_deletes_during_an_upload(tab, wire, server):
    first, second = tab(auto=True), tab(auto=True)
    put(first, "atoms", *THREE)
    id = back_up(first)["id"]
    wire.gate.clear()
    put_atom(first, "large", 20_000)
    first.clock.run_for(6_000)
    wire.wait(lambda uploads: len(uploads) == 2)
    second.evaluate(f"void host.client.deleteBackup('{id}')")
    wait_until(lambda: not stored_backups(server), 20)
    wire.gate.set()
    assert_backed_up(first, server)
    assert_backed_up(second, server)


def test_a_damaged_base_is_followed_by_everything(tab, server):
    page = tab(auto=True)
    put(page, "atoms", *THREE)
    file = server.data_dir / f"backup-{back_up(page)['id']}.json"
    file.write_text(file.read_text()[:40])
    leave_and_return(page)
    wait_until(lambda: len(list(server.data_dir.glob("backup-*.json"))) == 2, 20)
    assert_backed_up(page, server)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, '{"error": "Send the token."}'),
        (403, '{"error": "Not from there."}'),
        (404, "<h1>Not Found</h1>"),
        (502, "<h1>Bad Gateway</h1>"),
        (200, "<title>Log in to the hotel's network</title>"),
        (200, '{"backups": 7}'),
        (None, ""),
    ],
)
def test_what_is_no_list_drops_nothing_and_is_said(tab, wire, status, body):
    page = tab(auto=True)
    put(page, "atoms", *THREE)
    back_up(page)

    def answer(route):
        return route.fulfill(status=status, body=body) if status else route.abort()

    page.route("**/api/backup/list*", answer)
    leave_and_return(page)
    page.locator("sync-status[data-state=unverified]").wait_for()
    page.locator("sync-status", has_text="server not reached").wait_for()
    page.unroute("**/api/backup/list*")
    page.clock.run_for(31_000)
    wait_for_backed_up(page)
    assert len(wire.uploads) == 1


def test_a_list_that_lags_costs_one_whole_upload_an_hour(tab, wire):
    page = tab(auto=True)
    put(page, "atoms", *THREE)
    back_up(page)
    page.route("**/api/backup/list*", lambda route: route.fulfill(body='{"backups": []}'))
    leave_and_return(page)
    wait_for_backed_up(page)
    assert len(wire.uploads) == 2
    for _ in range(3):
        leave_and_return(page)
        page.locator("sync-status", has_text="does not list the last backup").wait_for()
    page.clock.run_for(10 * 60_000)
    assert wait_for_status(page, unsyncedCount=3)["lastBackupTime"] is None
    assert len(wire.uploads) == 2
    put_atom(page, "edited", 20_000)
    page.clock.run_for(6_000)
    wait_for_status(page, unsyncedCount=0)
    assert wire.uploads[2].base is None
    page.unroute("**/api/backup/list*")
    leave_and_return(page)
    wait_for_backed_up(page)
    assert len(wire.uploads) == 3


def test_a_server_that_knows_no_devices_is_believed_by_its_list(tab, wire, server):
    page = tab(auto=True)

    def without_devices(route):
        backups = route.fetch(url=route.request.url.partition("?")[0]).json()["backups"]
        for backup in backups:
            backup.pop("deviceId", None)
        route.fulfill(body=json.dumps({"backups": backups}))

    page.route("**/api/backup/list*", without_devices)
    put(page, "atoms", *THREE)
    id = back_up(page)["id"]
    server.upload({"atoms": [{"slug": "elsewhere"}]})
    leave_and_return(page)
    wait_for_backed_up(page)
    assert len(wire.uploads) == 1
    server.request("DELETE", f"/api/backup/{id}")
    leave_and_return(page)
    assert_backed_up(page, server)
    assert len(wire.uploads) == 2


# --- tabs and devices -----------------------------------------------------------------------------


def test_a_beacon_that_nobody_heard_the_answer_of(tab, wire, server):
    first, second = tab(auto=True), tab(auto=True)
    put(first, "snapshots", *SNAPSHOTS)
    one = back_up(first)["id"]
    wait_for_backed_up(second)
    send_plain(first)
    remove(first, "snapshots", "s3")
    close_for_real(first)
    assert wire.wait_answered(2)[1].is_plain_beacon
    restore(second, one)
    assert_backed_up(second, server)
    second.reload()
    assert_backed_up(second, server)
    assert [s["id"] for s in own_newest(second, server)["data"]["snapshots"]] == ["s1", "s2", "s3"]


def test_a_beacon_is_acknowledged_at_the_next_start_without_sending_everything(tab, wire, server):
    page = tab(auto=True)
    put(page, "atoms", *THREE)
    back_up(page)
    send_plain(page)
    remove(page, "atoms", "a3")
    close_for_real(page)
    assert wire.wait_answered(2)[1].is_plain_beacon
    page = tab(auto=True)
    assert_backed_up(page, server)
    assert [(upload.base is None, upload.status) for upload in wire.uploads] == [
        (True, 201),
        (False, 201),
        (False, 200),
    ]


def test_tabs_share_a_device_and_follow_what_another_backs_up_and_deletes(tab, server):
    first, second = tab(auto=True), tab(auto=True)
    ids = [page.evaluate("host.client.getDeviceId()") for page in (first, second)]
    assert ids[0] == ids[1]
    first.evaluate("window.addEventListener('eoe:backups', () => { window.heard = true; })")
    put(second, "snapshots", *SNAPSHOTS)
    id = back_up(second)["id"]
    first.wait_for_function("window.heard")
    wait_for_backed_up(first)
    first.evaluate("window.heard = false")
    second.evaluate("(id) => host.client.deleteBackup(id)", id)
    first.wait_for_function("window.heard")
    wait_until(lambda: [b["id"] for b in stored_backups(server)] not in ([], [id]), 20)
    assert_backed_up(second, server)
    assert len(stored_backups(server)) == 1
    assert get(second, "snapshots", "s1")["synced"] is True


def test_two_devices_that_restore_from_each_other(browser, tab, wire, server):
    phone = tab(auto=True)
    other = browser.new_context()
    laptop = open_host(other, wire, auto=True)
    put(phone, "atoms", THREE[0])
    put(laptop, "atoms", THREE[1])
    ids = [back_up(page)["id"] for page in (phone, laptop)]
    restore(phone, ids[1])
    restore(laptop, ids[0])
    for page in (phone, laptop):
        # Equal contents are a backup of each.
        assert_backed_up(page, server)
        assert atoms_on(page, server) == {"a1", "a2"}
    other.close()


def test_an_old_client_in_a_second_tab(tab, wire, server):
    """It names no device, marks records by itself, and upgrades nothing of this client's."""
    page = tab(auto=True)
    page.evaluate(
        """() => new Promise((resolve) => {
            const request = indexedDB.open('eoe-cloud-backup', 1);
            request.onupgradeneeded = () => {
                request.result.createObjectStore('acknowledged');
                request.result.createObjectStore('facts');
            };
            request.onsuccess = resolve;  // and stays open, as in another tab
        })"""
    )
    put(page, "snapshots", *SNAPSHOTS)
    back_up(page)
    put(page, "snapshots", {**SNAPSHOTS[0], "title": "edited", "synced": True})
    server.upload({"snapshots": [{"id": "s1", "title": "edited"}]})
    page.reload()
    assert_backed_up(page, server)
    databases = page.evaluate("indexedDB.databases().then((all) => all.map((d) => d.version))")
    assert sorted(databases) == [1, 1, 3]


def test_the_memory_of_the_client_before_is_read_once(tab, server):
    page = tab()
    put(page, "atoms", {"slug": "a1", "title": "old"})
    id = back_up(page)["id"]
    put(page, "atoms", {"slug": "a1", "title": "new"})
    page.evaluate(
        """async (since) => {
            const digest = host.sha256(JSON.stringify({ slug: 'a1', title: 'new' }));
            const request = indexedDB.open('eoe-cloud-backup', 1);
            await new Promise((resolve) => {
                request.onupgradeneeded = () => {
                    const records = request.result.createObjectStore('acknowledged');
                    records.put({ digest, since, inBase: digest }, 'atoms/"a1"');
                    const facts = request.result.createObjectStore('facts');
                    const change = { category: 'atoms', key: 'a1', expected: digest, record: null };
                    const undo = { backupId: 'x', restoredAt: since, changes: [change] };
                    facts.put({ ...undo, lastId: null, acknowledged: [] }, 'undo');
                };
                request.onsuccess = resolve;
            });
            request.result.close();
            await new Promise((resolve) => {
                indexedDB.deleteDatabase('eoe-portfolio-backup').onsuccess = resolve;
            });
        }""",
        "2099-01-01T00:00:00Z",
    )
    page.reload()
    assert page.evaluate("host.client.getUndo()")["backupId"] == "x"
    back_up(page)
    assert restore(page, id)["kept"] == [{"category": "atoms", "key": "a1"}]


# --- flags, what can't be sent, an empty device ---------------------------------------------------


def test_a_flag_that_is_set_by_hand_hides_nothing(tab, wire, server):
    page = tab(auto=True)
    put(page, "snapshots", *SNAPSHOTS)
    back_up(page)
    put(page, "snapshots", {"id": "s1", "title": "edited", "synced": True})
    assert unsynced(page) == 1
    put(page, "snapshots", {"id": "s2", "title": "s2", "synced": False})
    assert unsynced(page) == 1
    leave_and_return(page)
    assert_backed_up(page, server)


def test_a_restore_and_then_a_crash(profile, wire, server):
    page = open_host(profile.start(), wire, auto=True)
    put(page, "atoms", *THREE)
    first = back_up(page)["id"]
    remove(page, "atoms", "a3")
    back_up(page)
    wire.gate.clear()
    restore(page, first)
    profile.kill()
    wire.gate.set()
    page = open_host(profile.start(), wire, auto=True)
    assert_backed_up(page, server)
    assert "a3" in atoms_on(page, server)


def test_an_emptied_device_sends_nothing_and_says_so(tab, wire):
    page = tab(auto=True)
    put(page, "atoms", *THREE)
    back_up(page)
    for atom in THREE:
        remove(page, "atoms", atom["slug"])
    leave_and_return(page)
    page.locator("sync-status[data-state=emptied]").wait_for()
    text = page.locator("sync-status .text").text_content()
    assert text.startswith("Nothing is stored here; the last backup, ")
    assert text.endswith(", has 3")
    close_for_real(page)
    tab(auto=True)
    assert len(wire.uploads) == 1


def test_what_json_cannot_hold_is_named_and_never_a_deletion(tab, wire, server):
    page = tab(auto=True)
    put(page, "atoms", *THREE)
    back_up(page)
    page.evaluate("host.put('atoms', { slug: 'a1', title: new Date(0) }, { slug: 'n', n: NaN })")
    put_atom(page, "a2")
    status = wait_for_status(page, status="error", unsyncedCount=3, storedCount=4)
    assert status["lastError"] == 'atoms/"a1" can\'t be backed up: title is a Date'
    switch_away(page)
    upload = wire.wait_answered(2)[1]
    assert [atom["slug"] for atom in upload.document["atoms"]["put"]] == ["a2"]
    assert upload.document["atoms"]["delete"] == []
    switch_back(page)
    wait_for_status(page, status="error", unsyncedCount=2)
    assert "a1" in failure_of(page, "host.client.createBackup()")
    remove(page, "atoms", "n")
    put(page, "atoms", THREE[0])
    assert_backed_up(page, server)
