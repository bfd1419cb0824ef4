"""The page of the portfolio's container, used by mouse, keyboard and screen reader."""

import pytest

from .conftest import PORTFOLIO
from .driving import LISTS, Trace, stored_backups

AXE = PORTFOLIO / "node_modules" / "axe-core" / "axe.min.js"


def test_atoms_are_added_edited_and_backed_up(page, server):
    page.get_by_text("No backups yet").wait_for()
    page.wait_for_headline("Nothing is stored on this device")
    page.add_atom("Tide table")
    page.wait_for_headline("1 change waits")
    page.edit_atom("Tide table", "Tide tables")
    page.wait_for_titles("Tide tables")
    page.back_up()
    (backup,) = stored_backups(server)
    assert backup["counts"]["atoms"] == 1
    page.wait_for_headline("Everything on this device is backed up")
    page.locator("#last:text-is('Last backup just now')").wait_for()
    page.locator("#storage", has_text="1 backup on the server: ").wait_for()

    page.add_atom("Slow orbit")
    page.back_up()
    newest = page.locator(".entry").first
    newest.locator(".change", has_text="+1\u00a0atom").wait_for()
    newest.locator(".fold").click()
    assert "2\u00a0atoms" in newest.locator(".counts").text_content()
    page.edit_atom("Slow orbit", "Slow orbits")
    page.back_up()
    newest.locator(".change", has_text="edited, +1 byte").wait_for()


def test_a_restore_is_previewed_done_undone_and_replaces_nothing_newer_unasked(page, server):
    page.add_atom("Tide table")
    page.back_up()
    atoms = server.get("/api/backup/latest").json["data"]["atoms"]
    server.upload({"atoms": [*atoms, {"slug": "hum", "title": "Hum"}]})
    page.edit_atom("Tide table", "Tide table, edited")
    page.back_up()
    page.open_backup(1)
    assert page.rows() == [["Tide table", "newer here"], ["Hum", "not here"]]
    assert page.dialog.get_by_role("button", name="Restore").is_disabled()
    page.dialog.get_by_label("All missing or different here: 1").check()
    assert not page.dialog.get_by_role("checkbox", name="Tide table").is_checked()
    page.dialog.get_by_role("checkbox", name="Tide table").check()
    said = page.dialog.get_by_role("status").text_content()
    assert said == "1 new here · 1 newer here, replaced"
    page.dialog.get_by_role("button", name="Restore 2 records").click()
    page.get_by_text("Restored: 1 record came back, 1 record replaced.").wait_for()
    page.wait_for_titles("Hum", "Tide table")
    page.reload()
    page.button("Undo the restore").click()
    page.get_by_text("Undone: 2 records as before the restore.").wait_for()
    page.wait_for_titles("Tide table, edited")


ATOMS = [
    {"slug": "2026-01-01-hum", "title": "Hum", "code": "sin(x)"},
    {"slug": "2026-01-02-moth", "title": "Moth", "tags": [{"name": "Évening (draft)"}]},
]
FRAMES = [{"id": "s-77", "name": "Moth at dusk"}, {"id": "s-78", "text": "über die Straße"}]
FOUND = {
    "moth": ["Moth", "Moth at dusk"],
    "SIN(X)": ["Hum"],
    "evening (d": ["Moth"],
    "STRASSE": ["über die Straße"],
    "uber": ["über die Straße"],
    "s-77": ["Moth at dusk"],
    ".*": [],
}


def test_records_are_found_by_any_text_whatever_its_case_and_accents(page, server):
    server.upload({"atoms": ATOMS, "snapshots": FRAMES})
    page.reload()
    page.open_backup()
    page.dialog.get_by_role("checkbox", name="Hum").check()
    for words, titles in FOUND.items():
        page.dialog.get_by_role("searchbox").fill(words)
        page.wait_for_rows(len(titles))
        assert [row[0] for row in page.rows()] == titles
    # What was ticked stays ticked while something else is looked for.
    page.dialog.get_by_role("button", name="Restore 1 record").click()
    page.get_by_text("Restored: 1 record came back.").wait_for()


def test_a_backup_of_50_mb_does_not_freeze_the_page(page, server):
    text = "const wave = Math.sin(x * 7) + noise(y);\n" * 120
    atoms = [{"slug": f"a{n}", "title": f"Atom {n}", "code": f"{n} {text}"} for n in range(10_000)]
    server.upload({"atoms": atoms})
    page.reload()
    with Trace(page) as trace:
        page.open_backup()
        assert len(page.rows()) == 8
        page.dialog.get_by_role("button", name="Show 100 of 9,992 more").click()
        assert len(page.rows()) == 108
        assert page.evaluate("document.activeElement.innerText").startswith("Atom 8")
        page.dialog.get_by_label("Order").select_option("By title")
        assert [row[0] for row in page.rows()][:3] == ["Atom 0", "Atom 1", "Atom 2"]
        page.dialog.get_by_role("searchbox").fill("9998 const")
        page.wait_for_rows(1)
    assert max(trace.tasks()) < 1000  # milliseconds; 150 to 400 are the browser's JSON.parse


def test_a_backup_that_lost_half_of_something_stands_out(page, server):
    for atoms, snapshots, notes in ((40, 3, 1), (21, 2, 1), (10, 1, 0)):
        of = {"slug": atoms, "id": snapshots}
        slugs, ids = ([{key: f"{n}"} for n in range(count)] for key, count in of.items())
        server.upload({"atoms": slugs, "snapshots": ids, "voiceNotes": [{"id": 1}] * notes})
    page.reload()
    lost = "lost 11 of 21\u00a0atoms, 1 of 2\u00a0snapshots, the only 1\u00a0voice note"
    assert page.locator(".lost").all_text_contents() == [lost, lost]  # the day's and its own
    losses = page.locator(".entry").filter(has=page.locator(".lost"))
    losses.locator(".fold").click()
    assert losses.locator(".loss b").text_content() == f"{lost.capitalize()}."
    losses.get_by_role("button", name="view the backup before").click()
    page.dialog.get_by_text("24 records").wait_for()


def test_a_backup_is_downloaded_as_it_is_and_restored_from_that_file(page, server, wire):
    page.add_atom("Tide table")
    page.back_up()
    with page.expect_download() as download:
        page.choose_of_backup("Download")
    text = download.value.path().read_bytes()
    assert text == (server.data_dir / download.value.suggested_filename).read_bytes()

    page.edit_atom("Tide table", "Tide table, edited")
    wire.cut()
    damaged = text.replace(b"Tide", b"Wide")
    for wrong, words in {b"a list": "list.txt is no backup", damaged: "SHA-256"}.items():
        page.choose_file(wrong, "list.txt")
        page.dialog.get_by_role("alert").get_by_text(words).wait_for()
        page.keyboard.press("Escape")
    page.choose_file(text)
    assert page.locator("#inside-about").text_content().startswith("Backup of Today, ")
    page.dialog.get_by_role("checkbox", name="Tide table").check()
    page.dialog.get_by_role("button", name="Restore 1 record").click()
    page.get_by_text("Restored: 1 record replaced.").wait_for()
    page.wait_for_titles("Tide table")


def test_a_failure_is_told_where_it_happened(page, wire):
    page.answer_lists(status=400, json={"error": "No."})
    page.page.reload()
    page.get_by_role("alert").get_by_text("No.").wait_for()
    assert page.locator("#last").text_content() == "The server did not answer"
    # As after the browser's own dialog was dismissed, which nothing in a page can open or close.
    page.unroute(LISTS)
    page.answer_lists(status=401, json={"error": "Send Authorization: Bearer <BACKUP_TOKEN>."})
    page.button("Try again").click()
    page.get_by_role("heading", name="The server asks for its token").wait_for()
    assert "BACKUP_TOKEN" not in page.locator("main").inner_text()
    page.unroute(LISTS)
    page.button("Ask me again").click()
    page.get_by_text("No backups yet").wait_for()

    wire.answers = [(413, {}, {"error": "The body is too large."})]
    page.add_atom("Tide table")
    page.button("Back up now").click()
    page.get_by_text("Not backed up: The body is too large.").wait_for()
    page.wait_for_headline("1 change waits")
    assert page.locator("#reason").text_content() == "The body is too large."


HOSTILE = [
    "<img src=x onerror=document.title='owned'>",
    "<script>document.title='owned'</script>",
    '"><b id=owned>bold</b>',
    "\u202etxt.exe \u0000 \ud83d",
    "long" * 50_000,
]


def test_what_a_backup_says_is_text_and_no_longer_than_the_page_can_show(page, wire, server):
    atoms = [{"slug": f"2026-01-0{n}-x", "title": title} for n, title in enumerate(HOSTILE)]
    server.upload({"atoms": atoms, "device": "<b>Studio</b> Mac" + "c" * 50_000})
    page.reload()
    page.open_backup()
    shown = [title[:200] + "…" * (len(title) > 200) for title in HOSTILE]
    assert page.dialog.locator("li label > span").all_text_contents() == shown
    about = page.locator("#inside-about").text_content()
    assert about.startswith("From <b>Studio</b> Mac")
    assert len(about) < 250
    page.dialog.get_by_label("All missing or different here: 5").check()
    page.dialog.get_by_role("button", name="Restore 5 records").click()
    page.get_by_text("Restored: 5 records came back.").wait_for()
    assert sorted(page.locator("#atom-list b").all_text_contents()) == sorted(HOSTILE)
    assert page.locator("#owned, main img, main script").count() == 0
    assert page.title() == "Backups"
    policy = page.request.get(f"{wire.url}/").headers["content-security-policy"]
    assert "unsafe" not in policy


def test_everything_can_be_done_with_the_keyboard(page):
    def press_on(name, *keys):
        page.button(name).first.focus()
        for key in ("Enter", *keys):
            page.keyboard.press(key)

    def focused(what):
        return page.evaluate(f"document.activeElement.{what}")

    # Tab reaches each control; where the focus is can be seen.
    for name in ("skip", "outline secondary"):
        page.keyboard.press("Tab")
        assert focused("className") == name
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    press_on("Add an atom")
    page.keyboard.type("Tide table")
    page.keyboard.press("Enter")
    page.wait_for_titles("Tide table")
    press_on("Back up now")
    page.locator(".entry").wait_for()
    assert focused("id") == "back-up"
    press_on("More for the backup of", "Enter")
    page.get_by_text("All of it is here already").wait_for()
    assert focused("id") == "inside-title"
    page.keyboard.press("Escape")
    assert focused("ariaLabel").startswith("More for the backup of")
    press_on("More for the backup of", "Tab", "Tab", "Tab", "Enter")
    page.dialog.get_by_text("Delete this backup?").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.dialog.wait_for(state="hidden")


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_axe_finds_no_violation(page, server, width, scheme):
    for number in (3, 1, 2):
        frames = [{"id": f"s{n}", "title": f"Frame {n}"} for n in range(number)]
        atom = {"slug": "2026-01-01-a", "code": "const wave = 1;\n" * number}
        atom["title"] = "Hum " * 30 + "without-a-break" * 12
        device = {"device": "Desk" * 60, "deviceId": f"desk-{number}"}
        server.upload({"atoms": [atom], "snapshots": frames} | device)
    page.set_viewport_size({"width": width, "height": 850})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.reload()
    page.evaluate(AXE.read_text())
    page.add_atom("Tide table")
    page.wait_for_state("unsynced")
    page.button("Bring everything back").wait_for()
    assert_accessible(page)
    page.back_up()
    page.locator(".entry .fold").first.click()
    page.button("More for the backup of").nth(1).click()
    assert_accessible(page)
    page.locator("#menu").get_by_role("button", name="Select").click()
    assert_accessible(page)
    page.button("Done").click()
    page.choose("More for", "Thin out…")
    assert_accessible(page)
    page.button("Keep", exact=True).click()
    page.open_backup(1)
    page.button("Show Hum").click()
    assert_accessible(page)
    page.dialog.get_by_role("searchbox").fill("frame")
    page.dialog.get_by_role("checkbox", name="Snapshots").check()
    assert_accessible(page)
    page.dialog.get_by_role("button", name="Restore 2 records").click()
    page.button("Undo the restore").wait_for()
    assert_accessible(page)
    page.choose_of_backup("Delete…")
    assert_accessible(page)
    page.button("Keep", exact=True).click()
    page.button("Add an atom").click()
    assert_accessible(page)
    page.keyboard.press("Escape")
    page.choose_file(b"a shopping list")
    assert_accessible(page)


def assert_accessible(page):
    """No violation of axe's rules, and nothing to scroll sideways, in a dialog neither."""
    result = page.evaluate("axe.run()")
    assert [(it["id"], it["nodes"][0]["html"]) for it in result["violations"]] == []
    wide = """[document.documentElement, ...document.querySelectorAll('dialog[open] *')]
        .filter((it) => it.scrollWidth > it.clientWidth)
        .filter((it) => getComputedStyle(it).display !== 'inline')
        .filter((it) => !['INPUT', 'SELECT', 'OPTION'].includes(it.tagName))
        .map((it) => it.outerHTML.slice(0, 80))"""
    assert page.evaluate(wide) == []
