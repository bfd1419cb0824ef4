"""The page of the portfolio's container, used by mouse, keyboard and screen reader."""

import json

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


def atom_titles(page):
    return page.locator("#atom-list b").all_text_contents()


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
    assert atom_titles(page) == ["Tide tables"]
    back_up(page, 1)
    (backup,) = stored_backups(server)
    assert backup["counts"]["atoms"] == 1
    wait_for_headline(page, "Everything on this device is backed up")
    assert page.locator("#last").text_content() == "Last backup just now"
    assert page.locator("#storage").text_content().startswith("1 backup on the server: ")

    add_atom(page, "Slow orbit")
    back_up(page, 2)
    newest = page.locator(".entry").first
    assert newest.locator(".change").text_content() == "+1\u00a0atom"
    newest.locator(".fold").click()
    assert "2\u00a0atoms" in newest.locator(".counts").text_content()
    edit_atom(page, "Slow orbit", "Slow orbits")
    back_up(page, 3)
    assert page.locator(".entry .change").first.text_content() == "edited, +1 byte"


def test_a_restore_is_previewed_done_and_undone(page):
    add_atom(page, "Tide table")
    add_atom(page, "Slow orbit")
    back_up(page, 1)
    edit_atom(page, "Tide table", "Tide table, edited")
    dialog = open_backup(page)
    assert rows(dialog) == [["Tide table", "newer here"], ["Slow orbit", "same here"]]
    assert dialog.get_by_text("Tick what to bring back.").is_visible()
    assert dialog.get_by_role("button", name="Restore").is_disabled()

    dialog.get_by_role("checkbox", name="Tide table").check()
    assert dialog.get_by_role("status").text_content() == "1 newer here, replaced"
    dialog.get_by_role("button", name="Restore 1 record").click()
    page.get_by_text("Restored: 1 record replaced.").wait_for()
    assert sorted(atom_titles(page)) == ["Slow orbit", "Tide table"]

    reload(page)
    page.get_by_role("button", name="Undo the restore").click()
    page.get_by_text("Undone: 1 record as before the restore.").wait_for()
    assert sorted(atom_titles(page)) == ["Slow orbit", "Tide table, edited"]


def test_ticking_everything_replaces_nothing_that_is_newer_here(page, server):
    add_atom(page, "Tide table")
    back_up(page, 1)
    edit_atom(page, "Tide table", "Tide table, edited")
    document = server.get("/api/backup/latest").json["data"]
    document["atoms"].append({"slug": "2026-01-01-a", "title": "Hum"})
    server.upload(document)
    back_up(page, 3)
    dialog = open_backup(page, 1)
    dialog.get_by_label("All missing or different here: 1").check()
    assert not dialog.get_by_role("checkbox", name="Tide table").is_checked()
    dialog.get_by_role("button", name="Restore 1 record").click()
    page.get_by_text("Restored: 1 record came back.").wait_for()
    assert sorted(atom_titles(page)) == ["Hum", "Tide table, edited"]


def test_single_records_are_found_by_any_text_and_brought_back(page, server):
    atoms = [
        {"slug": "2026-01-01-hum", "title": "Hum", "code": "sin(x)"},
        {"slug": "2026-01-02-moth", "title": "Moth", "tags": [{"name": "Évening (draft)"}]},
        {"slug": "2026-01-03-orbit", "title": "Orbit"},
    ]
    snapshots = [
        {"id": "s-77", "name": "Orbit at dusk"},
        {"id": "s-78", "name": "Frame", "text": "über die Straße"},
    ]
    server.upload({"atoms": atoms, "snapshots": snapshots})
    reload(page)
    dialog = open_backup(page)
    search = dialog.get_by_role("searchbox")

    def found(words):
        search.fill(words)
        page.wait_for_function(
            "words => !document.querySelector('#inside-search').value != words", arg=words
        )
        page.wait_for_timeout(100)
        return [row[0] for row in rows(dialog)]

    assert found("orbit") == ["Orbit", "Orbit at dusk"]
    assert found("SIN(X)") == ["Hum"]
    assert found("évening (d") == found("EVENING") == ["Moth"]
    assert found("STRASSE") == ["Frame"]
    assert found("uber") == ["Frame"]
    assert found("s-77") == ["Orbit at dusk"]
    assert found(".*") == []
    assert dialog.get_by_text("Nothing found.").is_visible()
    # What was ticked stays ticked while something else is looked for.
    assert found("hum") == ["Hum"]
    dialog.get_by_role("checkbox", name="Hum").check()
    assert found("orbit") == ["Orbit", "Orbit at dusk"]
    dialog.get_by_role("checkbox", name="Snapshots").check()
    assert found("") == ["Hum", "Moth", "Orbit", "Orbit at dusk", "Frame"]
    assert dialog.get_by_role("checkbox", checked=True).count() == 2
    dialog.get_by_role("button", name="Restore 2 records").click()
    page.get_by_text("Restored: 2 records came back.").wait_for()
    assert atom_titles(page) == ["Hum"]


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


def test_it_is_told_which_device_a_backup_came_from(page, server):
    server.upload({"atoms": [{"slug": "a"}], "device": "<b>Studio</b> Mac"})
    server.upload({"atoms": [{"slug": "a"}, {"slug": "b"}]})
    server.upload({"atoms": [{"slug": "a", "title": "long" * 50_000}], "device": "Desk" * 50_000})
    reload(page)
    dialog = open_backup(page, 0)
    about = dialog.locator("#inside-about").text_content()
    assert about.startswith("From Desk")
    assert len(about) < 250
    assert len(dialog.locator("li span").text_content()) == 201
    page.keyboard.press("Escape")
    about = open_backup(page, 1).locator("#inside-about")
    assert about.text_content().startswith("2 records · ")
    page.keyboard.press("Escape")
    about = open_backup(page, 2).locator("#inside-about")
    assert about.text_content().startswith("From <b>Studio</b> Mac · 1 record · ")


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
    dialog = choose_file(page, text)
    about = dialog.locator("#inside-about").text_content()
    assert about.startswith("Backup of Today, ")
    dialog.get_by_role("checkbox", name="Tide table").check()
    dialog.get_by_role("button", name="Restore 1 record").click()
    page.get_by_text("Restored: 1 record replaced.").wait_for()
    assert atom_titles(page) == ["Tide table"]
    # The page can't know what the server has: the record goes with the next backup.
    assert page.get_by_role("button", name="Undo the restore").is_visible()
    wire.mend()


def test_what_is_read_too_late_is_not_shown_elsewhere(page, server):
    id = server.upload({"atoms": [{"slug": "a", "title": "Hum"}]})["id"]
    held = []
    page.route(f"**/api/backup/{id}", lambda route: held.append(route))
    reload(page)
    choose(page, "More for the backup of", "Look inside…")
    page.get_by_text("Reading it…").wait_for()
    page.keyboard.press("Escape")
    atoms = [{"slug": "b", "title": "Moth"}]
    document = {"id": "x", "timestamp": "2026-01-01T00:00:00Z", "data": {"atoms": atoms}}
    dialog = choose_file(page, json.dumps(document).encode())
    with page.expect_response(f"**/api/backup/{id}"):
        held[0].continue_()
    page.wait_for_timeout(300)
    assert rows(dialog) == [["Moth", "not here"]]
    dialog.get_by_role("checkbox", name="Moth").check()
    dialog.get_by_role("button", name="Restore 1 record").click()
    page.get_by_text("Restored: 1 record came back.").wait_for()
    assert atom_titles(page) == ["Moth"]


def test_a_backup_that_is_opened_in_the_instant_another_is_closed_is_shown(page, server):
    server.upload({"atoms": [{"slug": "a", "title": "Hum"}]})
    reload(page)
    page.locator(".entry .fold").click()
    page.get_by_role("button", name="Look inside…").click()
    opened(page)
    page.evaluate(
        """() => {
            document.getElementById('inside-dialog').close();
            document.querySelector('.entry .detailed button').click();
        }"""
    )
    page.get_by_role("dialog").get_by_role("checkbox", name="Hum").wait_for()


def test_a_file_that_is_no_backup_is_told(page):
    dialog = choose_file(page, b"a shopping list", "list.txt")
    assert dialog.get_by_role("alert").text_content() == "list.txt is no backup: it is not JSON"
    assert dialog.get_by_role("button", name="Restore").is_disabled()
    page.keyboard.press("Escape")
    # The same file can be chosen again, and another one has nothing of it.
    choose_file(page, b"a shopping list", "list.txt").get_by_role("alert").wait_for()
    page.keyboard.press("Escape")
    document = b'{"id": "x", "timestamp": "2026-01-01T00:00:00Z", "version": 1, "data": {}}'
    dialog = choose_file(page, document)
    assert dialog.get_by_text("It is empty.").is_visible()
    assert dialog.get_by_role("alert").count() == 0


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
    "{{7*7}} ${7*7} &lt;i&gt;",
    "\u202etxt.exe \u0000 \ud83d",
]


def test_a_title_with_html_in_it_is_a_title(page, server):
    atoms = [{"slug": f"2026-01-0{n}-x", "title": title} for n, title in enumerate(HOSTILE)]
    notes = [{"id": "<i>note</i>", "synced": False}]
    server.upload({"atoms": atoms, "snapshots": notes})
    reload(page)
    dialog = open_backup(page)
    shown = dialog.locator("li label > span").all_text_contents()
    assert shown == [*HOSTILE, "<i>note</i>"]
    dialog.get_by_label("All missing or different here: 6").check()
    dialog.get_by_role("button", name="Restore 6 records").click()
    page.get_by_text("Restored: 6 records came back.").wait_for()
    assert sorted(atom_titles(page)) == sorted(HOSTILE)
    assert page.locator("#owned, main img, main script").count() == 0
    assert page.title() == "Backups"


def test_everything_can_be_done_with_the_keyboard(page, server):
    def press_on(role, name):
        page.get_by_role(role, name=name).first.focus()
        page.keyboard.press("Enter")

    wait_for_headline(page, "Nothing is stored on this device")
    # Tab reaches each control; where the focus is can be seen.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "open-file"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"

    press_on("button", "Add an atom")
    assert page.evaluate("document.activeElement.id") == "atom-title"
    page.keyboard.type("Tide table")
    page.keyboard.press("Enter")
    page.get_by_text("Tide table").wait_for()
    press_on("button", "Back up now")
    page.locator(".entry").wait_for()
    assert page.evaluate("document.activeElement.id") == "back-up"

    edit_atom(page, "Tide table", "Tide table, edited")
    press_on("button", "More for the backup of")
    page.keyboard.press("Enter")
    page.get_by_role("checkbox", name="Tide table").wait_for()
    assert page.evaluate("document.activeElement.id") == "inside-title"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.type") == "search"
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.ariaLabel").startswith("More for the backup of")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.get_by_role("checkbox", name="Tide table").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    page.get_by_text("Restored: 1 record replaced.").wait_for()
    before = len(stored_backups(server))
    # The last of the day's two menus, its fourth choice.
    press_on("button", "More for the backup of")
    for _ in range(3):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").get_by_text("Delete this backup?").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for(state="hidden")
    assert len(stored_backups(server)) <= before


def test_a_screen_reader_hears_what_the_eyes_see(page):
    add_atom(page, "Tide table")
    back_up(page, 1)
    tree = page.locator("body").aria_snapshot()
    for line in (
        'heading "Everything on this device is backed up" [level=1]',
        'heading "Today 1 backup" [level=3]',
        "1 backup on 1 day of the last year",
        "Backed up at",
        'button "More for the backup of Today,',
        "Last backup just now",
        'button "Edit Tide table"',
    ):
        assert line in tree


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


def test_the_page_keeps_to_its_policy(page, wire):
    policy = page.request.get(f"{wire.url}/").headers["content-security-policy"]
    assert "unsafe" not in policy
    for source in page.evaluate("[...document.scripts].map((script) => script.src)"):
        assert source.startswith(f"{wire.url}/assets/")
    assert page.evaluate("document.querySelectorAll('style, [style], [onclick]').length") == 0
