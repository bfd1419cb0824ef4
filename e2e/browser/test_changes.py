"""What is sent is the change since the last backup; what the server makes of it is what is here."""

import pytest

from .driving import (
    back_up,
    close_for_real,
    failure_of,
    get,
    latest_data,
    open_by_script,
    open_host,
    put,
    put_atom,
    stored_backups,
    switch_away,
    switch_back,
    unsynced,
    wait_for_backup,
    wait_for_status,
    write_and_close,
)

CATEGORIES = ("atoms", "compositions", "snapshots", "voiceNotes", "configOverrides")


def portfolio(page, count=20):
    """Store some records of each kind and back them up; return the receipt."""
    put(page, "atoms", *({"slug": f"a{n:02}", "title": "first"} for n in range(count)))
    put(page, "compositions", {"id": "c1", "title": "first", "synced": False})
    put(page, "snapshots", *({"id": f"s{n}", "n": n, "synced": False} for n in range(5)))
    put(page, "voiceNotes", {"title": "hum", "synced": False})
    put(page, "configOverrides", {"atomSlug": "a01", "speed": 1, "synced": False})
    return back_up(page)


def stored_here(page):
    """All records by category and key, without what the client does to them."""
    records = page.evaluate(
        """async (names) => Object.fromEntries(
            await Promise.all(names.map(async (name) => [name, await host.getAll(name)])))""",
        CATEGORIES,
    )
    return by_key(records)


def by_key(data):
    keys = dict(zip(CATEGORIES, ("slug", "id", "id", "id", "atomSlug"), strict=True))
    return {
        category: {
            record[keys[category]]: {k: v for k, v in record.items() if k != "synced"}
            for record in data[category]
        }
        for category in CATEGORIES
    }


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


# --- what is sent ---------------------------------------------------------------------------------


def test_an_edit_leaves_as_the_change_of_the_last_backup(tab, wire, server):
    page = tab(auto=True)
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
    assert set(upload.document) == {"atoms", "snapshots", "counts", "clientTimestamp"}
    assert stored_backups(server)[0]["counts"] == counts
    assert by_key(latest_data(server)) == stored_here(tab())


def test_a_transaction_that_completed_leaves_with_a_close_in_the_same_task(tab, wire, server):
    page = tab(auto=True)
    portfolio(page)
    write_and_close(open_by_script(page), "last", 50_000)
    assert wire.wait_answered(2, seconds=60)[1].status == 201
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


def test_back_up_now_sends_everything(tab, wire):
    page = tab()
    portfolio(page)
    put_atom(page, "a01")
    back_up(page)
    assert [upload.base for upload in wire.uploads] == [None, None]
    assert len(wire.uploads[1].document["atoms"]) == 20


def test_the_name_of_the_device_is_sent_with_changes_and_with_everything(tab, wire, server):
    page = tab(auto=True)
    page.evaluate("host.client.configure({ device: 'the “small” one' })")
    portfolio(page)
    put_atom(page, "a01")
    assert leave(page, wire).document["device"] == "the “small” one"
    for backup in stored_backups(server):
        data = server.get(f"/api/backup/{backup['id']}").json["data"]
        assert data["device"] == "the “small” one"


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
    # What these have deleted is found by a look.
    if "clear" in body:
        wait_for_status(page, unsyncedCount=20)
    if "IDBKeyRange" in body:
        wait_for_status(page, unsyncedCount=5)
    expected = stored_here(page)
    upload = leave(page, wire)
    assert upload.status == 201
    assert upload.base
    assert by_key(latest_data(server)) == expected


def test_what_is_written_through_an_index_is_seen(tab, wire, server):
    page = tab()
    page.evaluate(
        """async () => {
            (await host.getDB()).close();
            const database = await host.openDB('eoe-atoms', 4, {
                upgrade(database, from, to, transaction) {
                    transaction.objectStore('snapshots').createIndex('byN', 'n');
                },
            });
            host.getDB = async () => database;
            host.client.configure({ getDB: host.getDB });
            await host.client.enableAutoBackup();
            for (let n = 0; n < 5; n += 1) await database.put('snapshots', { id: `s${n}`, n });
            await host.client.createBackup();
            const transaction = database.transaction('snapshots', 'readwrite');
            for await (const cursor of transaction.store.index('byN').iterate(3)) {
                await cursor.update({ ...cursor.value, title: 'by an index' });
            }
            await transaction.done;
        }"""
    )
    assert leave(page, wire).base
    titles = [snapshot.get("title") for snapshot in latest_data(server)["snapshots"]]
    assert titles == [None, None, None, "by an index", None]


def test_an_aborted_transaction_leaves_nothing(tab, wire):
    page = tab(auto=True)
    portfolio(page)
    write(page, "store('atoms').put({ slug: 'a03', n: 1 }).onsuccess = () => transaction.abort();")
    switch_away(page)
    page.wait_for_timeout(300)
    assert unsynced(page) == 0
    assert len(wire.uploads) == 1


@pytest.mark.parametrize("seed", range(4))
def test_after_any_writes_in_two_tabs_the_server_has_what_is_here(tab, wire, server, seed):
    """Rounds of random writes, each followed by a close, a tab switch or a backup."""
    pages = [tab(auto=True), tab(auto=True)]
    portfolio(pages[0])
    for turn in range(6):
        page = pages[(turn + seed) % 2]
        page.evaluate(RANDOM_WRITES, seed * 100 + turn)
        expected = stored_here(page)
        if (turn + seed) % 3 == 0:
            back_up(page)
        else:
            leave(page, wire)
            switch_back(page)
        wait_for_status(page, unsyncedCount=0)
        assert by_key(latest_data(server)) == expected
    assert [unsynced(page) for page in pages] == [0, 0]


RANDOM_WRITES = """async (seed) => {
    let state = seed * 7919 + 13;
    const random = (below) => {
        state = (state * 1103515245 + 12345) % 2147483648;
        return Math.floor((state / 2147483648) * below);
    };
    const names = ['atoms', 'compositions', 'snapshots', 'voiceNotes', 'configOverrides'];
    const paths = ['slug', 'id', 'id', 'id', 'atomSlug'];
    const database = await host.getDB();
    for (let n = 0; n < 5; n += 1) {
        const transaction = database.transaction(names, 'readwrite');
        for (let m = random(6); m >= 0; m -= 1) {
            const kind = random(5);
            const store = transaction.objectStore(names[kind]);
            const key = kind === 3 ? 1 + random(6) : `k${random(8)}`;
            const record = { [paths[kind]]: key, n: random(4), synced: random(2) === 1 };
            if (random(4) === 0) store.delete(key);
            else store.put(record);
        }
        if (random(5) === 0) transaction.abort();
        await new Promise((resolve) => {
            transaction.oncomplete = transaction.onabort = resolve;
        });
    }
    // At least one that differs from all before.
    await host.put('atoms', { slug: 'round', seed });
}"""


# --- the base -------------------------------------------------------------------------------------


def test_a_base_that_is_gone_is_followed_by_everything_once(tab, wire, server):
    page = tab(auto=True)
    receipt = portfolio(page)
    server.request("DELETE", f"/api/backup/{receipt['id']}")
    put_atom(page, "a01")
    assert leave(page, wire).status == 409
    page = tab(auto=True)
    wait_for_status(page, status="success", unsyncedCount=0)
    assert [(upload.base is None, upload.status) for upload in wire.uploads] == [
        (True, 201),
        (False, 409),
        (False, 409),
        (True, 201),
    ]
    assert by_key(latest_data(server)) == stored_here(page)
    put_atom(page, "a02")
    assert leave(page, wire).status == 201


def test_everything_is_sent_at_the_next_start_if_the_first_time_failed(tab, wire, server):
    page = tab(auto=True)
    receipt = portfolio(page)
    server.request("DELETE", f"/api/backup/{receipt['id']}")
    put_atom(page, "a01")
    wire.answers = [(409, {}, {"error": "Gone."}), (400, {}, {"error": "No."})]
    page = tab(auto=True)
    wait_for_status(page, lastError="No.")
    assert unsynced(page) == 1
    page = tab(auto=True)
    wait_for_status(page, status="success", unsyncedCount=0)
    assert [upload.base is None for upload in wire.uploads] == [True, False, True, True]


def test_contents_that_come_back_after_a_lost_base_are_a_backup_of_their_own(tab, wire, server):
    page = tab(auto=True)
    put(page, "atoms", {"slug": "a1", "title": "one"})
    first = leave(page, wire)
    page = tab(auto=True)
    wait_for_status(page, unsyncedCount=0)
    put(page, "atoms", {"slug": "a1", "title": "two"})
    last = back_up(page)["id"]
    page.evaluate("(id) => host.client.deleteBackup(id)", last)
    put(page, "atoms", {"slug": "a1", "title": "one"})
    wait_for_status(page, unsyncedCount=1)
    upload = leave(page, wire)
    assert upload.base is None
    assert upload.status == 201
    assert upload.key != first.key


def test_a_device_of_the_client_before_sends_everything_once(tab, wire):
    """Its memory names no base."""
    page = tab()
    portfolio(page)
    page.evaluate(
        """() => new Promise((resolve) => {
            indexedDB.open('eoe-cloud-backup').onsuccess = ({ target: { result: database } }) => {
                const stores = ['acknowledged', 'facts'];
                const transaction = database.transaction(stores, 'readwrite');
                const [records, facts] = stores.map((name) => transaction.objectStore(name));
                records.openCursor().onsuccess = ({ target: { result: cursor } }) => {
                    if (!cursor) return;
                    const { digest, since } = cursor.value;
                    cursor.update({ digest, since });
                    cursor.continue();
                };
                facts.get('last').onsuccess = ({ target: { result: last } }) => {
                    facts.put({ receipt: last.receipt, digest: 'x', at: last.at }, 'last');
                };
                transaction.oncomplete = resolve;
            };
        })"""
    )
    page.close()
    page = tab(auto=True)
    wait_for_status(page, unsyncedCount=0)
    assert len(wire.uploads) == 1
    put_atom(page, "a01")
    assert leave(page, wire).base is None


def test_what_was_restored_is_in_the_next_change(tab, wire, server):
    page = tab(auto=True)
    portfolio(page)
    elsewhere = {"atoms": [{"slug": "a01", "title": "elsewhere"}, {"slug": "b1", "title": "new"}]}
    id = server.upload(elsewhere)["id"]
    page.evaluate("(id) => host.client.restoreFromBackup(id, ['atoms'])", id)
    page.evaluate(
        "(id) => host.client.restoreFromBackup(id, ['atoms'], { conflicts: 'replace' })", id
    )
    assert unsynced(page) == 0
    sent = len(wire.uploads)
    switch_away(page)
    page.wait_for_timeout(300)
    assert len(wire.uploads) == sent, "restored records count as synced"

    put(page, "atoms", {"slug": "a02", "title": "edited"})
    expected = stored_here(page)
    assert expected["atoms"]["a01"]["title"] == "elsewhere"
    upload = leave(page, wire)
    assert {atom["slug"] for atom in upload.document["atoms"]["put"]} == {"a01", "a02", "b1"}
    assert by_key(latest_data(server)) == expected


@pytest.mark.parametrize("backed_up_between", [False, True])
def test_what_was_restored_and_undone_is_in_no_later_backup(tab, wire, server, backed_up_between):
    page = tab(auto=True)
    portfolio(page)
    elsewhere = {"atoms": [{"slug": "a01", "title": "elsewhere"}, {"slug": "b1", "title": "new"}]}
    id = server.upload(elsewhere)["id"]
    page.evaluate(
        "(id) => host.client.restoreFromBackup(id, ['atoms'], { conflicts: 'replace' })", id
    )
    if backed_up_between:
        put(page, "atoms", {"slug": "a03", "title": "edited"})
        back_up(page)
    page.evaluate("host.client.undoRestore()")
    assert unsynced(page) == (2 if backed_up_between else 0)
    put(page, "atoms", {"slug": "a02", "title": "edited"})
    expected = stored_here(page)
    assert leave(page, wire).status == 201
    assert by_key(latest_data(server)) == expected
    assert "b1" not in expected["atoms"]


def test_an_edit_that_is_taken_back_during_the_upload_is_the_next_change(tab, wire, server):
    page = tab(auto=True)
    portfolio(page)
    put(page, "atoms", {"slug": "a01", "title": "second"})
    wire.gate.clear()
    page.evaluate("void (window.receipt = host.client.createBackup())")
    wire.wait(lambda uploads: len(uploads) == 2)
    put(page, "atoms", {"slug": "a01", "title": "first"})
    wire.gate.set()
    page.evaluate("window.receipt")
    wait_for_status(page, unsyncedCount=1)
    assert leave(page, wire).document["atoms"]["put"] == [{"slug": "a01", "title": "first"}]
    assert by_key(latest_data(server))["atoms"]["a01"]["title"] == "first"


# --- what a close can't carry ---------------------------------------------------------------------


def test_more_than_a_close_can_carry_is_uploaded_while_the_page_is_open(tab, wire, server):
    page = tab(auto=True)
    receipt = portfolio(page)
    for n in range(4):
        put_atom(page, f"a{n:02}", 10_000)
        page.wait_for_timeout(300)
    wait_for_status(page, status="success", unsyncedCount=0)
    assert [upload.base for upload in wire.uploads] == [None, receipt["id"]]
    assert len(wire.uploads[1].document["atoms"]["put"]) == 4
    assert by_key(latest_data(server)) == stored_here(page)


def test_what_was_refused_while_the_page_is_open_waits_for_something_to_happen(tab, wire):
    page = tab(auto=True)
    portfolio(page)
    wire.answers = [(401, {}, {"error": "Send the token."})]
    put_atom(page, "a01", 40_000)
    wait_for_status(page, lastError="Send the token.")
    page.wait_for_timeout(12_000)
    assert [upload.status for upload in wire.uploads] == [201, 401]
    put_atom(page, "a02")
    wait_for_status(page, status="success", unsyncedCount=0)


def test_much_that_was_restored_is_not_sent_by_itself(tab, wire, server):
    page = tab(auto=True)
    portfolio(page)
    id = server.upload({"atoms": [{"slug": "b1", "code": "x" * 40_000}]})["id"]
    page.evaluate("(id) => host.client.restoreFromBackup(id)", id)
    page.wait_for_timeout(7000)
    assert len(wire.uploads) == 1
    assert unsynced(page) == 0
    atom = put_atom(page, "a01")
    wait_for_status(page, status="success", unsyncedCount=0)
    assert [atom["slug"] for atom in wire.uploads[1].document["atoms"]["put"]] == ["b1", "a01"]
    assert by_key(latest_data(server))["atoms"]["a01"] == atom


def test_less_than_that_waits_for_the_close(tab, wire):
    page = tab(auto=True)
    portfolio(page)
    put_atom(page, "a01", 8_000)
    page.wait_for_timeout(6000)
    assert len(wire.uploads) == 1
    close_for_real(page)
    assert wire.wait_answered(2)[1].base


def test_what_compresses_well_leaves_with_a_close_however_long_it_is(tab, wire, server):
    page = tab(auto=True)
    portfolio(page)
    put(page, "atoms", {"slug": "long", "code": "let x = 1;\n" * 20_000})
    page.wait_for_timeout(1000)
    close_for_real(page)
    upload = wire.wait_answered(2)[1]
    assert upload.headers["content-type"] == "application/gzip"
    assert len(by_key(latest_data(server))["atoms"]["long"]["code"]) == 220_000


def test_an_edit_too_large_for_a_close_follows_at_the_next_start_as_a_change(tab, wire, server):
    page = tab(auto=True)
    portfolio(page)
    atom = put_atom(page, "large", 300_000)
    wire.upload_rate = 20_000
    close_for_real(page)
    wire.wait(lambda uploads: all(upload.ended for upload in uploads))
    assert len(stored_backups(server)) == 1
    wire.upload_rate = None
    page = tab(auto=True)
    wait_for_status(page, status="success", unsyncedCount=0)
    assert wire.uploads[-1].base
    assert latest_data(server)["atoms"][-1] == atom


# --- around it ------------------------------------------------------------------------------------


def test_what_json_cannot_hold_keeps_nothing_else_from_leaving(tab, wire, server):
    page = tab(auto=True)
    portfolio(page)
    page.evaluate("host.put('atoms', { slug: 'a05', title: new Date(0) }, { slug: 'n', n: NaN })")
    atom = put_atom(page, "a06")
    wait_for_status(page, status="error", unsyncedCount=3, storedCount=29)
    upload = leave(page, wire)
    assert upload.document["atoms"] == {"put": [atom], "delete": []}
    assert upload.status == 201
    assert by_key(latest_data(server))["atoms"]["a05"]["title"] == "first"

    page = tab(auto=True)
    status = wait_for_status(page, unsyncedCount=2)
    assert 'atoms/"a05" can\'t be backed up: title is a Date' in status["lastError"]
    assert status["lastBackupTime"]
    assert 'atoms/"a05"' in failure_of(page, "host.client.createBackup()")
    page.evaluate("host.remove('atoms', 'n')")
    put(page, "atoms", {"slug": "a05", "title": "text"})
    assert wait_for_status(page, unsyncedCount=1)["lastError"] is None


def test_a_tab_takes_along_what_another_one_wrote(tab, wire, server):
    first, second = tab(auto=True), tab(auto=True)
    portfolio(first)
    wait_for_status(second, unsyncedCount=0, storedCount=28)
    put_atom(first, "a01", 4_000)
    wait_for_status(second, unsyncedCount=1)
    close_for_real(second)
    assert [atom["slug"] for atom in wire.wait_answered(2)[1].document["atoms"]["put"]] == ["a01"]


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
    wait_for_status(page, seconds=60, unsyncedCount=0, storedCount=3000)
    assert get(page, "snapshots", "s0")["title"] == "during"
    assert len(wait_for_backup(server)["snapshots"]) == 3000
