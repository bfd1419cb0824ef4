"""What a restore writes, what it leaves alone, and how it is undone."""

import json

import pytest
from support import wait_until

from .driving import (
    back_up,
    by_key,
    failure_of,
    get,
    latest_data,
    open_host,
    put,
    restore,
    stored_here,
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
    wait_for_status(page, unsyncedCount=0, storedCount=5)
    here = stored_here(page)
    assert here == by_key({store: [record] for store, record in EVERYTHING.items()})
    wait_until(lambda: get(page, "snapshots", "s1")["synced"] is True)


CHOICES = [
    (["screenshots"], "screenshots"),
    ({"screenshots": ["a1"]}, "screenshots"),
    ([], "Nothing is chosen"),
    ({}, "Nothing is chosen"),
    ({"atoms": []}, "Nothing is chosen"),
    ({"atoms": "a1"}, "atoms must be true, false or a list of keys"),
    ({"atoms": ["a1", "a9"]}, 'atoms/"a9" is not in the backup'),
    ({"atoms": [1]}, "atoms/1 is not in the backup"),
]


def test_a_choice_of_nothing_or_something_unknown_is_an_error(tab, server):
    page = tab()
    id = server.upload({"atoms": [{"slug": "a1"}]})["id"]
    for items, words in CHOICES:
        call = f"host.client.restoreFromBackup('{id}', {json.dumps(items)})"
        assert words in failure_of(page, call)
    assert titles(page) == {}


def test_single_records_come_back_and_go_again(tab, server):
    page = tab()
    atoms = [{"slug": slug, "title": "elsewhere"} for slug in ("a1", "a2", "a3")]
    notes = [{"id": id, "title": f"{id!r}"} for id in (1, "1", 2)]
    snapshots = [{"id": "s1", "title": "elsewhere"}]
    id = server.upload({"atoms": atoms, "voiceNotes": notes, "snapshots": snapshots})["id"]
    put(page, "atoms", {"slug": "a2", "title": "edited"}, {"slug": "a3", "title": "here"})

    items = {"atoms": ["a2", "a1"], "voiceNotes": ["1"], "snapshots": True, "compositions": False}
    result = restore(page, id, items)
    assert [(it["category"], it["key"]) for it in result["added"]] == [
        ("atoms", "a1"),
        ("snapshots", "s1"),
        ("voiceNotes", "1"),
    ]
    assert result["kept"] == [{"category": "atoms", "key": "a2"}]
    assert titles(page) == {"a1": "elsewhere", "a2": "edited", "a3": "here"}
    assert titles(page, "voiceNotes") == {"1": "'1'"}
    page.evaluate("host.client.undoRestore()")
    assert titles(page) == {"a2": "edited", "a3": "here"}
    assert titles(page, "snapshots") == titles(page, "voiceNotes") == {}


def test_audio_stays_with_its_voice_note(tab, server):
    page = tab()
    page.evaluate(
        """async () => {
            window.audio = new Blob(
                [crypto.getRandomValues(new Uint8Array(50_000))], { type: 'audio/webm' });
            const note = { id: 1, title: 'hum', audioBlob: window.audio, synced: false };
            await host.put('voiceNotes', note);
            await host.client.createBackup();
            await host.put('voiceNotes', { ...note, title: 'renamed' });
        }"""
    )
    # What stands for audio in a backup is none: the application's list throws without a Blob.
    other = {"id": 2, "title": "another", "audioBlob": {}}
    note = latest_data(server)["voiceNotes"][0]
    id = server.upload({"voiceNotes": [note, other]})["id"]
    result = restore(page, id, conflicts="'replace'")
    assert result["replaced"] == [{"category": "voiceNotes", "key": 1}]
    kept = """async () => {
        const { title, audioBlob } = await host.get('voiceNotes', 1);
        const buffers = await Promise.all([audio, audioBlob].map((it) => it.arrayBuffer()));
        const [before, after] = buffers.map((it) => String(new Uint8Array(it)));
        return [title, audioBlob.type, before === after];
    }"""
    assert page.evaluate(kept) == ["hum", "audio/webm", True]
    assert page.evaluate("host.get('voiceNotes', 2).then((note) => note.audioBlob.size)") == 0


# --- what is newer here ---------------------------------------------------------------------------


def test_what_is_newer_here_is_kept_unless_somebody_says_otherwise(tab):
    page = tab()
    id = backed_up(page, "atoms", {"slug": "a1", "title": "old"})
    put(page, "atoms", {"slug": "a1", "title": "edited"})
    kept = [{"category": "atoms", "key": "a1"}]

    assert restore(page, id)["kept"] == restore(page, id, conflicts="'keep'")["kept"] == kept
    assert unsynced(page) == 1
    call = f"host.client.restoreFromBackup('{id}', undefined, {{ conflicts: () => undefined }})"
    assert "conflicts" in failure_of(page, call)
    back_up(page)  # what was first backed up later is newer, too
    assert unsynced(page) == 0
    assert restore(page, id)["kept"] == kept
    assert titles(page) == {"a1": "edited"}
    assert restore(page, id, conflicts="'replace'")["replaced"] == kept
    assert titles(page) == {"a1": "old"}


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


# --- all or nothing -------------------------------------------------------------------------------


DAMAGED = [
    ({"snapshots": [{"id": "s1"}, {"title": "no id"}]}, "snapshots[1]"),
    ({"snapshots": [{"id": "s1"}, {"id": "s1"}]}, 'snapshots/"s1" is twice'),
    ({"snapshots": [{"id": None}]}, "snapshots[0]"),
    ({"snapshots": [{"id": True}]}, "snapshots[0]"),
    ({"snapshots": ["text"]}, "snapshots[0]"),
    ({"configOverrides": [[]]}, "configOverrides[0]"),
]


def test_everything_is_checked_before_anything_is_written(tab, server):
    page = tab()
    for document, words in DAMAGED:
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


# --- files ----------------------------------------------------------------------------------------


def as_file(text):
    """JavaScript for a file of this text."""
    return f"new File([{json.dumps(text)}], 'backup.json')"


def stored(server, id):
    """The text of a backup's file."""
    return (server.data_dir / f"backup-{id}.json").read_text()


def test_a_file_is_restored_without_a_server_and_then_backed_up(tab, wire, server):
    page = tab()
    for store, record in EVERYTHING.items():
        put(page, store, record)
    id = back_up(page)["id"]
    page.evaluate("async (id) => { window.file = await host.client.downloadBackup(id); }", id)
    page.evaluate("(id) => host.client.deleteBackup(id)", id)
    clear(page)
    wire.cut()

    planned = page.evaluate("host.client.previewRestore(window.file)")
    assert [record["action"] for record in planned] == ["add"] * 5
    items = {name: True for name in EVERYTHING} | {"atoms": ["a1"]}
    result = page.evaluate("(items) => host.client.restoreFromBackup(window.file, items)", items)
    assert [record["category"] for record in result["added"]] == list(EVERYTHING)
    assert get(page, "snapshots", "s1") == {**EVERYTHING["snapshots"], "synced": False}
    assert unsynced(page) == 5
    page.evaluate("host.client.undoRestore()")
    assert titles(page) == titles(page, "snapshots") == {}

    wire.mend()
    page.evaluate("host.client.restoreFromBackup(window.file)")
    back_up(page)
    assert by_key(latest_data(server)) == stored_here(page)
    assert unsynced(page) == 0


def test_a_file_that_is_no_backup_or_was_damaged_restores_nothing(tab, server):
    page = tab()
    text = stored(server, server.upload({"atoms": [{"slug": "a1", "title": "über"}]})["id"])
    assert page.evaluate(f"host.client.previewRestore({as_file(text)})")
    for wrong, words in {
        "a list": "it is not JSON",
        text.replace('"a1"', '"a2"'): "SHA-256",
    }.items():
        for call in ("readBackup", "previewRestore", "restoreFromBackup"):
            assert words in failure_of(page, f"host.client.{call}({as_file(wrong)})")
    assert titles(page) == {}


class TestWithAToken:
    @pytest.fixture
    def server_settings(self):
        return {"BACKUP_TOKEN": "a-secret-of-the-owner"}

    def test_a_backup_is_read_and_downloaded_as_the_servers_file(self, tab, server):
        page = tab(token="a-secret-of-the-owner")
        atom = {"slug": "a1", "title": "über \U0001f600"}
        id = backed_up(page, "atoms", atom)
        name, text, read = page.evaluate(
            """async (id) => {
                const file = await host.client.downloadBackup(id);
                return [file.name, await file.text(), await host.client.readBackup(id)];
            }""",
            id,
        )
        assert read["data"]["atoms"] == [atom]
        assert name == f"backup-{id}.json"
        assert text == stored(server, id)


# --- voice notes of two devices -------------------------------------------------------------------

NOTE = {"id": 1, "atomSlug": "a1", "createdAt": "2026-01-01T00:00:00Z", "transcript": "laptop"}


def notes(page):
    """Transcript and audio of each note by its number."""
    return page.evaluate(
        """async () => Object.fromEntries(await Promise.all(
            (await host.getAll('voiceNotes')).map(async ({ id, transcript, audioBlob }) => [
                id, [transcript, await audioBlob.text()]])))"""
    )


def record_note(page, **members):
    page.evaluate(
        "(note) => host.put('voiceNotes', { ...note, audioBlob: new Blob(['phone']) })",
        {**NOTE, "transcript": "phone", **members},
    )


def test_another_devices_note_gets_a_number_of_its_own(tab, server):
    page = tab()
    record_note(page, createdAt="2026-02-02T00:00:00Z")
    id = server.upload({"voiceNotes": [NOTE, {**NOTE, "id": 5, "createdAt": "2026-03-03"}]})["id"]
    planned = page.evaluate("(id) => host.client.previewRestore(id)", id)
    assert [(it["action"], it["key"], it["here"]) for it in planned] == [
        ("add", 1, None),
        ("add", 5, None),
    ]
    restore(page, id, conflicts="'replace'")
    assert notes(page) == {"1": ["phone", "phone"], "5": ["laptop", ""], "6": ["laptop", ""]}
    assert {it["action"] for it in page.evaluate(f"host.client.previewRestore('{id}')")} == {"same"}
    page.evaluate("host.client.undoRestore()")
    assert notes(page) == {"1": ["phone", "phone"]}


def test_notes_are_versions_of_one_only_if_all_agrees(tab, server):
    page = tab()
    id = server.upload({"voiceNotes": [NOTE]})["id"]
    record_note(page)
    restore(page, id, conflicts="'replace'")
    assert notes(page) == {"1": ["laptop", "phone"]}
    for member in ("createdAt", "atomSlug"):
        page.evaluate("host.remove('voiceNotes', 2)")
        record_note(page, **{member: "another"})
        restore(page, id, conflicts="'replace'")
        assert list(notes(page).values()) == [["phone", "phone"], ["laptop", ""]]


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
    wait_for_status(page, unsyncedCount=0)
    assert titles(page, "snapshots") == {"s1": "here"}
    assert "no restore" in failure_of(page, "host.client.undoRestore()")


def test_undoing_keeps_what_was_edited_since_also_when_it_was_dismissed(tab, server):
    page = tab()
    restored(page, server)
    put(page, "atoms", {"slug": "a2", "title": "edited since"})
    page.evaluate("host.client.dismissUndo()")
    page.reload()
    assert page.evaluate("host.client.getUndo()")["dismissed"] is True
    result = page.evaluate("host.client.undoRestore()")
    assert result["kept"] == [{"category": "atoms", "key": "a2"}]
    assert titles(page) == {"a2": "edited since", "a3": "here"}
