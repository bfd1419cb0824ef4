"""What leaves when a page is hidden, closed or killed, and what follows at the next start."""

import pytest
from support import CATEGORIES, wait_until

from .driving import by_key, latest_data, open_host, stored_backups


def fill(tab, snapshots=5):
    """Store some records of each kind, the snapshots of 5 KB, and back them up."""
    tab.put("atoms", *({"slug": f"a{n:02}", "title": "first"} for n in range(20)))
    tab.put("compositions", {"id": "c1", "title": "first", "synced": False})
    tab.put("voiceNotes", {"title": "hum", "synced": False})
    tab.put("configOverrides", {"atomSlug": "a01", "speed": 1, "synced": False})
    tab.evaluate(
        """(length) => host.put('snapshots', ...Array.from({ length }, (_, n) => (
            { id: `s${n}`, code: host.noise(5000), synced: false })))""",
        snapshots,
    )
    return tab.back_up()


@pytest.mark.parametrize("snapshots", [1, 1000], ids=["5 KB", "5 MB"])
def test_an_edit_leaves_with_a_real_close_as_the_change_it_is(open_tab, tab, wire, snapshots):
    tab.evaluate("host.client.configure({ device: 'the “small” one' })")
    receipt = fill(tab, snapshots)
    atom = tab.put_atom("a01", 5_000)
    tab.remove("snapshots", "s0")
    tab.close_for_real()
    _, upload = wire.wait_answered(2)
    counts = {**receipt["counts"], "snapshots": snapshots - 1}
    document = upload.document
    assert (upload.base, upload.status) == (receipt["id"], 201)
    assert document.pop("clientTimestamp")
    assert document == {
        "atoms": {"put": [atom], "delete": []},
        "snapshots": {"put": [], "delete": ["s0"]},
        "counts": counts,
        "deviceId": document["deviceId"],
        "device": "the “small” one",
    }
    # The beacon was no acknowledgement: the same change is sent again, and is the same backup.
    tab = open_tab()
    tab.assert_backed_up()
    _, _, again = wire.uploads
    assert (again.key, again.status) == (upload.key, 200)
    newest, _ = stored_backups(tab.server)
    assert (newest["counts"], newest["device"]) == (counts, "the “small” one")


def test_a_transaction_that_completed_leaves_with_a_close_in_the_same_task(tab, wire, server):
    fill(tab)
    window = tab.open_by_script()
    window.send_plain()
    window.write_and_close("last", 50_000)
    upload = wire.wait_answered(2, seconds=60)[1]
    assert (upload.status, upload.is_plain_beacon) == (201, True)
    assert upload.headers["content-type"] == "text/plain"
    assert len(by_key(latest_data(server))["atoms"]["last"]["code"]) == 50_000


def test_the_same_change_has_the_same_key_in_each_tab_and_after_a_crash(profile, wire, server):
    context = profile.start()
    tabs = [open_host(context, wire, server, auto=True) for _ in range(2)]
    fill(tabs[0])
    tabs[0].put_atom("a01", 3_000)
    tabs[1].wait_for_status(unsyncedCount=1)
    wire.gate.clear()
    for tab in tabs:
        before = len(wire.uploads)
        tab.hide()
        wire.wait(lambda uploads, before=before: len(uploads) > before)
    profile.kill()
    wire.gate.set()
    open_host(profile.start(), wire, server, auto=True).assert_backed_up()
    changes = wire.uploads[1:]
    assert len(changes) >= 3
    assert len({(upload.key, upload.base) for upload in changes}) == 1
    assert len(server.listed()) == 2


#: Writes, and how many records a scan finds changed where only that sees it.
WRITES = {
    """const atom = { slug: 'a03', title: 'at the call', deep: [{ n: 1 }] };
    store('atoms').put(atom);
    atom.title = 'after it';
    atom.deep[0].n = 2;""": None,
    """store('atoms').add({ slug: 'new', title: 'added' });
    store('voiceNotes').add({ title: 'whose key IndexedDB gives' });
    store('atoms').delete('a03');
    for (let n = 0; n < 50; n += 1) store('snapshots').put({ id: 's3', n });
    store('atoms').delete('a04');
    store('atoms').put({ slug: 'a04', title: 'back' });""": None,
    """store('atoms').openCursor().onsuccess = ({ target: { result: cursor } }) => {
        if (cursor?.key === 'a08') cursor.delete();
        if (cursor?.key === 'a09') cursor.update({ slug: 'a09', title: 'by a cursor' });
        cursor?.continue();
    };""": 2,
    "store('atoms').delete(IDBKeyRange.bound('a11', 'a15'));": 5,
    "store('compositions').clear();": 1,
}


def write(tab, body):
    """Run JavaScript with `transaction`, over all five stores, until that has ended."""
    tab.evaluate(
        f"""async () => {{
            const transaction = (await host.getDB()).transaction({list(CATEGORIES)}, 'readwrite');
            const store = (name) => transaction.objectStore(name);
            const ended = new Promise((resolve) => {{
                transaction.oncomplete = transaction.onabort = resolve;
            }});
            {body}
            await ended;
        }}"""
    )


def test_what_is_written_is_what_the_server_has_after_a_close(tab, wire, server):
    fill(tab)
    for body, found in WRITES.items():
        write(tab, body)
        if found:
            tab.wait_for_status(unsyncedCount=found)
        expected, sent = tab.stored(), len(wire.uploads)
        tab.hide()
        upload = wire.wait_answered(sent + 1)[sent]
        assert (upload.base is None, upload.status) == (False, 201)
        assert by_key(latest_data(server)) == expected, body
        tab.show()
        wire.wait_answered(sent + 2)
        tab.wait_for_state("backed-up")


def test_nothing_is_sent_for_what_was_aborted_disabled_or_has_not_changed(open_tab, wire):
    tab = open_tab(auto=False)
    tab.put_atom("edited")
    tab.evaluate(
        """async () => {  // as a framework does that mounts and unmounts
            const started = host.client.enableAutoBackup();
            host.client.disableAutoBackup();
            await started;
        }"""
    )
    tab.return_to()
    assert wire.uploads == []
    tab.back_up()
    tab.evaluate("host.client.enableAutoBackup()")
    write(tab, "store('atoms').put({ slug: 'n' }).onsuccess = () => transaction.abort();")
    tab.return_to()
    tab.wait_for_state("backed-up")
    tab.close_for_real()
    tab = open_tab()
    tab.wait_for_state("backed-up")
    assert len(wire.uploads) == 1


def test_a_beacon_that_was_lost_is_sent_again_by_the_next_close(tab, wire, server):
    atom = tab.put_atom("edited")
    tab.wait_for_status(unsyncedCount=1)
    wire.cut()
    tab.return_to()
    tab.wait_for_status(reached=False)
    wire.mend()
    tab.close_for_real()
    wait_until(server.listed)
    assert latest_data(server)["atoms"] == [atom]


def test_a_quota_that_others_have_used_up_is_noticed(tab, wire):
    tab.put_atom("edited", 8_000)
    tab.wait_for_status(unsyncedCount=1)
    wire.upload_rate = 20_000
    # The host's own beacon, still on its way: 60 of the 64 KiB.
    tab.evaluate("navigator.sendBeacon('/api/backup?other', 'x'.repeat(60 * 1024))")
    wire.wait(lambda uploads: len(uploads) == 1)
    tab.hide()
    tab.assert_backed_up()


@pytest.mark.parametrize("server_settings", [{"BACKUP_TOKEN": "the-owners"}])
def test_with_a_token_a_close_sends_it_and_a_backup_is_read_with_it(open_tab, wire, server):
    tab = open_tab(token="the-owners")
    atom = tab.put_atom("über \U0001f600", 5_000)
    tab.wait_for_status(unsyncedCount=1)
    wire.upload_rate = 8_000
    tab.close_for_real()
    (upload,) = wire.wait_answered(1)
    assert (upload.headers["authorization"], upload.status) == ("Bearer the-owners", 201)
    wire.upload_rate = None
    tab = open_tab(token="the-owners")
    tab.wait_for_state("backed-up")
    (file,) = server.data_dir.glob("backup-*.json")
    name, text, document = tab.evaluate(
        """async () => {
            const [{ id }] = await host.client.listBackups();
            const file = await host.client.downloadBackup(id);
            return [file.name, await file.text(), await host.client.readBackup(id)];
        }"""
    )
    assert (name, text) == (file.name, file.read_text())
    assert document["data"]["atoms"] == [atom]
