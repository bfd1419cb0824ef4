"""What a restore writes, what it leaves alone, and how it is undone."""

import pytest
from support import wait_until

from .driving import KEY_PATHS, open_host

EVERYTHING = {
    "atoms": {"slug": "a1", "title": "an atom"},
    "compositions": {"id": "c1", "title": "a composition", "synced": False},
    "snapshots": {"id": "s1", "title": "a snapshot", "synced": False},
    "voiceNotes": {"id": 1, "title": "a note", "synced": False},
    "configOverrides": {"atomSlug": "a1", "title": "an override", "synced": False},
}
ELSEWHERE = [{"slug": slug, "title": "elsewhere"} for slug in ("a1", "a2", "a3")]


@pytest.fixture
def tab(open_tab):
    """A tab that backs up only what is asked for, or was restored."""
    return open_tab(auto=False)


def references(category, *keys):
    return [{"category": category, "key": key} for key in keys]


def test_an_empty_device_gets_everything_back(browser, tab, wire, server):
    for store, record in EVERYTHING.items():
        tab.put(store, record)
    id = tab.back_up()["id"]
    context = browser.new_context()
    other = open_host(context, wire, server)
    result = other.restore(id)
    assert result["added"] == [
        {"category": store, "key": record[KEY_PATHS[store]]} for store, record in EVERYTHING.items()
    ]
    assert result["replaced"] == result["kept"] == result["same"] == []
    assert other.stored() == tab.stored()
    other.wait_for_status(unsyncedCount=0, storedCount=5)
    wait_until(lambda: other.get("snapshots", "s1")["synced"] is True)
    context.close()


def test_single_records_come_back_and_go_again(tab, server):
    notes = [{"id": id, "title": f"{id!r}"} for id in (1, "1", 2)]
    snapshots = [{"id": "s1", "title": "elsewhere"}]
    id = server.upload({"atoms": ELSEWHERE, "voiceNotes": notes, "snapshots": snapshots})["id"]
    tab.put("atoms", {"slug": "a2", "title": "edited"}, {"slug": "a3", "title": "here"})
    before = tab.stored()
    items = {"atoms": ["a2", "a1"], "voiceNotes": ["1"], "snapshots": True, "compositions": False}
    result = tab.restore(id, items)
    assert result["added"] == [
        *references("atoms", "a1"),
        *references("snapshots", "s1"),
        *references("voiceNotes", "1"),
    ]
    assert result["kept"] == references("atoms", "a2")
    assert tab.titles() == {"a1": "elsewhere", "a2": "edited", "a3": "here"}
    assert tab.titles("voiceNotes") == {"1": "'1'"}
    tab.put("atoms", {"slug": "a1", "title": "edited since"})
    assert tab.call("undoRestore")["kept"] == references("atoms", "a1")
    tab.remove("atoms", "a1")
    assert tab.stored() == before
    assert "no restore" in tab.failure("undoRestore")


WRONG_CHOICES = [
    (["screenshots"], "screenshots"),
    ([], "Nothing is chosen"),
    ({"atoms": []}, "Nothing is chosen"),
    ({"atoms": "a1"}, "atoms must be true, false or a list of keys"),
    ({"atoms": ["a1", "a9"]}, 'atoms/"a9" is not in the backup'),
    ({"atoms": [1]}, "atoms/1 is not in the backup"),
]
DAMAGED = [
    ({"snapshots": [{"id": "s1"}, {"title": "no id"}]}, "snapshots[1]"),
    ({"snapshots": [{"id": "s1"}, {"id": "s1"}]}, 'snapshots/"s1" is twice'),
    ({"snapshots": [{"id": True}]}, "snapshots[0]"),
    ({"configOverrides": [[]]}, "configOverrides[0]"),
]


def test_everything_is_checked_before_anything_is_written(tab, server):
    id = server.upload({"atoms": ELSEWHERE})["id"]
    for items, words in WRONG_CHOICES:
        assert words in tab.failure("restoreFromBackup", id, items)
    for document, words in DAMAGED:
        id = server.upload({"atoms": ELSEWHERE, **document})["id"]
        assert words in tab.failure("restoreFromBackup", id)
    assert tab.titles() == {}
    assert tab.call("getUndo") is None


def test_what_is_newer_here_is_kept_unless_somebody_says_otherwise(tab):
    tab.put("atoms", {"slug": "a1", "title": "old"})
    id = tab.back_up()["id"]
    tab.put("atoms", {"slug": "a1", "title": "edited"})
    kept = references("atoms", "a1")
    assert tab.restore(id)["kept"] == kept
    assert tab.unsynced() == 1
    assert "conflicts" in tab.failure("restoreFromBackup", id, None, {"conflicts": "neither"})
    tab.back_up()  # what was first backed up later is newer, too
    assert tab.restore(id)["kept"] == kept
    assert tab.titles() == {"a1": "edited"}
    assert tab.restore(id, conflicts="replace")["replaced"] == kept
    assert tab.titles() == {"a1": "old"}


def test_the_records_own_times_say_which_is_newer_and_a_preview_writes_nothing(tab, server):
    january, february, march = (f"2026-0{month}-01T00:00:00Z" for month in (1, 2, 3))
    a4 = {"slug": "a4", "title": "same"}
    tab.put("atoms", {"slug": "a2", "title": "here", "updatedAt": january}, a4)
    tab.put("atoms", {"slug": "a3", "title": "here", "timestamp": march})
    before, _ = tab.stored(), tab.back_up()
    times = [{}, {"updatedAt": february}, {"timestamp": february}]
    elsewhere = [*(record | time for record, time in zip(ELSEWHERE, times, strict=True)), a4]
    id = server.upload({"atoms": elsewhere})["id"]
    planned = tab.call("previewRestore", id)
    assert [record["action"] for record in planned] == ["add", "replace", "conflict", "same"]
    assert [record["inBackup"] for record in planned] == elsewhere
    assert tab.stored() == before
    result = tab.restore(id)
    assert result["replaced"] == references("atoms", "a2")
    assert result["kept"] == references("atoms", "a3")


def test_a_write_that_fails_midway_leaves_everything_as_it_was(tab, server):
    tab.put("atoms", {"slug": "a1", "title": "here"})
    id = server.upload({"atoms": ELSEWHERE, "snapshots": [{"id": "s1"}]})["id"]
    tab.evaluate(
        """() => {
            const { put } = IDBObjectStore.prototype;
            IDBObjectStore.prototype.put = function (...parameters) {
                if (this.name === 'snapshots') throw new DOMException('full', 'QuotaExceededError');
                return put.apply(this, parameters);
            };
        }"""
    )
    assert "full" in tab.failure("restoreFromBackup", id)
    assert tab.titles() == {"a1": "here"}
    assert tab.call("getUndo") is None


def test_a_browser_killed_midway_leaves_all_or_nothing(profile, wire, server):
    slugs = [f"a{n}" for n in range(3000)]
    id = server.upload({"atoms": [{"slug": it, "title": "elsewhere"} for it in slugs]})["id"]
    tab = open_host(profile.start(), wire, server)
    tab.put("atoms", *({"slug": it, "title": "here"} for it in slugs))
    tab.evaluate(
        """(id) => new Promise((resolve) => {
            const { put } = IDBObjectStore.prototype;
            let left = 1500;
            IDBObjectStore.prototype.put = function (...parameters) {
                left -= 1;
                if (left === 0) resolve();
                return put.apply(this, parameters);
            };
            void host.client.restoreFromBackup(id, null, { conflicts: 'replace' });
        })""",
        id,
    )
    profile.kill()
    tab = open_host(profile.start(), wire, server)
    titles = tab.titles()
    assert (len(titles), len(set(titles.values()))) == (3000, 1)
    # Whichever it was, nothing is believed to be backed up that isn't, and it can be restored.
    assert tab.restore(id, conflicts="replace")["kept"] == []
    assert set(tab.titles().values()) == {"elsewhere"}


NOTE = {"id": 1, "atomSlug": "a1", "createdAt": "2026-01-01T00:00:00Z", "transcript": "laptop"}


def notes(tab):
    """Transcript and audio of each note by its number."""
    return tab.evaluate(
        """async () => Object.fromEntries(await Promise.all(
            (await host.getAll('voiceNotes')).map(async ({ id, transcript, audioBlob }) => [
                id, [transcript, await audioBlob.text()]])))"""
    )


def record_note(tab, **members):
    tab.evaluate(
        "(note) => host.put('voiceNotes', { ...note, audioBlob: new Blob(['phone']) })",
        {**NOTE, "transcript": "phone", **members},
    )


def test_another_devices_note_gets_a_number_of_its_own(tab, server):
    record_note(tab, createdAt="2026-02-02T00:00:00Z")
    # What stands for audio in a backup is none: the application's list throws without a Blob.
    other = {**NOTE, "id": 5, "createdAt": "2026-03-03", "audioBlob": {}}
    id = server.upload({"voiceNotes": [NOTE, other]})["id"]
    planned = tab.call("previewRestore", id)
    assert [(it["action"], it["key"], it["here"]) for it in planned] == [
        ("add", 1, None),
        ("add", 5, None),
    ]
    tab.restore(id, conflicts="replace")
    assert notes(tab) == {"1": ["phone", "phone"], "5": ["laptop", ""], "6": ["laptop", ""]}
    assert {it["action"] for it in tab.call("previewRestore", id)} == {"same"}
    tab.call("undoRestore")
    assert notes(tab) == {"1": ["phone", "phone"]}


def test_notes_are_versions_of_one_only_if_all_agrees_and_the_audio_stays(tab, server):
    id = server.upload({"voiceNotes": [NOTE]})["id"]
    record_note(tab)
    tab.restore(id, conflicts="replace")
    assert notes(tab) == {"1": ["laptop", "phone"]}
    for member in ("createdAt", "atomSlug"):
        tab.remove("voiceNotes", 2)
        record_note(tab, **{member: "another"})
        tab.restore(id, conflicts="replace")
        assert list(notes(tab).values()) == [["phone", "phone"], ["laptop", ""]]
