"""The page of the portfolio's container, used by mouse, keyboard and screen reader."""

import pytest

from .conftest import PORTFOLIO
from .driving import stored_backups

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


def open_page(page, wire):
    page.goto(f"{wire.url}/")
    page.locator("#timeline[aria-busy=false]").wait_for()


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
    return page.locator(".atom-title").all_text_contents()


def test_atoms_are_added_edited_and_backed_up(page, server):
    assert page.get_by_text("No backups yet").is_visible()
    add_atom(page, "Tide table")
    edit_atom(page, "Tide table", "Tide tables")
    assert atom_titles(page) == ["Tide tables"]
    back_up(page, 1)
    (backup,) = stored_backups(server)
    assert backup["counts"]["atoms"] == 1
    assert page.locator("#summary").text_content().startswith("1 backup")

    add_atom(page, "Slow orbit")
    back_up(page, 2)
    newest = page.locator(".entry").first
    assert newest.locator(".counts").text_content() == "2\u00a0atoms"
    assert "+1\u00a0atom" in newest.locator(".detail").text_content()


def test_a_restore_is_previewed_done_and_undone(page):
    add_atom(page, "Tide table")
    add_atom(page, "Slow orbit")
    back_up(page, 1)
    edit_atom(page, "Tide table", "Tide table, edited")
    page.get_by_role("button", name="Restore from").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("heading", name="Newer here: 1").wait_for()
    assert dialog.get_by_text("1 record the same").is_visible()
    dialog.get_by_role("checkbox", name="Atoms").uncheck()
    assert dialog.get_by_text("Tick what to bring back.").is_visible()
    assert dialog.get_by_role("button", name="Restore").is_disabled()

    dialog.get_by_role("checkbox", name="Atoms").check()
    dialog.get_by_role("combobox").select_option("replace")
    dialog.get_by_role("button", name="Restore").click()
    page.get_by_text("Restored: 1 record replaced.").wait_for()
    assert sorted(atom_titles(page)) == ["Slow orbit", "Tide table"]

    page.reload()
    page.get_by_role("button", name="Undo the restore").click()
    page.get_by_text("Undone: 1 record as before the restore.").wait_for()
    assert sorted(atom_titles(page)) == ["Slow orbit", "Tide table, edited"]


def test_a_newer_record_is_kept_unless_chosen(page):
    add_atom(page, "Tide table")
    back_up(page, 1)
    edit_atom(page, "Tide table", "Tide table, edited")
    page.get_by_role("button", name="Restore from").click()
    page.get_by_role("heading", name="Newer here: 1").wait_for()
    page.get_by_role("dialog").get_by_role("button", name="Restore").click()
    page.get_by_text("1 newer record kept").wait_for()
    assert atom_titles(page) == ["Tide table, edited"]


def test_a_deletion_is_confirmed_first(page, server):
    add_atom(page, "Tide table")
    back_up(page, 1)
    page.get_by_role("button", name="Delete the backup of").click()
    page.get_by_role("button", name="Keep it").click()
    assert len(stored_backups(server)) == 1

    page.get_by_role("button", name="Delete the backup of").click()
    page.get_by_role("button", name="Delete for good").click()
    page.get_by_text("No backups yet").wait_for()
    assert stored_backups(server) == []
    # What is here is in no backup any more, and says so.
    page.locator("sync-status[data-state=unsynced]").wait_for()
    assert page.evaluate("document.activeElement.id") == "backups"


def test_a_failure_is_told_where_it_happened(page, wire):
    page.route("**/api/backup/list", lambda route: route.fulfill(status=400, json={"error": "No."}))
    page.reload()
    page.get_by_role("alert").get_by_text("No.").wait_for()
    page.unroute("**/api/backup/list")
    page.get_by_role("button", name="Try again").click()
    page.get_by_text("No backups yet").wait_for()

    wire.answers = [(413, {}, {"error": "The body is too large."})]
    add_atom(page, "Tide table")
    page.get_by_role("button", name="Back up now").click()
    page.get_by_text("Not backed up: The body is too large.").wait_for()


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
    page.reload()
    page.get_by_role("button", name="Restore from").click()
    page.get_by_role("heading", name="Comes back: 6").wait_for()
    shown = page.locator("#restore-preview .record").all_text_contents()
    assert shown == [*HOSTILE, "Snapshots: <i>note</i>"]
    page.get_by_role("dialog").get_by_role("button", name="Restore").click()
    page.get_by_text("Restored: 6 records came back.").wait_for()
    assert sorted(atom_titles(page)) == sorted(HOSTILE)
    assert page.locator("#owned, main img, main script").count() == 0
    assert page.title() == "Atoms and their backups"


def test_everything_can_be_done_with_the_keyboard(page, server):
    def press_on(role, name):
        page.get_by_role(role, name=name).first.focus()
        page.keyboard.press("Enter")

    # Tab reaches each control; where the focus is can be seen.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "back-up"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"

    press_on("button", "Add an atom")
    assert page.evaluate("document.activeElement.id") == "atom-title"
    page.keyboard.type("Tide table")
    page.keyboard.press("Enter")
    page.get_by_text("Tide table").wait_for()
    press_on("button", "Back up now")
    page.locator(".entry").wait_for()
    assert page.evaluate("document.activeElement.id") == "back-up"

    press_on("button", "Restore from")
    page.get_by_text("All of it is here already").wait_for()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.ariaLabel").startswith("Restore from")
    press_on("button", "Delete the backup of")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("No backups yet").wait_for()
    assert stored_backups(server) == []


def test_a_screen_reader_hears_what_the_eyes_see(page):
    add_atom(page, "Tide table")
    back_up(page, 1)
    tree = page.locator("body").aria_snapshot()
    for line in (
        'heading "Backups" [level=1]',
        'heading "Today" [level=2]',
        "1 backup on 1 day of the last 30",
        "status: Backed up at",
        'button "Restore from the backup of Today,',
        'button "Edit Tide table"',
    ):
        assert line in tree


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", list(WIDTHS))
def test_axe_finds_no_violation(page, server, width, scheme):
    counts = [3, 1, 2]
    for number in counts:
        notes = [{"id": f"s{n}", "title": f"Frame {n}"} for n in range(number)]
        server.upload({"atoms": [{"slug": "2026-01-01-a", "title": "Hum"}], "snapshots": notes})
    page.set_viewport_size(WIDTHS[width])
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.evaluate(AXE.read_text())
    add_atom(page, "Tide table")
    page.locator("sync-status[data-state=unsynced]").wait_for()
    assert_accessible(page)
    back_up(page, 4)
    assert_accessible(page)

    page.get_by_role("button", name="Restore from").nth(1).click()
    page.get_by_role("heading", name="Comes back").wait_for()
    assert_accessible(page)
    page.get_by_role("dialog").get_by_role("button", name="Restore").click()
    page.get_by_role("button", name="Undo the restore").wait_for()
    assert_accessible(page)
    page.get_by_role("button", name="Delete the backup of").first.click()
    assert_accessible(page)
    page.get_by_role("button", name="Keep it").click()
    page.get_by_role("button", name="Add an atom").click()
    assert_accessible(page)


def assert_accessible(page):
    """No violation of axe's rules, and nothing to scroll sideways."""
    result = page.evaluate("axe.run()")
    assert [(it["id"], it["nodes"][0]["html"]) for it in result["violations"]] == []
    assert page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )


def test_the_page_keeps_to_its_policy(page, wire):
    policy = page.request.get(f"{wire.url}/").headers["content-security-policy"]
    assert "unsafe" not in policy
    for source in page.evaluate("[...document.scripts].map((script) => script.src)"):
        assert source.startswith(f"{wire.url}/assets/")
    assert page.evaluate("document.querySelectorAll('style, [style], [onclick]').length") == 0


def test_a_long_list_is_shown_in_parts(page, server):
    for _ in range(14):
        server.upload({"atoms": [{"slug": "a"}]})
    page.reload()
    more = page.get_by_role("button", name="Show 2 of 2 older ones")
    more.wait_for()
    assert page.locator(".entry").count() == 12
    more.click()
    assert page.locator(".entry").count() == 14
    focused = (
        "[...document.querySelectorAll('.entry')].indexOf(document.activeElement.closest('li'))"
    )
    assert page.evaluate(focused) == 12
