"""The page with years of backups, of several devices, and beside a site."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from support import Server, wait_until

from .conftest import image_nginx
from .driving import longest_task, stored_backups
from .test_page import (
    add_atom,
    back_up,
    choose,
    edit_atom,
    open_backup,
    open_page,
    page,
    reload,
    rows,
    wait_for_headline,
)
from .wire import Wire
from .years import write_years

__all__ = ["page"]

LAPTOP = {"deviceId": "laptop-1", "device": "Laptop"}
PHONE = {"deviceId": "phone-1", "device": "Phone"}


def atoms(number):
    return {"atoms": [{"slug": f"a{n}", "title": f"Atom {n}"} for n in range(number)]}


def lines(page):
    """What the lines of open days say but their times."""
    texts = page.locator(".entry .fold").all_inner_texts()
    return [re.sub(r"^[\d:]+ ", "", " ".join(text.split())) for text in texts]


@pytest.fixture
def years(tmp_path, site, context):
    """``years(number, days, now)``: the page with so many backups, newest at ``now``."""
    started = []

    def start(number, days, now=None):
        write_years(tmp_path / "data", number, days, now)
        server = Server(tmp_path / "data").start()
        nginx = image_nginx(tmp_path / "nginx", site, server)
        wire = Wire(nginx.__enter__().port)
        started.extend([lambda: nginx.__exit__(None, None, None), server.stop])
        started.insert(0, lambda: wire.__exit__(None, None, None))
        return context.new_page(), wire.__enter__()

    yield start
    context.close()
    for stop in started:
        stop()


def test_10_000_backups_are_shown_without_a_long_task_and_gone_through(years):
    page, wire = years(10_000, 1_000, datetime.now(UTC) - timedelta(days=6))
    page.set_viewport_size({"width": 390, "height": 844})
    lengths = []
    with longest_task(page, lengths):
        open_page(page, wire)
        page.locator(".day .fold").nth(700).click()
    print(f"10,000 backups: the longest task took {lengths[0]:.0f} ms of the processor")
    assert lengths[0] < 250
    assert page.locator("#storage").text_content().startswith("10,000 backups on the server: ")
    last = page.locator("#last")
    assert re.match(r"Last backup (6|7) days ago, from (Laptop|Phone)$", last.text_content())
    assert "warning" in last.get_attribute("class")
    caption = page.locator("figcaption").text_content()
    assert re.match(r"[\d,]+ backups on \d+ days of the last year; longest gap \d", caption)
    page.locator(".cells [tabindex='0']").focus()
    page.keyboard.press("Home")
    label = page.evaluate("document.activeElement.ariaLabel")
    page.keyboard.press("Enter")
    day = page.locator(".day:focus-within")
    number = day.locator(".entry").count()
    assert label.endswith(f"{number} backup{'s' if number > 1 else ''}")
    assert page.locator(".day [aria-expanded=true]").count() == 3  # this, the 701st, the newest


def test_each_device_is_compared_with_itself(page, server):
    server.upload(atoms(40) | LAPTOP)
    server.upload(atoms(3) | PHONE)
    server.upload(atoms(41) | LAPTOP)
    server.upload(atoms(2) | PHONE)
    server.upload(atoms(4) | {"deviceId": "phone-2", "device": "Phone"})
    reload(page)
    assert lines(page) == [
        "Phone (phone-2) +2 atoms",
        "Phone (phone-1) −1 atom",
        "Laptop +1 atom",
        "Phone (phone-1) the first: 3 atoms",
        "Laptop the first: 40 atoms",
    ]
    assert page.locator(".lost").count() == 0
    assert page.locator(".day .change").first.text_content() == "5 backups, +2\u00a0atoms"
    # Some of them share a minute.
    assert re.fullmatch(r"\d\d:\d\d:\d\d", page.locator("time").nth(1).text_content())


def test_a_device_with_less_than_another_is_offered_everything(page, server):
    add_atom(page, "Only here")
    back_up(page, 1)
    server.upload(atoms(12) | LAPTOP)
    reload(page)
    page.get_by_role("heading", name="Laptop has 12 records, this device has 1.").wait_for()
    page.get_by_text("12 records will come back. It can be undone.").wait_for()
    button = page.get_by_role(
        "button", name=re.compile("Bring everything back from today .*Laptop")
    )
    button.click()
    page.get_by_text("Restored: 12 records came back.").wait_for()
    assert button.count() == 0 or not button.is_visible()
    assert len(page.locator("#atom-list b").all_text_contents()) == 12  # of 13, in parts

    page.get_by_role("button", name="Undo the restore").click()
    page.get_by_text("Undone: 12 records as before the restore.").wait_for()
    button.click()
    page.get_by_text("Restored: 12 records came back.").wait_for()
    page.get_by_role("button", name="Dismiss").click()
    page.get_by_role("button", name="Undo the restore").wait_for(state="hidden")
    reload(page)
    assert not page.locator("#notice").is_visible()  # nor later
    server.upload(atoms(14) | PHONE)
    reload(page)
    page.get_by_role("button", name="Not on this device").click()
    reload(page)
    wait_for_headline(page, "Everything on this device is backed up")
    assert not page.locator("#offer").is_visible()


def test_a_record_opens_to_its_dates_its_size_and_what_differs(page, server):
    code = "".join(f"line {n}\n" for n in range(30))
    add_atom(page, "Tide table", code + "last\n")
    back_up(page, 1)
    before = server.get("/api/backup/latest").json["data"]
    edit_atom(page, "Tide table", "Tide tables")
    back_up(page, 2)
    notes = [
        {"id": 1, "transcript": "The tide turns", "createdAt": "2026-01-02T10:00:00Z"},
        {"id": 2, "transcript": "", "createdAt": "2026-01-03T10:00:00Z"},
    ]
    server.upload(before | {"voiceNotes": notes})
    reload(page)
    dialog = open_backup(page)
    assert [row[0] for row in rows(dialog)] == ["Tide table", "The tide turns", "2"]
    assert dialog.get_by_text("transcripts, no audio").count() == 1
    dialog.get_by_role("button", name="Show Tide table").click()
    assert dialog.get_by_text("In the backup: Today, ").is_visible()
    assert dialog.get_by_text("Here: Today, ").is_visible()
    assert dialog.locator("pre[aria-label=code]").inner_text().startswith("line 0\nline 1\n")
    details = dialog.locator("pre[aria-label=Details]")
    assert '"title": "Tide tables"' in details.locator("del").first.inner_text()
    assert '"title": "Tide table"' in details.locator("ins").first.inner_text()


def test_a_day_is_thinned_to_its_newest_and_to_what_was_lost_later(page, server):
    ids = [server.upload(atoms(number) | LAPTOP)["id"] for number in (3, 4, 4, 4, 1, 1)]
    phone = server.upload(atoms(2) | PHONE)["id"]
    reload(page)
    choose(page, "More for", "Thin out…")
    dialog = page.get_by_role("dialog")
    button = dialog.get_by_role(
        "button", name="Delete 4 of these 7, keep the newest of each device"
    )
    assert dialog.get_by_text("has what a later one lost").count() == 1
    assert dialog.locator("li").count() == 7
    dialog.get_by_role("button", name="Keep", exact=True).click()
    assert len(stored_backups(server)) == 7

    choose(page, "More for", "Thin out…")
    button.click()
    dialog.wait_for(state="hidden")
    assert [backup["id"] for backup in stored_backups(server)] == [phone, ids[5], ids[3]]
    assert page.locator(".entry").count() == 3


def test_a_selection_is_thinned_and_what_fails_is_said(page, server):
    ids = [server.upload(atoms(3) | LAPTOP)["id"] for _ in range(4)]
    reload(page)
    choose(page, "More for the backup of", "Select", 1)
    boxes = page.locator(".entry input")
    boxes.nth(2).check()
    boxes.nth(3).check()
    assert page.locator("#chosen-text").text_content().startswith("3 backups, ")
    held = f"**/api/backup/{ids[0]}"
    page.route(held, lambda route: route.fulfill(status=400, json={"error": "It is held."}))
    page.get_by_role("button", name="Thin out…").click()
    page.get_by_role("button", name="Delete 2 of these 3, keep the newest").click()
    page.get_by_role("alert").get_by_text("It is held.").wait_for()
    assert [backup["id"] for backup in stored_backups(server)] == [ids[3], ids[2], ids[0]]
    page.unroute(held)
    page.get_by_role("button", name="Delete 2 of these 3, keep the newest").click()
    page.get_by_role("dialog").wait_for(state="hidden")
    assert [backup["id"] for backup in stored_backups(server)] == [ids[3], ids[2]]


def test_a_deletion_is_confirmed_and_says_that_the_device_backs_up_again(page, server):
    server.upload(atoms(1) | PHONE)
    add_atom(page, "Tide table")
    add_atom(page, "Slow orbit")
    back_up(page, 2)
    again = "which will back up again at once"
    choose(page, "More for the backup of", "Delete…", 1)
    dialog = page.get_by_role("dialog")
    assert again not in dialog.inner_text()
    dialog.get_by_role("button", name="Keep", exact=True).click()
    assert len(stored_backups(server)) == 2
    choose(page, "More for the backup of", "Delete…", 0)
    assert again in dialog.inner_text()
    dialog.get_by_role("button", name="Delete for good").click()
    dialog.wait_for(state="hidden")
    assert page.evaluate("document.activeElement.id") == "backups"


def test_the_token_can_be_asked_for_again(context, wire):
    page = context.new_page()
    # As after the browser's own dialog was dismissed, which nothing in a page can open or close.
    refused = {"status": 401, "json": {"error": "Send Authorization: Bearer <BACKUP_TOKEN>."}}
    page.route("**/api/**", lambda route: route.fulfill(**refused))
    page.goto(f"{wire.url}/")
    page.get_by_role("heading", name="The server asks for its token").wait_for()
    assert "BACKUP_TOKEN" not in page.locator("main").inner_text()
    page.unroute("**/api/**")
    page.get_by_role("button", name="Ask me again").click()
    page.get_by_text("No backups yet").wait_for()


DATABASE = """new Promise((resolve) => {
    const request = indexedDB.open('eoe-atoms');
    request.onsuccess = () => {
        const { version, objectStoreNames } = request.result;
        const stores = request.result.transaction([...objectStoreNames]);
        const indexes = [...objectStoreNames].map((name) => {
            return [name, [...stores.objectStore(name).indexNames]];
        });
        request.result.close();
        resolve({ version, indexes: Object.fromEntries(indexes) });
    };
})"""


def test_beside_a_site_the_database_is_the_applications(context, wire, server):
    server.upload(atoms(2) | LAPTOP)
    page = context.new_page()
    open_page(page, wire, "/backups/")
    wait_for_headline(page, "Open the application once")
    assert page.get_by_role("link", name="Open the application").is_visible()
    assert page.get_by_role("button", name="Back up now").count() == 0
    assert page.get_by_role("button", name="Add an atom").count() == 0
    assert (
        page.evaluate("indexedDB.databases().then((all) => all.map(({ name }) => name))").count(
            "eoe-atoms"
        )
        == 0
    )

    application = context.new_page()
    application.goto(f"{wire.url}/host/")
    application.evaluate("host.put('atoms', { slug: 'own', title: 'Own' })")
    page.reload()
    page.get_by_role("button", name=re.compile("Bring everything back")).click()
    page.get_by_text("Restored: 2 records came back.").wait_for()
    assert application.evaluate("host.get('atoms', 'a1')")["title"] == "Atom 1"
    # The application can upgrade it while the page is open.
    upgraded = """new Promise((resolve, reject) => {
        const request = indexedDB.open('eoe-atoms', 4);
        request.onsuccess = () => { request.result.close(); resolve(request.result.version); };
        request.onblocked = () => reject(new Error('the page holds it'));
    })"""
    application.evaluate("host.getDB().then((database) => database.close())")
    assert application.evaluate(upgraded) == 4
    assert page.evaluate(DATABASE)["version"] == 4


def test_alone_the_page_makes_the_database_as_the_application_does(page):
    add_atom(page, "Tide table")
    made = page.evaluate(DATABASE)
    assert made["version"] == 3
    assert made["indexes"] == {
        "atoms": ["date", "type"],
        "compositions": ["name", "synced", "updatedAt"],
        "configOverrides": [],
        "screenshots": ["atomSlug", "synced"],
        "snapshots": ["atomSlug", "createdAt", "synced"],
        "voiceNotes": ["atomSlug", "synced"],
    }


#: Resolves to whether the request succeeds without waiting for the page's connection.
UNBLOCKED = """(method, ...parameters) => new Promise((resolve) => {
    const request = indexedDB[method]('eoe-atoms', ...parameters);
    request.onblocked = () => resolve(false);
    request.onsuccess = () => { request.result?.close(); resolve(true); };
})"""


@pytest.mark.parametrize("request_", ["'open', 4", "'deleteDatabase'"], ids=["upgrade", "deletion"])
def test_alone_the_page_keeps_no_other_tab_waiting_and_goes_on(page, context, wire, request_):
    """Another tab upgrades or deletes the database; opening it anew fails at first."""
    add_atom(page, "Tide table")
    page.evaluate(
        """() => {
            const { open } = indexedDB;
            window.refused = 0;
            indexedDB.open = () => { window.refused += 1; throw new Error('no room'); };
            window.allow = () => { indexedDB.open = open; };
        }"""
    )
    other = context.new_page()
    other.goto(f"{wire.url}/404.html")
    assert other.evaluate(f"({UNBLOCKED})({request_})")
    wait_until(lambda: page.evaluate("window.refused"), 20)
    page.evaluate("window.allow()")
    add_atom(page, "High water")
    page.get_by_role("button", name="Back up now").click()
    page.locator("sync-status[data-state=backed-up]").wait_for()
    assert page.evaluate(DATABASE)["version"] == (4 if "4" in request_ else 3)
