"""``<sync-status>`` says what is true, in words and a shape, to everybody."""

import pytest

from .driving import back_up, put_atom, wait_for_status

ROOT = "document.querySelector('sync-status').shadowRoot"
REASON = "The storage directory has no room left for this backup: " + "free some space. " * 9


@pytest.fixture
def seen():
    """The words, as they are, and the shapes seen so far by state."""
    return {}


def expect(page, seen, state, text=None):
    """Wait for a state, and for its words; keep its shape."""
    element = page.locator(f"sync-status[data-state={state}]")
    element.wait_for()
    assert element.get_attribute("role") == "status"
    if text:
        element.get_by_text(text, exact=True).wait_for()
    seen[state] = page.evaluate(f"{ROOT}.querySelector('path').getAttribute('d')")


def test_it_starts_without_a_claim(context, wire, seen):
    page = context.new_page()
    page.add_init_script(
        """window.seen = [];
        new MutationObserver((records) => {
            window.seen.push(...records.map(({ target }) => target.dataset.state));
        }).observe(document, { subtree: true, attributeFilter: ['data-state'] });"""
    )
    page.goto(f"{wire.url}/host/")
    put_atom(page, "edited")
    page.reload()
    expect(page, seen, "unsynced")
    assert page.evaluate("window.seen") == ["checking", "unsynced"]


def test_it_follows_edits_uploads_failures_and_the_network_with_a_shape_each(
    context, tab, wire, seen
):
    page, other = tab(), tab()
    expect(page, seen, "empty", "Nothing to back up yet")
    put_atom(page, "edited", 8_000_000)
    for each in (page, other):
        expect(each, seen, "unsynced", "1 change not backed up yet")
    context.set_offline(True)
    expect(page, seen, "offline", "Offline, 1 change not backed up yet")
    context.set_offline(False)

    wire.upload_rate = 4_000_000
    page.evaluate(
        f"""() => {{
            window.values = [];
            const progress = {ROOT}.querySelector('progress');
            window.addEventListener(host.client.STATUS_EVENT, () => {{
                if (!progress.hidden) window.values.push(progress.value);
            }});
        }}"""
    )
    page.evaluate("void (window.receipt = host.client.createBackup())")
    expect(page, seen, "backing-up", "Backing up…")
    receipt = page.evaluate("window.receipt")
    for each in (page, other):
        expect(each, seen, "backed-up", f"Backed up at {receipt['timestamp'][11:16]}")
    values = page.evaluate("window.values")
    assert values == sorted(values)
    assert any(0 < value < 1 for value in values)

    wire.answers = [(413, {}, {"error": "The body is larger than 5 bytes."})]
    page.evaluate("host.client.createBackup().catch(() => {})")
    expect(page, seen, "error", "Not backed up: The body is larger than 5 bytes.")
    put_atom(page, "another")
    wait_for_status(page, unsyncedCount=1)
    expect(page, seen, "error")
    assert len(set(seen.values())) == len(seen) == 6
    back_up(page)
    expect(page, seen, "backed-up")


def test_a_long_error_keeps_to_one_line_and_is_read_on_a_press(tab, wire, seen):
    page = tab()
    page.set_viewport_size({"width": 390, "height": 600})
    put_atom(page, "edited")
    height = "document.querySelector('sync-status').getBoundingClientRect().height"
    low = page.evaluate(height)
    text, rest = page.locator("sync-status .text"), page.locator("sync-status .rest")
    assert text.is_disabled()  # all of it is there to be read
    wire.answers = [(400, {}, {"error": REASON})]
    page.evaluate("host.client.createBackup().catch(() => {})")
    expect(page, seen, "error")
    assert page.evaluate(height) <= low + 2
    assert not rest.is_visible()
    text.focus()
    page.keyboard.press("Enter")
    assert rest.inner_text().strip() == f"Not backed up: {REASON}".strip()
    box = rest.bounding_box()
    assert 0 <= box["x"] < box["x"] + box["width"] <= 390
    page.keyboard.press("Escape")
    assert not rest.is_visible()


def test_its_look_follows_the_scheme_the_page_and_the_reader(tab, wire, seen):
    page = tab()
    style = f"getComputedStyle({ROOT}.querySelector('svg'))"
    put_atom(page, "edited")
    expect(page, seen, "unsynced")
    page.evaluate("document.documentElement.style.colorScheme = 'light dark'")
    light = page.evaluate(f"{style}.color")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(f"{style}.color") != light
    page.evaluate("document.documentElement.style.setProperty('--sync-wait', 'rgb(1, 2, 3)')")
    assert page.evaluate(f"{style}.color") == "rgb(1, 2, 3)"
    page.emulate_media(forced_colors="active")
    assert page.evaluate(f"{style}.color") != "rgb(1, 2, 3)"

    wire.gate.clear()
    page.evaluate("void (window.receipt = host.client.createBackup())")
    expect(page, seen, "backing-up")
    assert page.evaluate(f"{style}.animationName") == "rise"
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(f"{style}.animationName") == "none"
    wire.gate.set()
    page.evaluate("window.receipt")
