"""What a restore writes, what it leaves alone, and how it is undone."""

import hashlib

import pytest

from .driving import (
    back_up,
    failure_of,
    get,
    latest_data,
    open_host,
    put,
    put_atom,
    unsynced,
    wait_for_status,
)

EVERYTHING = {
    "atoms": {"slug": "a1", "title": "an atom"},
    "compositions": {"id": "c1", "title": "a composition", "synced": False},
    "snapshots": {"id": "s1", "title": "a snapshot", "synced": False},
    "voiceNotes": {"id": 1, "title": "a note", "synced": False},
    "configOverrides": {"atomSlug": "a1", "speed": 2, "synced": False},
}


def restore(page, id, items=None, conflicts=None):
    """Call restoreFromBackup; ``conflicts`` is JavaScript, by default left out."""
    options = f"{{ conflicts: {conflicts} }}" if conflicts else "undefined"
    return page.evaluate(
        f"([id, items]) => host.client.restoreFromBackup(id, items ?? undefined, {options})",
        [id, items],
    )


def backed_up(page, store, *records):
    """Store the records and back them up; return the backup's id."""
    put(page, store, *records)
    return back_up(page)["id"]


def titles(page, store="atoms"):
    records = page.evaluate("(store) => host.getAll(store)", store)
    return {record.get("slug", record.get("id")): record["title"] for record in records}


def clear(page):
    """Lose everything on this device, the client's own memory included."""
    page.evaluate(
        """async () => {
            host.client.disableAutoBackup();
            const database = await host.getDB();
            const names = [...database.objectStoreNames];
            const transaction = database.transaction(names, 'readwrite');
            for (const name of names) transaction.objectStore(name).clear();
            await new Promise((resolve) => { transaction.oncomplete = resolve; });
        }"""
    )


def test_an_empty_device_gets_everything_back(tab, context, server):
    page = tab()
    for store, record in EVERYTHING.items():
        put(page, store, record)
    id = back_up(page)["id"]
    clear(page)

    result = restore(page, id)
    assert [record["category"] for record in result["added"]] == list(EVERYTHING)
    assert result["replaced"] == result["kept"] == result["same"] == []
    for store, record in EVERYTHING.items():
        expected = record if store == "atoms" else {**record, "synced": True}
        assert page.evaluate("(store) => host.getAll(store)", store) == [expected]
    assert unsynced(page) == 0


@pytest.mark.parametrize("items", [["snapshots"], {"atoms": False, "snapshots": True}])
def test_only_the_chosen_categories_come_back(tab, items):
    page = tab()
    for store, record in EVERYTHING.items():
        put(page, store, record)
    id = back_up(page)["id"]
    clear(page)
    result = restore(page, id, items)
    assert result["added"] == [{"category": "snapshots", "key": "s1"}]
    assert titles(page) == {}


@pytest.mark.parametrize(
    ("items", "words"), [(["screenshots"], "screenshots"), ([], "No category"), ({}, "No category")]
)
def test_a_choice_of_nothing_or_something_unknown_is_an_error(tab, items, words):
    page = tab()
    id = backed_up(page, "atoms", {"slug": "a1"})
    message = failure_of(page, f"host.client.restoreFromBackup('{id}', {items})")
    assert words in message


def test_an_unknown_backup_is_an_error(tab):
    assert failure_of(tab(), "host.client.restoreFromBackup('2020-01-01T00-00-00')")


def test_audio_stays_with_its_voice_note(tab):
    page = tab()
    audio = page.evaluate(
        """async () => {
            const bytes = crypto.getRandomValues(new Uint8Array(50_000));
            const audioBlob = new Blob([bytes], { type: 'audio/webm' });
            await host.put('voiceNotes', { id: 1, title: 'hum', audioBlob, synced: false });
            return [...bytes];
        }"""
    )
    id = back_up(page)["id"]
    page.evaluate(
        """async () => {
            const note = await host.get('voiceNotes', 1);
            await host.put('voiceNotes', { ...note, title: 'renamed', synced: false });
        }"""
    )
    result = restore(page, id, conflicts="'replace'")
    assert result["replaced"] == [{"category": "voiceNotes", "key": 1}]
    note = page.evaluate(
        """async () => {
            const { title, audioBlob } = await host.get('voiceNotes', 1);
            const bytes = new Uint8Array(await audioBlob.arrayBuffer());
            return { title, type: audioBlob.type, bytes: [...bytes] };
        }"""
    )
    assert (note["title"], note["type"]) == ("hum", "audio/webm")
    sha256 = [hashlib.sha256(bytes(it)).hexdigest() for it in (audio, note["bytes"])]
    assert sha256[0] == sha256[1]


def test_what_stands_for_audio_in_a_backup_is_none(tab, server):
    page = tab()
    id = server.upload({"voiceNotes": [{"id": 1, "title": "hum", "audioBlob": {}}]})["id"]
    restore(page, id)
    assert get(page, "voiceNotes", 1) == {"id": 1, "title": "hum", "synced": True}


# --- what is newer here ---------------------------------------------------------------------------


def test_an_edit_that_is_not_backed_up_is_kept_unless_somebody_says_otherwise(tab):
    page = tab()
    id = backed_up(page, "atoms", {"slug": "a1", "title": "old"})
    put(page, "atoms", {"slug": "a1", "title": "edited"})

    assert restore(page, id)["kept"] == [{"category": "atoms", "key": "a1"}]
    assert titles(page) == {"a1": "edited"}
    assert unsynced(page) == 1
    assert restore(page, id, conflicts="'keep'")["kept"] != []
    assert titles(page) == {"a1": "edited"}
    assert restore(page, id, conflicts="'replace'")["replaced"] != []
    assert titles(page) == {"a1": "old"}
    assert unsynced(page) == 0


def test_it_can_be_decided_by_record(tab):
    page = tab()
    records = [{"slug": slug, "title": "old"} for slug in ("a1", "a2", "a3")]
    id = backed_up(page, "atoms", *records)
    put(page, "atoms", *({**record, "title": "edited"} for record in records[:2]))
    conflicts = """async ({ category, key, here, inBackup }) => {
        if (category !== 'atoms' || here.title !== 'edited' || inBackup.title !== 'old') throw 0;
        return key === 'a1' ? 'keep' : 'replace';
    }"""
    result = restore(page, id, conflicts=conflicts)
    assert [record["key"] for record in result["kept"]] == ["a1"]
    assert [record["key"] for record in result["replaced"]] == ["a2"]
    assert [record["key"] for record in result["same"]] == ["a3"]
    assert titles(page) == {"a1": "edited", "a2": "old", "a3": "old"}


def test_a_decision_that_is_none_is_an_error(tab):
    page = tab()
    id = backed_up(page, "atoms", {"slug": "a1", "title": "old"})
    put(page, "atoms", {"slug": "a1", "title": "edited"})
    call = f"host.client.restoreFromBackup('{id}', undefined, {{ conflicts: () => undefined }})"
    assert "conflicts" in failure_of(page, call)
    assert titles(page) == {"a1": "edited"}


def test_what_nobody_knows_the_age_of_is_kept(tab, server):
    """As on a device that comes from the earlier client, whose flags are all there is."""
    page = tab()
    id = server.upload({"compositions": [{"id": "c1", "title": "in the backup"}]})["id"]
    put(page, "compositions", {"id": "c1", "title": "here", "synced": True})
    result = restore(page, id)
    assert result["kept"] == [{"category": "compositions", "key": "c1"}]
    assert titles(page, "compositions") == {"c1": "here"}


def test_what_was_first_backed_up_later_is_newer(tab):
    page = tab()
    id = backed_up(page, "atoms", {"slug": "a1", "title": "old"})
    backed_up(page, "atoms", {"slug": "a1", "title": "new, and backed up"})
    assert unsynced(page) == 0
    assert [record["key"] for record in restore(page, id)["kept"]] == ["a1"]


@pytest.mark.parametrize("member", ["updatedAt", "timestamp"])
def test_the_records_own_times_say_which_is_newer(tab, server, member):
    page = tab()
    times = ["2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z"]
    records = [{"slug": f"a{n}", "title": "here", member: times[n]} for n in (0, 1)]
    backed_up(page, "atoms", *records)
    elsewhere = [
        {**record, "title": "elsewhere", member: "2026-02-01T00:00:00Z"} for record in records
    ]
    id = server.upload({"atoms": elsewhere})["id"]

    result = restore(page, id)
    assert [record["key"] for record in result["replaced"]] == ["a0"]
    assert [record["key"] for record in result["kept"]] == ["a1"]
    assert titles(page) == {"a0": "elsewhere", "a1": "here"}


def test_a_preview_tells_and_writes_nothing(tab, server):
    page = tab()
    backed_up(page, "atoms", {"slug": "a1", "title": "same"}, {"slug": "a2", "title": "here"})
    put(page, "atoms", {"slug": "a3", "title": "edited"})
    atoms = [
        {"slug": "a0", "title": "elsewhere"},
        {"slug": "a1", "title": "same"},
        {"slug": "a2", "title": "elsewhere"},
        {"slug": "a3", "title": "elsewhere"},
    ]
    id = server.upload({"atoms": atoms})["id"]
    before = titles(page)
    planned = page.evaluate("(id) => host.client.previewRestore(id)", id)
    assert [record["action"] for record in planned] == ["add", "same", "replace", "conflict"]
    assert [record["inBackup"] for record in planned] == atoms
    assert titles(page) == before
    assert page.evaluate("host.client.getUndo()") is None


def test_a_record_edited_while_it_is_decided_is_decided_again(tab):
    page = tab()
    id = backed_up(page, "atoms", {"slug": "a1", "title": "old"})
    put(page, "atoms", {"slug": "a1", "title": "edited"})
    conflicts = """async ({ here }) => {
        if (here.title === 'edited') await host.put('atoms', { slug: 'a1', title: 'once more' });
        return here.title === 'edited' ? 'replace' : 'keep';
    }"""
    result = restore(page, id, conflicts=conflicts)
    assert [record["key"] for record in result["kept"]] == ["a1"]
    assert titles(page) == {"a1": "once more"}


# --- all or nothing -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"snapshots": [{"id": "s1"}, {"title": "no id"}]}, "snapshots[1]"),
        ({"snapshots": [{"id": "s1"}, {"id": "s1"}]}, 'snapshots/"s1" is twice'),
        ({"snapshots": [{"id": None}]}, "snapshots[0]"),
        ({"snapshots": [{"id": True}]}, "snapshots[0]"),
        ({"snapshots": ["text"]}, "snapshots[0]"),
        ({"configOverrides": [[]]}, "configOverrides[0]"),
    ],
)
def test_everything_is_checked_before_anything_is_written(tab, server, document, words):
    page = tab()
    id = server.upload({"atoms": [{"slug": "a1", "title": "fine"}], **document})["id"]
    assert words in failure_of(page, f"host.client.restoreFromBackup('{id}')")
    assert titles(page) == {}
    assert page.evaluate("host.client.getUndo()") is None


def test_a_write_that_fails_midway_leaves_everything_as_it_was(tab, server):
    page = tab()
    put(page, "atoms", {"slug": "a1", "title": "here"})
    atoms = [{"slug": f"b{n}", "title": "elsewhere"} for n in range(50)]
    snapshots = [{"id": "s1", "title": "elsewhere"}]
    id = server.upload({"atoms": atoms, "snapshots": snapshots})["id"]
    page.evaluate(
        """() => {
            const put = IDBObjectStore.prototype.put;
            IDBObjectStore.prototype.put = function (...parameters) {
                if (this.name === 'snapshots') throw new DOMException('full', 'QuotaExceededError');
                return put.apply(this, parameters);
            };
        }"""
    )
    assert "full" in failure_of(page, f"host.client.restoreFromBackup('{id}')")
    assert titles(page) == {"a1": "here"}
    assert page.evaluate("host.client.getUndo()") is None


def test_a_browser_killed_midway_leaves_all_or_nothing(profile, wire, server):
    count = 3000
    atoms = [{"slug": f"a{n}", "title": "elsewhere"} for n in range(count)]
    id = server.upload({"atoms": atoms})["id"]
    page = open_host(profile.start(), wire)
    put(page, "atoms", *({"slug": f"a{n}", "title": "here"} for n in range(count)))
    page.evaluate(
        """(id) => new Promise((resolve) => {
            const put = IDBObjectStore.prototype.put;
            let left = 1500;
            IDBObjectStore.prototype.put = function (...parameters) {
                left -= 1;
                if (left === 0) resolve();
                return put.apply(this, parameters);
            };
            const conflicts = 'replace';
            void host.client.restoreFromBackup(id, undefined, { conflicts });
        })""",
        id,
    )
    profile.kill()

    page = open_host(profile.start(), wire)
    found = set(titles(page).values())
    assert len(found) == 1
    assert len(titles(page)) == count
    # Whichever it was, nothing is believed to be backed up that isn't, and it can be restored.
    assert restore(page, id, conflicts="'replace'")["kept"] == []
    assert set(titles(page).values()) == {"elsewhere"}


# --- undoing --------------------------------------------------------------------------------------


def restored(page, server):
    """Restore over a2 and a3, adding a1; return what was there before."""
    put(page, "atoms", {"slug": "a2", "title": "here"}, {"slug": "a3", "title": "here"})
    put(page, "snapshots", {"id": "s1", "title": "here", "synced": False})
    atoms = [{"slug": f"a{n}", "title": "elsewhere"} for n in (1, 2, 3)]
    snapshots = [{"id": "s1", "title": "elsewhere"}]
    id = server.upload({"atoms": atoms, "snapshots": snapshots})["id"]
    before = titles(page)
    restore(page, id, conflicts="'replace'")
    assert titles(page) == dict.fromkeys(["a1", "a2", "a3"], "elsewhere")
    return before


def test_one_call_undoes_a_restore_even_after_a_reload(tab, server):
    page = tab()
    before = restored(page, server)
    page.reload()
    assert page.evaluate("host.client.getUndo()")["backupId"]
    result = page.evaluate("host.client.undoRestore()")
    assert len(result["undone"]) == 4
    assert titles(page) == before
    assert get(page, "snapshots", "s1") == {"id": "s1", "title": "here", "synced": False}
    assert unsynced(page) == 3
    assert "no restore" in failure_of(page, "host.client.undoRestore()")


def test_a_restore_that_changes_nothing_leaves_the_one_before_to_be_undone(tab, server):
    page = tab()
    before = restored(page, server)
    id = page.evaluate("host.client.getUndo()")["backupId"]
    result = restore(page, id)
    assert (result["added"], result["replaced"]) == ([], [])
    page.evaluate("host.client.undoRestore()")
    assert titles(page) == before


def test_undoing_keeps_what_was_edited_since(tab, server):
    page = tab()
    restored(page, server)
    put(page, "atoms", {"slug": "a2", "title": "edited since"})
    result = page.evaluate("host.client.undoRestore()")
    assert result["kept"] == [{"category": "atoms", "key": "a2"}]
    assert titles(page) == {"a2": "edited since", "a3": "here"}


def test_undoing_can_be_told_to_bring_back_everything(tab, server):
    page = tab()
    before = restored(page, server)
    put(page, "atoms", {"slug": "a2", "title": "edited since"})
    page.evaluate("host.client.undoRestore({ conflicts: 'replace' })")
    assert titles(page) == before


def test_what_comes_back_after_another_backup_is_not_in_it(tab, server):
    page = tab()
    id = backed_up(page, "atoms", {"slug": "a1", "title": "one"})
    put(page, "snapshots", {"id": "s1", "title": "two", "synced": False})
    backed_up(page, "atoms", {"slug": "a1", "title": "two"})
    restore(page, id, conflicts="'replace'")
    put_atom(page, "other")
    back_up(page)
    page.evaluate("host.client.undoRestore()")
    assert titles(page)["a1"] == "two"
    assert unsynced(page) == 1
    back_up(page)
    assert latest_data(server)["atoms"][0]["title"] == "two"


def test_restoring_tells_the_status(tab, server):
    page = tab(auto=True)
    id = server.upload({"atoms": [{"slug": "a1", "title": "elsewhere"}]})["id"]
    restore(page, id)
    wait_for_status(page, unsyncedCount=0, storedCount=1)
