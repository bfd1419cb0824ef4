"""The status can't lie: what is in no backup is never called backed up.

Each case was seen once with a green "Backed up". The truth is worked out from the server's files.
"""

import pytest
from support import wait_until

from .driving import LISTS, MINUTE, open_host

THREE = [{"slug": slug, "title": slug} for slug in ("a1", "a2", "a3")]
SNAPSHOTS = [{"id": f"s{n}", "title": f"s{n}", "synced": False} for n in (1, 2, 3)]


@pytest.fixture
def base(tab):
    """The id of a backup of three atoms and three snapshots, the tab's base."""
    tab.put("atoms", *THREE)
    tab.put("snapshots", *SNAPSHOTS)
    return tab.back_up()["id"]


def file_of(server, id):
    return server.data_dir / f"backup-{id}.json"


def test_what_was_restored_is_in_the_newest_backup(tab, wire, base):
    tab.put("atoms", {**THREE[0], "title": "edited"})
    tab.restore(base, conflicts="replace")
    wire.wait_answered(2)  # also where nothing differs
    tab.assert_backed_up()
    tab.remove("atoms", "a3")
    tab.back_up()
    tab.restore(base)
    tab.assert_backed_up()
    tab.call("deleteBackup", base)
    tab.reload()
    tab.assert_backed_up()
    assert "a3" in tab.titles()


@pytest.mark.parametrize(
    ("loss", "moment"),
    [
        ("all of them", "while open"),
        ("the last one", "while away"),
        ("all but last week's", "while closed"),
        ("its end", "while away"),
    ],
)
def test_a_base_that_is_gone_is_followed_by_everything(open_tab, tab, server, loss, moment):
    for atom in THREE:
        tab.put("atoms", atom)
        tab.back_up()
    ids = server.listed()
    if moment == "while away":
        tab.hide()
    if loss == "its end":
        newest = file_of(server, ids[0])
        newest.write_text(newest.read_text()[:40])
    else:
        gone = {"the last one": ids[:1], "all but last week's": ids[:2], "all of them": ids}
        for id in gone[loss]:
            file_of(server, id).unlink()
    if moment == "while open":
        tab.clock.run_for(5 * MINUTE)
    elif moment == "while away":
        tab.show()
    else:
        tab.put_atom("refused, since its base is gone")
        tab.close_for_real()
        tab = open_tab()
    wait_until(lambda: server.listed() and server.listed()[0] > ids[0])
    tab.assert_backed_up()


def test_a_base_that_another_tab_deletes_during_an_upload(open_tab, tab, wire, server, base):
    other = open_tab()
    wire.gate.clear()
    tab.put_atom("large", 20_000)
    tab.clock.run_for(6_000)
    wire.wait(lambda uploads: len(uploads) == 2)
    other.evaluate(f"void host.client.deleteBackup('{base}')")
    wait_until(lambda: not server.listed())
    wire.gate.set()
    tab.assert_backed_up()
    other.assert_backed_up()


NO_LISTS = [
    (401, '{"error": "Send the token."}'),
    (404, "<h1>Not Found</h1>"),
    (502, "<h1>Bad Gateway</h1>"),
    (200, "<title>Log in to the hotel's network</title>"),
    (200, '{"backups": 7}'),
]


def test_what_is_no_list_drops_nothing_and_is_said(tab, wire, base):
    for status, body in NO_LISTS:
        tab.answer_lists(status=status, body=body)
        tab.return_to()
        tab.wait_for_state("unverified", "server not reached")
        tab.unroute(LISTS)
        tab.clock.run_for(31_000)
        tab.wait_for_state("backed-up")
    assert len(wire.uploads) == 1


def test_a_list_that_lags_costs_one_whole_upload_an_hour_and_clears_the_flags(tab, wire, base):
    tab.answer_lists(json={"backups": []})
    tab.return_to()
    tab.wait_for_state("backed-up")
    assert len(wire.uploads) == 2
    tab.return_to()
    tab.wait_for_state("unsynced", "does not list the last backup")
    wait_until(lambda: tab.get("snapshots", "s1")["synced"] is False)
    tab.clock.run_for(10 * MINUTE)
    assert tab.wait_for_status(unsyncedCount=6)["lastBackupTime"] is None
    assert len(wire.uploads) == 2
    tab.put_atom("edited", 20_000)
    tab.clock.run_for(6_000)
    # Its receipt has been read, or the return would send it again, with its key.
    tab.wait_for_status(unsyncedCount=0)
    assert wire.wait_answered(3)[2].base is None
    tab.unroute(LISTS)
    tab.return_to()
    tab.assert_backed_up()
    assert len(wire.uploads) == 3


def test_a_server_that_knows_no_devices_is_believed_by_its_list(tab, wire, server, base):
    def without_devices(route):
        backups = route.fetch(url=route.request.url.partition("?")[0]).json()["backups"]
        route.fulfill(json={"backups": [it | {"deviceId": None} for it in backups]})

    tab.route(LISTS, without_devices)
    server.upload({"atoms": [{"slug": "elsewhere"}]})
    tab.return_to()
    tab.wait_for_state("backed-up")
    assert len(wire.uploads) == 1
    file_of(server, base).unlink()
    tab.return_to()
    tab.assert_backed_up()
    assert len(wire.uploads) == 2


def test_what_a_page_without_the_client_writes_is_not_called_backed_up(tab, wire, base):
    bare = tab.context.new_page()
    bare.goto(f"{wire.url}/404.html")
    write = """(slug) => new Promise((resolve) => {
        const request = indexedDB.open('eoe-atoms');
        request.onsuccess = () => {
            const transaction = request.result.transaction('atoms', 'readwrite');
            transaction.objectStore('atoms').put({ slug, title: slug });
            transaction.oncomplete = () => { request.result.close(); resolve(); };
        };
    })"""
    tab.hide()
    bare.evaluate(write, "seen on return")
    tab.show()
    tab.assert_backed_up()
    assert "seen on return" in tab.titles()
    bare.evaluate(write, "seen while it is edited")
    for _ in range(6):  # each upload plans what comes next
        tab.put_atom("a1", 20_000)
        tab.clock.run_for(6_000)
        tab.wait_for_status(unsyncedCount=0)
        tab.clock.run_for(54_000)
    assert "seen while it is edited" in {atom["slug"] for atom in tab.newest()["data"]["atoms"]}
    bare.evaluate(write, "seen within five minutes")
    tab.clock.run_for(5 * MINUTE)
    tab.wait_for_status(unsyncedCount=1)


def test_a_hidden_tab_leaves_the_edits_of_a_visible_one_to_it(open_tab, tab, wire):
    hidden = open_tab()
    hidden.hide()
    for slug in ("a1", "a2"):
        tab.put_atom(slug)
        hidden.wait_for_status(unsyncedCount=1)
        tab.back_up()
        hidden.wait_for_status(unsyncedCount=0)
    assert len(wire.uploads) == 2


def test_a_beacon_that_nobody_heard_the_answer_of(open_tab, tab, wire, base):
    other = open_tab()
    other.wait_for_state("backed-up")
    tab.send_plain()
    tab.remove("snapshots", "s3")
    tab.close_for_real()
    assert wire.wait_answered(2)[1].is_plain_beacon
    other.restore(base)
    other.assert_backed_up()
    other.reload()
    other.assert_backed_up()
    assert list(other.titles("snapshots")) == ["s1", "s2", "s3"]


def test_tabs_share_a_device_and_follow_what_another_backs_up_and_deletes(open_tab, tab, server):
    other = open_tab()
    assert tab.call("getDeviceId") == other.call("getDeviceId")
    heard = """new Promise((resolve) => {
        window.heard = window.addEventListener('eoe:backups', resolve, { once: true });
    })"""
    tab.evaluate(f"void (window.list = {heard})")
    other.put("snapshots", *SNAPSHOTS)
    id = other.back_up()["id"]
    tab.evaluate("window.list")
    tab.wait_for_state("backed-up")
    tab.evaluate(f"void (window.list = {heard})")
    other.call("deleteBackup", id)
    tab.evaluate("window.list")
    wait_until(lambda: server.listed() not in ([], [id]))
    other.assert_backed_up()
    assert len(server.listed()) == 1
    assert other.get("snapshots", "s1")["synced"] is True


def test_two_devices_that_restore_from_each_other(browser, tab, wire, server):
    context = browser.new_context()
    laptop = open_host(context, wire, server, auto=True)
    devices = {"a1": tab, "a2": laptop}
    for slug, device in devices.items():
        device.put("atoms", {"slug": slug, "title": slug})
    ids = [device.back_up()["id"] for device in devices.values()]
    for device, id in zip(devices.values(), reversed(ids), strict=True):
        device.restore(id)
        device.assert_backed_up()  # equal contents are a backup of each
        assert set(device.titles()) == {"a1", "a2"}
    context.close()


def test_an_old_client_in_a_second_tab(context, open_tab, wire, server):
    """Its memory is read once, and never upgraded; it names no device, and marks by itself."""
    old = context.new_page()
    old.goto(f"{wire.url}/404.html")
    old.evaluate(
        """() => new Promise((resolve) => {
            const request = indexedDB.open('eoe-cloud-backup', 1);
            request.onupgradeneeded = () => {
                request.result.createObjectStore('acknowledged');
                const facts = request.result.createObjectStore('facts');
                facts.put({ backupId: 'x', restoredAt: '2026', changes: [] }, 'undo');
            };
            request.onsuccess = () => resolve();  // and it stays open
        })"""
    )
    tab = open_tab()
    assert tab.call("getUndo")["backupId"] == "x"
    tab.put("snapshots", *SNAPSHOTS)
    tab.back_up()
    tab.put("snapshots", {**SNAPSHOTS[0], "title": "edited", "synced": True})
    server.upload({"snapshots": [{"id": "s1", "title": "edited"}]})
    tab.return_to()
    tab.assert_backed_up()
    databases = tab.evaluate("indexedDB.databases().then((all) => all.map((d) => d.version))")
    assert sorted(databases) == [1, 1, 3]


def test_a_flag_that_is_set_by_hand_hides_nothing(tab, base):
    tab.put("snapshots", {"id": "s1", "title": "edited", "synced": True})
    assert tab.unsynced() == 1
    tab.put("snapshots", {"id": "s2", "title": "s2", "synced": False})
    assert tab.unsynced() == 1
    tab.return_to()
    tab.assert_backed_up()


def test_a_restore_and_then_a_crash(profile, wire, server):
    tab = open_host(profile.start(), wire, server, auto=True)
    tab.put("atoms", *THREE)
    first = tab.back_up()["id"]
    tab.remove("atoms", "a3")
    tab.back_up()
    wire.gate.clear()
    tab.restore(first)
    profile.kill()
    wire.gate.set()
    tab = open_host(profile.start(), wire, server, auto=True)
    tab.assert_backed_up()
    assert "a3" in tab.titles()


def test_an_emptied_device_sends_nothing_and_says_so(open_tab, tab, wire):
    tab.put("atoms", *THREE)
    tab.back_up()
    for slug in tab.titles():
        tab.remove("atoms", slug)
    tab.return_to()
    tab.wait_for_state("emptied", "Nothing is stored here; the last backup, ")
    tab.wait_for_state("emptied", ", has 3")
    tab.close_for_real()
    open_tab()
    assert len(wire.uploads) == 1


def test_what_json_cannot_hold_is_named_and_never_a_deletion(tab, wire, base):
    tab.evaluate("host.put('atoms', { slug: 'a1', title: new Date(0) }, { slug: 'n', n: NaN })")
    tab.put_atom("a2")
    status = tab.wait_for_status(status="error", unsyncedCount=3, storedCount=7)
    assert status["lastError"] == 'atoms/"a1" can\'t be backed up: title is a Date'
    tab.hide()
    change = wire.wait_answered(2)[1].document["atoms"]
    assert ([atom["slug"] for atom in change["put"]], change["delete"]) == (["a2"], [])
    tab.show()
    tab.wait_for_status(status="error", unsyncedCount=2)
    assert "a1" in tab.failure("createBackup")
    tab.remove("atoms", "n")
    tab.put("atoms", THREE[0])
    tab.assert_backed_up()
