"""The page of the portfolio's container, used by mouse, keyboard and screen reader."""

import pytest

from .conftest import PORTFOLIO
from .driving import longest_task, stored_backups

WIDTHS = {"phone": {"width": 390, "height": 844}, "desk": {"width": 1280, "height": 900}}
AXE = PORTFOLIO / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture
def page(context, wire):
    """The page, opened; what breaks its policy or its scripts fails the test."""
    page = context.new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if bad(message) else None)
    open_page(page, wire)
    yield page
    assert complaints == []


def bad(message):
    """The browser's own line about an answer of 4xx or 5xx is what some tests are about."""
    return message.type == "error" and "Failed to load resource" not in message.text


def open_page(page, wire, path="/"):
    page.goto(f"{wire.url}{path}")
    page.locator("#timeline[aria-busy=false]").wait_for(state="attached")


def reload(page):
    page.reload()
    page.locator("#timeline[aria-busy=false]").wait_for(state="attached")


def wait_for_headline(page, text):
    page.get_by_role("heading", level=1, name=text, exact=True).wait_for()


def add_atom(page, title, code="const a = 1;"):
    page.get_by_role("button", name="Add an atom").click()
    page.get_by_label("Title").fill(title)
    page.get_by_label("Code or notes").fill(code)
    page.get_by_role("button", name="Save").click()
    page.locator("#atom-dialog").wait_for(state="hidden")


def back_up(page, count):
    page.get_by_role("button", name="Back up now").click()
    page.locator(".entry").nth(count - 1).wait_for()
    page.locator("sync-status[data-state=backed-up]").wait_for()


def edit_atom(page, title, new_title):
    page.get_by_role("button", name=f"Edit {title}").click()
    page.get_by_label("Title").fill(new_title)
    page.get_by_role("button", name="Save").click()
    page.locator("#atom-dialog").wait_for(state="hidden")


def wait_for_titles(page, titles):
    """Wait until these are the titles of the atoms in the list, in any order."""
    page.wait_for_function(
        """titles => [...document.querySelectorAll('#atom-list b')]
            .map((title) => title.textContent).sort().join('\\0') === titles.join('\\0')""",
        arg=sorted(titles),
    )


def open_backup(page, number=0):
    """Open a backup, the newest is 0; return its dialog once its records are there."""
    choose(page, "More for the backup of", "Look inside…", number)
    return opened(page)


def choose(page, menu, choice, number=0):
    """Choose from a menu of the list."""
    page.get_by_role("button", name=menu).nth(number).click()
    page.locator("#menu").get_by_role("button", name=choice).click()


def opened(page):
    dialog = page.get_by_role("dialog")
    dialog.locator("#inside-list[aria-busy=false]").wait_for(state="attached")
    return dialog


def choose_file(page, text, name="backup.json"):
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Restore from a file").click()
    file = {"name": name, "mimeType": "application/json", "buffer": text}
    chooser.value.set_files(files=[file])
    return opened(page)


def rows(dialog):
    """What is shown of each record: its title, and how it stands here."""
    return [text.split("\n") for text in dialog.locator("li label").all_inner_texts()]


def test_atoms_are_added_edited_and_backed_up(page, server):
    assert page.get_by_text("No backups yet").is_visible()
    wait_for_headline(page, "Nothing is stored on this device")
    add_atom(page, "Tide table")
    wait_for_headline(page, "1 change waits")
    edit_atom(page, "Tide table", "Tide tables")
    wait_for_titles(page, ["Tide tables"])
    back_up(page, 1)
    (backup,) = stored_backups(server)
    assert backup["counts"]["atoms"] == 1
    wait_for_headline(page, "Everything on this device is backed up")
    page.locator("#last:text-is('Last backup just now')").wait_for()
    page.locator("#storage", has_text="1 backup on the server: ").wait_for()

    add_atom(page, "Slow orbit")
    back_up(page, 2)
    newest = page.locator(".entry").first
    newest.locator(".change", has_text="+1\u00a0atom").wait_for()
    newest.locator(".fold").click()
    assert "2\u00a0atoms" in newest.locator(".counts").text_content()
    edit_atom(page, "Slow orbit", "Slow orbits")
    back_up(page, 3)
    newest.locator(".change", has_text="edited, +1 byte").wait_for()


def test_a_restore_is_previewed_done_undone_and_replaces_nothing_newer_unasked(page, server):
    add_atom(page, "Tide table")
    back_up(page, 1)
    document = server.get("/api/backup/latest").json["data"]
    server.upload(document | {"atoms": [*document["atoms"], {"slug": "hum", "title": "Hum"}]})
    edit_atom(page, "Tide table", "Tide table, edited")
    back_up(page, 3)
    dialog = open_backup(page, 1)
    assert rows(dialog) == [["Tide table", "newer here"], ["Hum", "not here"]]
    assert dialog.get_by_role("button", name="Restore").is_disabled()
    dialog.get_by_label("All missing or different here: 1").check()
    assert not dialog.get_by_role("checkbox", name="Tide table").is_checked()
    dialog.get_by_role("checkbox", name="Tide table").check()
    assert dialog.get_by_role("status").text_content() == "1 new here · 1 newer here, replaced"
    dialog.get_by_role("button", name="Restore 2 records").click()
    page.get_by_text("Restored: 1 record came back, 1 record replaced.").wait_for()
    wait_for_titles(page, ["Hum", "Tide table"])

    reload(page)
    page.get_by_role("button", name="Undo the restore").click()
    page.get_by_text("Undone: 2 records as before the restore.").wait_for()
    wait_for_titles(page, ["Tide table, edited"])


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
    "title": [],
    ".*": [],
}


def test_records_are_found_by_any_text_whatever_its_case_and_accents(page, server):
    server.upload({"atoms": ATOMS, "snapshots": FRAMES})
    reload(page)
    dialog = open_backup(page)
    dialog.get_by_role("checkbox", name="Hum").check()
    for words, titles in FOUND.items():
        dialog.get_by_role("searchbox").fill(words)
        page.wait_for_function(
            """count => document.querySelectorAll('#inside-list li').length === count""",
            arg=len(titles),
        )
        assert [row[0] for row in rows(dialog)] == titles
    # What was ticked stays ticked while something else is looked for.
    dialog.get_by_role("button", name="Restore 1 record").click()
    page.get_by_text("Restored: 1 record came back.").wait_for()


def test_a_backup_of_50_mb_does_not_freeze_the_page(page, server):
    text = "const wave = Math.sin(x * 7) + noise(y);\n" * 120
    atoms = [{"slug": f"a{n}", "title": f"Atom {n}", "code": f"{n} {text}"} for n in range(10_000)]
    server.upload({"atoms": atoms})
    reload(page)
    page.locator(".entry").wait_for()
    lengths = []
    with longest_task(page, lengths):
        look_through(page)
    assert lengths[0] < 1000  # milliseconds; 150 to 400 of them are the browser's JSON.parse


def look_through(page):
    dialog = open_backup(page)
    assert len(rows(dialog)) == 8
    dialog.get_by_role("button", name="Show 100 of 9,992 more").click()
    assert len(rows(dialog)) == 108
    assert page.evaluate("document.activeElement.innerText").startswith("Atom 8")
    dialog.get_by_label("Order").select_option("By title")
    assert [row[0] for row in rows(dialog)][:3] == ["Atom 0", "Atom 1", "Atom 2"]
    dialog.get_by_role("searchbox").fill("9998 const")
    page.wait_for_function("document.querySelectorAll('#inside-list li').length === 1")


def test_a_backup_that_lost_half_of_something_stands_out(page, server):
    def records(name, count):
        key = "slug" if name == "atoms" else "id"
        return {name: [{key: f"{n}"} for n in range(count)]}

    full = records("atoms", 40) | records("snapshots", 3) | records("voiceNotes", 1)
    server.upload(full)
    server.upload(full | records("atoms", 21) | records("snapshots", 2))
    server.upload(records("atoms", 10) | records("snapshots", 1))
    reload(page)
    page.locator(".entry").nth(2).wait_for()
    lost = "lost 11 of 21\u00a0atoms, 1 of 2\u00a0snapshots, the only 1\u00a0voice note"
    assert page.locator(".lost").all_text_contents() == [lost, lost]  # the day's and its own
    losses = page.locator(".entry").filter(has=page.locator(".lost"))
    losses.locator(".fold").click()
    assert losses.locator(".loss b").text_content() == f"{lost.capitalize()}."
    losses.get_by_role("button", name="view the backup before").click()
    assert opened(page).get_by_text("24 records").is_visible()


def test_a_backup_is_downloaded_as_it_is_and_restored_from_that_file(page, server, wire):
    add_atom(page, "Tide table")
    back_up(page, 1)
    (backup,) = stored_backups(server)
    with page.expect_download() as download:
        choose(page, "More for the backup of", "Download")
    assert download.value.suggested_filename == f"backup-{backup['id']}.json"
    text = download.value.path().read_bytes()
    assert text == (server.data_dir / f"backup-{backup['id']}.json").read_bytes()

    edit_atom(page, "Tide table", "Tide table, edited")
    wire.cut()
    told = choose_file(page, b"a list", "list.txt").get_by_role("alert")
    assert told.text_content() == "list.txt is no backup: it is not JSON"
    page.keyboard.press("Escape")
    dialog = choose_file(page, text)
    about = dialog.locator("#inside-about").text_content()
    assert about.startswith("Backup of Today, ")
    dialog.get_by_role("checkbox", name="Tide table").check()
    dialog.get_by_role("button", name="Restore 1 record").click()
    page.get_by_text("Restored: 1 record replaced.").wait_for()
    wait_for_titles(page, ["Tide table"])
    # The page can't know what the server has: the record goes with the next backup.
    assert page.get_by_role("button", name="Undo the restore").is_visible()
    wire.mend()


def test_a_failure_is_told_where_it_happened(page, wire):
    page.route(
        "**/api/backup/list*", lambda route: route.fulfill(status=400, json={"error": "No."})
    )
    page.reload()
    page.get_by_role("alert").get_by_text("No.").wait_for()
    assert page.locator("#last").text_content() == "The server did not answer"
    page.unroute("**/api/backup/list*")
    page.get_by_role("button", name="Try again").click()
    page.get_by_text("No backups yet").wait_for()

    wire.answers = [(413, {}, {"error": "The body is too large."})]
    add_atom(page, "Tide table")
    page.get_by_role("button", name="Back up now").click()
    page.get_by_text("Not backed up: The body is too large.").wait_for()
    wait_for_headline(page, "1 change waits")
    assert page.locator("#reason").text_content() == "The body is too large."


HOSTILE = [
    "<img src=x onerror=document.title='owned'>",
    "<script>document.title='owned'</script>",
    '"><b id=owned>bold</b>',
    "\u202etxt.exe \u0000 \ud83d",
    "long" * 50_000,
]


def test_what_a_backup_says_is_text_and_no_longer_than_the_page_bears(page, wire, server):
    atoms = [{"slug": f"2026-01-0{n}-x", "title": title} for n, title in enumerate(HOSTILE)]
    server.upload({"atoms": atoms, "device": "<b>Studio</b> Mac" + "c" * 50_000})
    reload(page)
    dialog = open_backup(page)
    shown = [title[:200] + "…" * (len(title) > 200) for title in HOSTILE]
    assert dialog.locator("li label > span").all_text_contents() == shown
    about = dialog.locator("#inside-about").text_content()
    assert about.startswith("From <b>Studio</b> Mac")
    assert len(about) < 250
    dialog.get_by_label("All missing or different here: 5").check()
    dialog.get_by_role("button", name="Restore 5 records").click()
    page.get_by_text("Restored: 5 records came back.").wait_for()
    assert sorted(page.locator("#atom-list b").all_text_contents()) == sorted(HOSTILE)
    assert page.locator("#owned, main img, main script").count() == 0
    assert page.title() == "Backups"
    policy = page.request.get(f"{wire.url}/").headers["content-security-policy"]
    assert "unsafe" not in policy
    for source in page.evaluate("[...document.scripts].map((script) => script.src)"):
        assert source.startswith(f"{wire.url}/assets/")


def test_everything_can_be_done_with_the_keyboard(page, server):
    def press_on(name, *keys):
        page.get_by_role("button", name=name).first.focus()
        for key in ("Enter", *keys):
            page.keyboard.press(key)

    wait_for_headline(page, "Nothing is stored on this device")
    # Tab reaches each control; where the focus is can be seen.
    for focused in ("skip", "outline secondary"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == focused
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    press_on("Add an atom")
    page.keyboard.type("Tide table")
    page.keyboard.press("Enter")
    page.get_by_text("Tide table").wait_for()
    press_on("Back up now")
    page.locator(".entry").wait_for()
    assert page.evaluate("document.activeElement.id") == "back-up"
    press_on("More for the backup of", "Enter")
    page.get_by_text("All of it is here already").wait_for()
    assert page.evaluate("document.activeElement.id") == "inside-title"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.ariaLabel").startswith("More for the backup of")
    press_on("More for the backup of", "Tab", "Tab", "Tab", "Enter")
    page.get_by_role("dialog").get_by_text("Delete this backup?").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for(state="hidden")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", list(WIDTHS))
def test_axe_finds_no_violation(page, server, width, scheme):
    counts = [3, 1, 2]
    for number in counts:
        notes = [{"id": f"s{n}", "title": f"Frame {n}"} for n in range(number)]
        atom = {"slug": "2026-01-01-a", "code": "const wave = 1;\n" * number}
        atoms = [atom | {"title": "Hum " * 30 + "without-a-break" * 12}]
        device = {"device": "Desk" * 60, "deviceId": f"desk-{number}"}
        server.upload({"atoms": atoms, "snapshots": notes} | device)
    page.set_viewport_size(WIDTHS[width])
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    reload(page)
    page.evaluate(AXE.read_text())
    add_atom(page, "Tide table")
    page.locator("sync-status[data-state=unsynced]").wait_for()
    page.get_by_role("button", name="Bring everything back").wait_for()
    assert_accessible(page)
    back_up(page, 4)
    page.locator(".entry .fold").first.click()
    page.get_by_role("button", name="More for the backup of").nth(1).click()
    assert_accessible(page)
    page.locator("#menu").get_by_role("button", name="Select").click()
    assert_accessible(page)
    page.get_by_role("button", name="Done").click()
    choose(page, "More for", "Thin out…")
    assert_accessible(page)
    page.get_by_role("button", name="Keep", exact=True).click()

    dialog = open_backup(page, 1)
    dialog.get_by_role("button", name="Show Hum").click()
    assert_accessible(page)
    dialog.get_by_role("searchbox").fill("frame")
    dialog.get_by_role("checkbox", name="Snapshots").check()
    assert_accessible(page)
    dialog.get_by_role("button", name="Restore 2 records").click()
    page.get_by_role("button", name="Undo the restore").wait_for()
    assert_accessible(page)
    choose(page, "More for the backup of", "Delete…")
    assert_accessible(page)
    page.get_by_role("button", name="Keep", exact=True).click()
    page.get_by_role("button", name="Add an atom").click()
    assert_accessible(page)
    page.keyboard.press("Escape")
    choose_file(page, b"a shopping list")
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
