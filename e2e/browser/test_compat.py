"""A site written like the portfolio application, its imports repointed by four lines."""

import pytest

from .driving import by_key, close_for_real, latest_data, stored_backups

NOTE = {"atomSlug": "tide", "mimeType": "audio/webm", "transcript": "elsewhere"}


@pytest.fixture
def app(context, wire):
    """``app()``: the application in a new tab."""

    def open_tab():
        page = context.new_page()
        page.goto(f"{wire.url}/application/")
        page.wait_for_function("window.app")
        return page

    return open_tab


def make_work(page):
    page.evaluate(
        """async () => {
            const { db } = app;
            await db.saveAtom({ slug: 'tide', title: 'tide', date: '2026-01-30', code: 'a' });
            await db.saveAtom({ slug: 'orbit', title: 'orbit', date: '2026-01-31', code: 'b' });
            await db.saveComposition({ id: 'c1', name: 'Both', atoms: ['tide', 'orbit'] });
            await db.saveSnapshot({ id: 's1', compositionId: 'c1', createdAt: '2026' });
        }"""
    )


def wait_for_badge(page, state):
    page.locator(f"#badge[data-state={state}]").wait_for(state="attached")


def test_the_badge_never_shows_a_tick_over_what_waits(app, server):
    page = app()
    make_work(page)
    wait_for_badge(page, "pending")
    page.locator("#badge", has_text="4").wait_for()
    page.click("#back-up")
    wait_for_badge(page, "synced")
    page.locator("#result", has_text="Backup complete").wait_for()
    page.locator("#list", has_text="2 atoms · 1 compositions · 1 snapshots").wait_for()
    page.evaluate("app.db.saveAtom({ slug: 'tide', title: 'edited', date: '2026-01-30' })")
    page.locator("#badge", has_text="1").wait_for()
    assert page.evaluate("app.getBackupStatus()")["status"] == "idle"


def test_one_backup_leaves_with_a_close(app, wire, server):
    page = app()
    make_work(page)
    page.locator("#badge", has_text="4").wait_for()
    close_for_real(page)
    # The close has sent it, whether or not somebody was left to hear the answer.
    wire.wait(lambda uploads: uploads and uploads[0].ended)
    assert len(stored_backups(server)) == 1
    wait_for_badge(app(), "synced")
    assert len(stored_backups(server)) == 1
    assert set(by_key(latest_data(server))["compositions"]) == {"c1"}


def test_a_restore_replaces_counts_and_can_be_undone(app, server):
    page = app()
    make_work(page)
    id = page.evaluate("app.createBackup()")["id"]
    page.evaluate("app.db.saveAtom({ slug: 'tide', title: 'edited', date: '2026-01-30' })")
    page.evaluate("(id) => app.restore(id, { atoms: true, compositions: false })", id)
    assert page.locator("#result").text_content() == (
        "Restored: 1 atoms, 0 compositions, 0 snapshots"
    )
    titles = "app.db.getAllAtomsSorted().then((all) => all.map(({ title }) => title))"
    assert page.evaluate(titles) == ["orbit", "tide"]
    page.evaluate("app.undoRestore()")
    assert page.evaluate(titles) == ["orbit", "edited"]


def test_a_restored_voice_note_is_in_the_applications_list(app, server):
    page = app()
    page.evaluate(
        """(note) => app.db.saveVoiceNote(
            { ...note, createdAt: '2026-02-02', audioBlob: new Blob(['x']) })""",
        {**NOTE, "transcript": "here"},
    )
    id = server.upload({"voiceNotes": [{**NOTE, "id": 1, "createdAt": "2026-01-01"}]})["id"]
    page.evaluate("(id) => app.restore(id)", id)
    page.evaluate("app.showNotes('tide')")
    assert page.locator("#notes li").all_inner_texts() == ["elsewhere blob:", "here blob:"]


def test_failures_are_null_and_an_empty_list(app, wire):
    page = app()
    make_work(page)
    page.evaluate("window.fast = setTimeout; window.setTimeout = (f, ms) => fast(f, ms / 100)")
    wire.cut()
    assert page.evaluate("app.listBackups()") == []
    page.evaluate("app.restore('2020-01-01T00-00-00')")
    assert page.locator("#result").text_content() == "Restore failed"
    assert page.evaluate("app.createBackup()") is None
    wait_for_badge(page, "error")


def test_its_indicator_and_its_stores_are_as_they_were(app, context):
    page = app()
    context.set_offline(True)
    page.locator("#offline").wait_for()
    context.set_offline(False)
    page.locator("#offline").wait_for(state="hidden")
    stores = page.evaluate("app.db.getDB().then((it) => [it.version, ...it.objectStoreNames])")
    assert stores == [
        3,
        "atoms",
        "compositions",
        "configOverrides",
        "screenshots",
        "snapshots",
        "voiceNotes",
    ]
