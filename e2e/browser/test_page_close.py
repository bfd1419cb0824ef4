"""What leaves when a page is hidden, closed or killed, and what follows at the next start."""

import pytest

from .driving import (
    close_for_real,
    failure_of,
    latest_data,
    open_host,
    put,
    put_atom,
    stored_backups,
    switch_away,
    switch_back,
    wait_for_backup,
    wait_for_status,
)

KEEPALIVE_BYTES = 64 * 1024


def wait_until_prepared(page, unsynced=1):
    """Wait for the edit to be told of, which happens when what to send is ready."""
    wait_for_status(page, unsyncedCount=unsynced)


def test_five_kilobytes_leave_with_a_closing_tab(tab, wire, server):
    page = tab(auto=True)
    atom = put_atom(page, "edited", 5_000)
    wait_until_prepared(page)
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


def test_an_edit_before_configure_leaves_too(tab, wire, server):
    """As when a token is set after a login."""
    page = tab(auto=True)
    atom = put_atom(page, "edited", 3_000)
    wait_until_prepared(page)
    page.evaluate("host.client.configure({ timeoutMs: 20_000 })")
    page.wait_for_timeout(500)
    close_for_real(page)
    assert wait_for_backup(server)["atoms"] == [atom]


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
    wait_until_prepared(page)
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
    wait_until_prepared(page)
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


def test_a_close_that_is_called_off_does_not_keep_the_next_one_from_sending(tab, wire):
    page = tab(auto=True)
    put_atom(page, "edited")
    wait_until_prepared(page)
    wire.answers = [(500, {}, {"error": "Lost."})]
    page.evaluate("window.dispatchEvent(new Event('beforeunload', { cancelable: true }))")
    wire.wait_answered(1)
    page.wait_for_timeout(1200)
    close_for_real(page)
    first, second = wire.wait_answered(2)
    assert first.key == second.key
    assert second.status == 201


def test_a_close_sends_before_its_handlers_return(tab, wire):
    page = tab(auto=True)
    put_atom(page, "edited")
    wait_until_prepared(page)
    beacons = page.evaluate(
        """() => {
            let taken = 0;
            const send = navigator.sendBeacon;
            navigator.sendBeacon = (...parameters) => {
                taken += 1;
                return send.apply(navigator, parameters);
            };
            window.dispatchEvent(new PageTransitionEvent('pagehide'));
            return taken;
        }"""
    )
    assert beacons == 1


def test_the_return_to_a_tab_acknowledges_what_its_beacon_sent(tab, wire, server):
    page = tab(auto=True)
    put_atom(page, "edited")
    wait_until_prepared(page)
    switch_away(page)
    wire.wait_answered(1)
    assert wait_for_status(page, unsyncedCount=1)["lastBackupTime"] is None

    switch_back(page)
    wait_for_status(page, status="success", unsyncedCount=0)
    assert [upload.status for upload in wire.uploads] == [201, 200]
    assert len(stored_backups(server)) == 1


def test_what_exceeds_the_quota_is_uploaded_while_the_tab_is_hidden(tab, wire, server):
    page = tab(auto=True)
    atom = put_atom(page, "large", 2 * KEEPALIVE_BYTES)
    wait_until_prepared(page)
    switch_away(page)
    wait_for_status(page, status="success", unsyncedCount=0)
    assert latest_data(server)["atoms"] == [atom]
    assert len(wire.uploads) == 1


def test_a_quota_that_others_have_used_up_is_noticed(tab, wire, server):
    page = tab(auto=True)
    atom = put_atom(page, "edited", 8_000)
    wait_until_prepared(page)
    wire.upload_rate = 20_000
    # The host's own beacon, still on its way: 60 of the 64 KiB.
    page.evaluate("navigator.sendBeacon('/api/backup?other', 'x'.repeat(60 * 1024))")
    wire.wait(lambda uploads: len(uploads) == 1)
    switch_away(page)
    wait_for_status(page, status="success", unsyncedCount=0)
    assert latest_data(server)["atoms"] == [atom]


def test_an_edit_just_before_a_tab_switch_leaves_with_it(tab, server):
    page = tab(auto=True)
    put_atom(page, "first")
    wait_until_prepared(page)
    page.evaluate(
        """async () => {
            await host.put('atoms', { slug: 'second', title: 'second' });
            Object.defineProperty(document, 'visibilityState', { value: 'hidden' });
            document.dispatchEvent(new Event('visibilitychange'));
        }"""
    )
    slugs = [atom["slug"] for atom in wait_for_backup(server)["atoms"]]
    assert slugs == ["first", "second"]


def test_a_beacon_that_is_still_on_its_way_does_not_become_the_newest_backup(tab, wire, server):
    page = tab(auto=True)
    put(page, "atoms", {"slug": "small", "title": "stays"})
    put_atom(page, "large", 12_000)
    wait_until_prepared(page, unsynced=2)
    wire.upload_rate = 6_000
    switch_away(page)
    wire.wait(lambda uploads: len(uploads) == 1)
    page.evaluate("host.remove('atoms', 'large')")
    page.evaluate("host.client.createBackup()")
    wire.wait_answered(3)
    assert [atom["slug"] for atom in latest_data(server)["atoms"]] == ["small"]
    assert len(stored_backups(server)) == 2


def test_nothing_is_sent_when_nothing_changed(tab, wire):
    page = tab(auto=True)
    put_atom(page, "edited")
    wait_until_prepared(page)
    page.evaluate("host.client.createBackup()")
    sent = len(wire.uploads)
    switch_away(page)
    switch_back(page)
    close_for_real(page)

    page = tab(auto=True)
    wait_for_status(page, unsyncedCount=0)
    page.wait_for_timeout(500)
    assert len(wire.uploads) == sent


def test_an_empty_database_is_not_sent_by_itself(tab, wire):
    page = tab(auto=True)
    wait_for_status(page, unsyncedCount=0)
    switch_away(page)
    close_for_real(page)
    page = tab(auto=True)
    wait_for_status(page, unsyncedCount=0)
    page.wait_for_timeout(300)
    assert wire.uploads == []


def test_a_database_that_was_emptied_is_not_sent_by_itself(tab, wire):
    page = tab(auto=True)
    put_atom(page, "only")
    page.evaluate("host.client.createBackup()")
    page.evaluate("host.remove('atoms', 'only')")
    wait_until_prepared(page)
    close_for_real(page)
    page = tab(auto=True)
    wait_for_status(page, unsyncedCount=1, storedCount=0)
    page.wait_for_timeout(300)
    assert len(wire.uploads) == 1


def test_disabling_ends_it(tab, wire):
    page = tab(auto=True)
    put_atom(page, "edited")
    wait_until_prepared(page)
    page.evaluate("host.client.disableAutoBackup()")
    close_for_real(page)
    page = tab()
    page.wait_for_timeout(300)
    assert wire.uploads == []


def test_a_failed_upload_follows_when_the_network_is_back(context, tab, wire, server):
    page = tab(auto=True)
    wait_for_status(page, unsyncedCount=0)
    context.set_offline(True)
    put(page, "snapshots", {"id": "s1", "title": "made offline", "synced": False})
    wait_until_prepared(page)
    switch_away(page)
    switch_back(page)
    assert wait_for_status(page, unsyncedCount=1)["lastError"] is None

    context.set_offline(False)
    wait_for_status(page, status="success", unsyncedCount=0)
    assert latest_data(server)["snapshots"][0]["title"] == "made offline"


def test_an_idle_page_reads_nothing(tab):
    page = tab(auto=True)
    put_atom(page, "edited")
    wait_until_prepared(page)
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


class TestWithAToken:
    @pytest.fixture
    def server_settings(self):
        return {"BACKUP_TOKEN": "a-secret-of-the-owner"}

    def test_a_closing_tab_sends_it_along(self, tab, wire, server):
        page = tab(auto=True, token="a-secret-of-the-owner")
        put_atom(page, "edited", 5_000)
        wait_until_prepared(page)
        wire.upload_rate = 8_000
        close_for_real(page)

        (upload,) = wire.wait_answered(1)
        assert upload.headers["authorization"] == "Bearer a-secret-of-the-owner"
        assert upload.status == 201

    def test_a_refused_one_is_an_error_that_says_so(self, tab, wire):
        page = tab(auto=True, token="a-guess")
        wire.answers = [(401, {"WWW-Authenticate": "Bearer"}, {"error": "Send the token."})]
        put_atom(page, "edited")
        assert failure_of(page, "host.client.createBackup()") == "Send the token."
        assert len(wire.uploads) == 1
