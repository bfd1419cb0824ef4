"""What other pages and tabs of an origin write and upload, as this one sees it."""

import pytest

from .driving import (
    MINUTE,
    atoms_on,
    back_up,
    put_atom,
    stored_backups,
    switch_away,
    switch_back,
    unsynced,
    wait_for_backed_up,
    wait_for_status,
)

WRITE = """() => new Promise((resolve) => {
    const request = indexedDB.open('eoe-atoms');
    request.onsuccess = () => {
        const transaction = request.result.transaction('atoms', 'readwrite');
        transaction.objectStore('atoms').put({ slug: 'elsewhere' });
        transaction.oncomplete = () => { request.result.close(); resolve(); };
    };
})"""


@pytest.mark.parametrize("moment", ["on return", "within five minutes"])
def test_what_a_page_without_the_client_writes_is_not_called_backed_up(tab, wire, server, moment):
    page = tab(auto=True)
    put_atom(page, "a1")
    back_up(page)
    if moment == "on return":
        switch_away(page)
    bare = page.context.new_page()
    bare.goto(f"{wire.url}/a-page-that-is-not-there")
    bare.evaluate(WRITE)
    if moment == "on return":
        switch_back(page)
        wait_for_backed_up(page)
        assert atoms_on(page, server) == {"a1", "elsewhere"}
    else:
        page.clock.run_for(5 * MINUTE)
        wait_for_status(page, unsyncedCount=1)


def test_a_hidden_tab_leaves_the_edits_of_a_visible_one_to_it(tab, wire):
    visible, hidden = tab(auto=True), tab(auto=True)
    switch_away(hidden)
    for slug in ("a1", "a2"):
        put_atom(visible, slug)
        wait_for_status(hidden, unsyncedCount=1)
        hidden.wait_for_timeout(1000)
        back_up(visible)
        wait_for_status(hidden, unsyncedCount=0)
    assert len(wire.uploads) == 2


def test_a_backup_that_is_asked_for_during_another_has_what_was_edited_in_between(tab, wire):
    page = tab()
    put_atom(page, "a1")
    wire.gate.clear()
    page.evaluate("void host.client.createBackup()")
    wire.wait(lambda uploads: len(uploads) == 1)
    put_atom(page, "a2")
    page.evaluate("void (window.second = host.client.createBackup())")
    wire.gate.set()
    assert page.evaluate("window.second")["counts"]["atoms"] == 2
    assert unsynced(page) == 0


def test_a_backup_is_made_also_after_the_clock_was_set_back(tab, server):
    page = tab()
    put_atom(page, "a1")
    page.evaluate("window.now = Date.now; Date.now = () => now() + 86_400_000")
    server.request("DELETE", f"/api/backup/{back_up(page)['id']}")
    page.evaluate("Date.now = now")
    receipt = back_up(page)
    assert [backup["id"] for backup in stored_backups(server)] == [receipt["id"]]
