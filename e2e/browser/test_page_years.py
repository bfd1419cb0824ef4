"""The page with years of backups, of several devices, and beside a site."""

import json
import random
import re
from datetime import UTC, datetime, timedelta

import pytest
from support import wait_until

from .backups_page import open_page
from .driving import KEY_PATHS, Trace

LAPTOP = {"deviceId": "laptop-1", "device": "Laptop"}
PHONE = {"deviceId": "phone-1", "device": "Phone"}


def atoms(number):
    return {"atoms": [{"slug": f"a{n}", "title": f"Atom {n}"} for n in range(number)]}


def write_years(directory, number, days, newest):
    """Write so many backups over so many days: as files, since uploads would take minutes."""
    choose = random.Random(7)
    for age in choose.sample(range(days * 86_400), number):
        made = newest - timedelta(seconds=age)
        id, timestamp = f"{made:%Y-%m-%dT%H-%M-%S}", f"{made:%Y-%m-%dT%H:%M:%S}Z"
        device = choose.choices(("Laptop", "Phone"), (4, 1))[0]
        document = {"id": id, "timestamp": timestamp, "deviceId": device, "device": device}
        counts = {name: choose.randrange(9, 12) for name in KEY_PATHS}
        data = {name: [{KEY_PATHS[name]: n} for n in range(counts[name])] for name in counts}
        (directory / f"backup-{id}.json").write_text(json.dumps(document | {"data": data}))


#: Marks when the list's first answer was there, and when its newest backup was shown.
MARK_TIMES = """new MutationObserver((_, observer) => {
    if (!document.querySelector('.entry')) return;
    observer.disconnect();
    const resources = performance.getEntriesByType('resource');
    const list = resources.find(({ name }) => name.includes('/api/backup/list?limit=500'));
    performance.mark('answered', { startTime: list.responseEnd });
    performance.mark('shown');
}).observe(document, { childList: true, subtree: true });"""


def test_10_000_backups_are_shown_without_a_long_task_and_gone_through(context, wire, server):
    write_years(server.data_dir, 10_000, 1_000, datetime.now(UTC) - timedelta(days=6))
    page = context.new_page()
    page.set_viewport_size({"width": 390, "height": 844})
    page.add_init_script(MARK_TIMES)
    with Trace(page) as trace:
        page = open_page(page, wire)
        page.locator(".day .fold").nth(700).click()
    longest, shown = max(trace.tasks()), sum(trace.tasks("answered", "shown"))
    print(f"10,000 backups: the newest is shown after {shown:.0f} ms of the page's processor time")
    print(f"the longest task takes {longest:.0f} ms of it")
    assert longest < 100
    assert 0 < shown < 1000
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
    number = page.locator(".day:focus-within .entry").count()
    assert label.endswith(f"{number} backup{'s' if number > 1 else ''}")
    assert page.locator(".day [aria-expanded=true]").count() == 3  # this, the 701st, the newest


def test_each_device_is_compared_with_itself(page, server):
    again = {"deviceId": "phone-2", "device": "Phone"}  # its site data were cleared
    made = [(40, LAPTOP), (3, PHONE), (41, LAPTOP), (2, PHONE), (4, again)]
    for number, device in made:
        server.upload(atoms(number) | device)
    page.reload()
    texts = page.locator(".entry .fold").all_inner_texts()
    assert [re.sub(r"^[\d:]+ ", "", " ".join(text.split())) for text in texts] == [
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
    page.add_atom("Only here")
    page.back_up()
    server.upload(atoms(12) | LAPTOP)
    page.reload()
    page.get_by_role("heading", name="Laptop has 12 records, this device has 1.").wait_for()
    page.get_by_text("12 records will come back. It can be undone.").wait_for()
    everything = page.button(re.compile("Bring everything back from today .*Laptop"))
    everything.click()
    page.get_by_text("Restored: 12 records came back.").wait_for()
    everything.wait_for(state="hidden")
    assert len(page.locator("#atom-list b").all_text_contents()) == 12  # of 13, in parts
    page.button("Undo the restore").click()
    page.get_by_text("Undone: 12 records as before the restore.").wait_for()
    everything.click()
    page.get_by_text("Restored: 12 records came back.").wait_for()
    page.button("Dismiss").click()
    page.button("Undo the restore").wait_for(state="hidden")
    server.upload(atoms(14) | PHONE)
    page.reload()
    assert not page.locator("#notice").is_visible()  # nor later
    page.button("Not on this device").click()
    page.reload()
    page.wait_for_headline("Everything on this device is backed up")
    assert not page.locator("#offer").is_visible()


def test_a_record_opens_to_its_dates_its_size_and_what_differs(page, server):
    page.add_atom("Tide table", "".join(f"line {n}\n" for n in range(30)))
    page.back_up()
    before = server.get("/api/backup/latest").json["data"]
    page.edit_atom("Tide table", "Tide tables")
    page.back_up()
    notes = [
        {"id": 1, "transcript": "The tide turns", "createdAt": "2026-01-02T10:00:00Z"},
        {"id": 2, "transcript": "", "createdAt": "2026-01-03T10:00:00Z"},
    ]
    server.upload(before | {"voiceNotes": notes})
    page.reload()
    page.open_backup()
    assert [row[0] for row in page.rows()] == ["Tide table", "The tide turns", "2"]
    assert page.dialog.get_by_text("transcripts, no audio").count() == 1
    page.button("Show Tide table").click()
    for words in ("In the backup: Today, ", "Here: Today, "):
        page.dialog.get_by_text(words).wait_for()
    assert page.locator("pre[aria-label=code]").inner_text().startswith("line 0\nline 1\n")
    details = page.locator("pre[aria-label=Details]")
    assert '"title": "Tide tables"' in details.locator("del").first.inner_text()
    assert '"title": "Tide table"' in details.locator("ins").first.inner_text()


def test_a_day_or_a_selection_is_thinned_and_what_fails_is_said(page, server):
    ids = [server.upload(atoms(number) | LAPTOP)["id"] for number in (3, 4, 4, 4, 1, 1)]
    phone = server.upload(atoms(2) | PHONE)["id"]
    page.reload()
    page.choose("More for", "Thin out…")
    assert page.dialog.get_by_text("has what a later one lost").count() == 1
    assert page.dialog.locator("li").count() == 7
    page.dialog.get_by_role("button", name="Keep", exact=True).click()
    assert len(server.listed()) == 7
    page.choose_of_backup("Select", 4)
    for number in (5, 6):
        page.locator(".entry input").nth(number).check()
    assert page.locator("#chosen-text").text_content().startswith("3 backups, ")
    held = f"**/api/backup/{ids[0]}"
    page.route(held, lambda route: route.fulfill(status=400, json={"error": "It is held."}))
    page.button("Thin out…").click()
    page.button("Delete 2 of these 3, keep the newest").click()
    page.get_by_role("alert").get_by_text("It is held.").wait_for()
    page.unroute(held)
    page.button("Delete 2 of these 3, keep the newest").click()
    page.dialog.wait_for(state="hidden")
    page.choose("More for", "Thin out…")
    page.button("Delete 2 of these 5, keep the newest of each device").click()
    page.dialog.wait_for(state="hidden")
    assert server.listed() == [phone, ids[5], ids[3]]
    assert page.locator(".entry").count() == 3


def test_a_deletion_is_confirmed_and_says_that_the_device_backs_up_again(page, server):
    server.upload(atoms(1) | PHONE)
    page.add_atom("Tide table")
    page.add_atom("Slow orbit")
    page.back_up()
    again = "which will back up again at once"
    page.choose_of_backup("Delete…", 1)
    assert again not in page.dialog.inner_text()
    page.dialog.get_by_role("button", name="Keep", exact=True).click()
    assert len(server.listed()) == 2
    page.choose_of_backup("Delete…", 0)
    assert again in page.dialog.inner_text()
    page.dialog.get_by_role("button", name="Delete for good").click()
    page.dialog.wait_for(state="hidden")
    assert page.evaluate("document.activeElement.id") == "backups"


#: Whether the page's connection lets the request succeed. It may be blocked first, until the
#: transactions of other pages have ended.
UNBLOCKED = """([method, ...parameters]) => new Promise((resolve) => {
    const request = indexedDB[method]('eoe-atoms', ...parameters);
    setTimeout(resolve, 10_000, false);
    request.onsuccess = () => { request.result?.close(); resolve(true); };
})"""

#: The version, and each store with its indexes.
DATABASE = """async () => {
    const request = indexedDB.open('eoe-atoms');
    await new Promise((resolve) => { request.onsuccess = resolve; });
    const { version, objectStoreNames } = request.result;
    const transaction = request.result.transaction([...objectStoreNames]);
    request.result.close();
    const store = (name) => [name, ...transaction.objectStore(name).indexNames].join(' ');
    return [version, ...Array.from(objectStoreNames, store)];
}"""


def test_beside_a_site_the_database_is_the_applications(context, wire, server):
    server.upload(atoms(2) | LAPTOP)
    application = context.new_page()
    application.goto(f"{wire.url}/host/")
    application.evaluate("host.put('atoms', { slug: 'own', title: 'Own' })")
    page = open_page(context.new_page(), wire, "/backups/")
    assert page.button("Add an atom").count() == 0
    page.button(re.compile("Bring everything back")).click()
    page.get_by_text("Restored: 2 records came back.").wait_for()
    assert application.evaluate("host.get('atoms', 'a1')")["title"] == "Atom 1"
    # The application can upgrade it while the page is open.
    application.evaluate("host.getDB().then((database) => database.close())")
    assert application.evaluate(UNBLOCKED, ["open", 4])
    assert page.evaluate(DATABASE)[0] == 4


@pytest.mark.parametrize(("request_", "version"), [(["open", 4], 4), (["deleteDatabase"], 3)])
def test_alone_the_page_makes_it_keeps_no_tab_waiting_and_goes_on(
    page, context, wire, request_, version
):
    """Another tab upgrades or deletes the database; opening it anew fails at first."""
    page.add_atom("Tide table")
    assert page.evaluate(DATABASE) == [
        3,
        "atoms date type",
        "compositions name synced updatedAt",
        "configOverrides",
        "screenshots atomSlug synced",
        "snapshots atomSlug createdAt synced",
        "voiceNotes atomSlug synced",
    ]
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
    assert other.evaluate(UNBLOCKED, request_)
    page.button("Back up now").click()
    wait_until(lambda: page.evaluate("window.refused"))
    page.evaluate("window.allow()")
    page.add_atom("High water")
    page.button("Back up now").click()
    page.wait_for_state("backed-up")
    assert page.evaluate(DATABASE)[0] == version
