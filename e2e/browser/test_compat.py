"""A site written like the portfolio application, its imports repointed by four lines."""

import pytest

from .driving import Tab, by_key, latest_data

NOTE = {"id": 1, "atomSlug": "tide", "mimeType": "audio/webm", "transcript": "elsewhere"}


@pytest.fixture
def open_app(context, wire, server):
    """``open_app()``: the application in a new tab, its start over: that may send what it finds."""

    def open_app():
        app = Tab(context.new_page(), server)
        app.goto(f"{wire.url}/application/")
        app.evaluate("app.started")
        return app

    return open_app


@pytest.fixture
def app(open_app):
    """The application, with four records that nobody has backed up."""
    app = open_app()
    app.evaluate(
        """async () => {
            const { db } = app;
            await db.saveAtom({ slug: 'tide', title: 'tide', date: '2026-01-30', code: 'a' });
            await db.saveAtom({ slug: 'orbit', title: 'orbit', date: '2026-01-31', code: 'b' });
            await db.saveComposition({ id: 'c1', name: 'Both', atoms: ['tide', 'orbit'] });
            await db.saveSnapshot({ id: 's1', compositionId: 'c1', createdAt: '2026' });
        }"""
    )
    app.locator("#badge[data-state=pending]", has_text="4").wait_for()
    return app


EDIT = "app.db.saveAtom({ slug: 'tide', title: 'edited', date: '2026-01-30' })"


def wait_for_badge(app, state):
    app.locator(f"#badge[data-state={state}]").wait_for(state="attached")


def test_the_badge_never_shows_a_tick_over_what_waits(app):
    app.click("#back-up")
    wait_for_badge(app, "synced")
    app.locator("#result", has_text="Backup complete").wait_for()
    app.locator("#list", has_text="2 atoms · 1 compositions · 1 snapshots").wait_for()
    app.evaluate(EDIT)
    app.locator("#badge", has_text="1").wait_for()
    assert app.evaluate("app.getBackupStatus()")["status"] == "idle"


def test_one_backup_leaves_with_a_close(app, open_app, wire, server):
    app.close_for_real()
    wire.wait_answered(1)
    assert set(by_key(latest_data(server))["compositions"]) == {"c1"}
    wait_for_badge(open_app(), "synced")
    assert len(server.listed()) == 1


def test_a_restore_replaces_counts_and_can_be_undone(app):
    titles = "app.db.getAllAtomsSorted().then((all) => all.map(({ title }) => title))"
    id = app.evaluate("app.createBackup()")["id"]
    app.evaluate(EDIT)
    app.evaluate("(id) => app.restore(id, { atoms: true, compositions: false })", id)
    told = app.locator("#result").text_content()
    assert told == "Restored: 1 atoms, 0 compositions, 0 snapshots"
    assert app.evaluate(titles) == ["orbit", "tide"]
    app.evaluate("app.undoRestore()")
    assert app.evaluate(titles) == ["orbit", "edited"]


def test_a_restored_voice_note_is_in_the_applications_list(app, server):
    own = {**NOTE, "createdAt": "2026-02-02", "transcript": "here"}
    app.evaluate("(note) => app.db.saveVoiceNote({ ...note, audioBlob: new Blob(['x']) })", own)
    id = server.upload({"voiceNotes": [{**NOTE, "createdAt": "2026-01-01"}]})["id"]
    app.evaluate("(id) => app.restore(id)", id)
    app.evaluate("app.showNotes('tide')")
    assert app.locator("#notes li").all_inner_texts() == ["elsewhere blob:", "here blob:"]


def test_failures_are_null_and_an_empty_list(app, context, wire):
    app.evaluate("window.fast = setTimeout; window.setTimeout = (f, ms) => fast(f, ms / 100)")
    wire.cut()
    assert app.evaluate("app.listBackups()") == []
    app.evaluate("app.restore('2020-01-01T00-00-00')")
    assert app.locator("#result").text_content() == "Restore failed"
    assert app.evaluate("app.createBackup()") is None
    wait_for_badge(app, "error")
    context.set_offline(True)
    app.locator("#offline").wait_for()
