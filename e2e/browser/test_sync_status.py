"""``<sync-status>`` says what is true, in words and a shape, to everybody."""

import pytest

from .driving import back_up, put_atom, wait_for_status


@pytest.fixture
def element_of():
    """What the element shows: its state, its words, and the shape of its icon."""

    def read(page):
        return page.evaluate(
            """() => {
                const element = document.querySelector('sync-status');
                const root = element.shadowRoot;
                const progress = root.querySelector('progress');
                return {
                    state: element.dataset.state,
                    role: element.getAttribute('role'),
                    text: root.querySelector('.text').textContent,
                    icon: root.querySelector('path').getAttribute('d'),
                    progress: progress.hidden ? null : progress.value,
                };
            }"""
        )

    return read


def wait_for_state(page, state):
    page.locator(f"sync-status[data-state={state}]").wait_for()


def test_it_starts_without_a_claim(context, wire):
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
    wait_for_state(page, "unsynced")
    assert page.evaluate("window.seen") == ["checking", "unsynced"]


def test_it_needs_no_automatic_backups_to_say_what_is_true(tab):
    first, second = tab(), tab()
    put_atom(first, "edited")
    for page in (first, second):
        wait_for_state(page, "unsynced")
    back_up(first)
    for page in (first, second):
        wait_for_state(page, "backed-up")
    second.evaluate("document.querySelector('sync-status').remove()")
    put_atom(first, "edited")
    wait_for_state(first, "unsynced")


def test_it_follows_an_edit_and_its_backup(tab, wire, element_of):
    page = tab(auto=True)
    wait_for_state(page, "empty")
    assert element_of(page)["text"] == "Nothing to back up yet"
    assert element_of(page)["role"] == "status"

    put_atom(page, "edited")
    wait_for_state(page, "unsynced")
    assert element_of(page)["text"] == "1 change not backed up yet"

    wire.gate.clear()
    page.evaluate("void (window.receipt = host.client.createBackup())")
    wait_for_state(page, "backing-up")
    assert element_of(page)["text"] == "Backing up…"
    wire.gate.set()
    receipt = page.evaluate("window.receipt")
    wait_for_state(page, "backed-up")
    clock = receipt["timestamp"][11:16]
    assert element_of(page)["text"] == f"Backed up at {clock}"


def test_the_progress_bar_is_the_uploads(tab, wire):
    page = tab()
    put_atom(page, "large", 8_000_000)
    wire.upload_rate = 4_000_000
    page.evaluate(
        """() => {
            window.values = new Set();
            const root = document.querySelector('sync-status').shadowRoot;
            const progress = root.querySelector('progress');
            window.addEventListener(host.client.STATUS_EVENT, () => {
                if (!progress.hidden) window.values.add(progress.value);
            });
        }"""
    )
    back_up(page)
    values = page.evaluate("[...window.values]")
    assert values == sorted(values)
    assert len([value for value in values if 0 < value < 1]) >= 1


def test_an_error_stays_until_something_succeeds(tab, wire, element_of):
    page = tab(auto=True)
    put_atom(page, "edited")
    wire.answers = [(413, {}, {"error": "The body is larger than 5 bytes."})]
    page.evaluate("host.client.createBackup().catch(() => {})")
    wait_for_state(page, "error")
    put_atom(page, "another")
    wait_for_status(page, unsyncedCount=2)
    shown = element_of(page)
    assert shown["state"] == "error"
    assert shown["text"] == "Not backed up: The body is larger than 5 bytes."

    back_up(page)
    wait_for_state(page, "backed-up")


def test_it_tells_that_it_is_offline(context, tab, element_of):
    page = tab(auto=True)
    put_atom(page, "edited")
    wait_for_status(page, unsyncedCount=1)
    context.set_offline(True)
    wait_for_state(page, "offline")
    assert element_of(page)["text"] == "Offline, 1 change not backed up yet"
    context.set_offline(False)
    wait_for_state(page, "backed-up")


def test_no_two_states_share_a_shape(tab, wire, context, element_of):
    page = tab()
    icons = {"checking or empty": element_of(page)["icon"]}
    put_atom(page, "edited")
    page.evaluate("host.client.getUnsyncedCount()")
    icons["unsynced"] = element_of(page)["icon"]
    context.set_offline(True)
    wait_for_state(page, "offline")
    icons["offline"] = element_of(page)["icon"]
    context.set_offline(False)
    wire.answers = [(400, {}, {"error": "No."})]
    page.evaluate("host.client.createBackup().catch(() => {})")
    icons["error"] = element_of(page)["icon"]
    back_up(page)
    icons["backed-up"] = element_of(page)["icon"]
    assert len(set(icons.values())) == len(icons)


def test_reduced_motion_and_forced_colours_are_respected(tab, wire):
    page = tab()
    put_atom(page, "edited")
    wire.gate.clear()
    page.evaluate("void (window.receipt = host.client.createBackup())")
    wait_for_state(page, "backing-up")
    style = """getComputedStyle(
        document.querySelector('sync-status').shadowRoot.querySelector('svg'))"""
    assert page.evaluate(f"{style}.animationName") == "rise"
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(f"{style}.animationName") == "none"

    own = page.evaluate(f"{style}.color")
    page.emulate_media(forced_colors="active")
    assert page.evaluate(f"{style}.color") != own
    wire.gate.set()
    page.evaluate("window.receipt")


def test_a_long_error_keeps_to_one_line_and_is_read_on_a_press(tab, wire):
    page = tab()
    page.set_viewport_size({"width": 390, "height": 600})
    put_atom(page, "edited")
    height = "document.querySelector('sync-status').getBoundingClientRect().height"
    low = page.evaluate(height)
    text = page.locator("sync-status .text")
    assert text.is_disabled()  # all of it is there to be read
    reason = "The storage directory has no room left for this backup: " + "free some space. " * 9
    wire.answers = [(400, {}, {"error": reason})]
    page.evaluate("host.client.createBackup().catch(() => {})")
    wait_for_state(page, "error")
    assert page.evaluate(height) <= low + 2
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

    rest = page.locator("sync-status .rest")
    assert not rest.is_visible()
    text.focus()
    page.keyboard.press("Enter")
    assert rest.inner_text().strip() == f"Not backed up: {reason}".strip()
    box = rest.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    page.keyboard.press("Escape")
    assert not rest.is_visible()


def test_its_colours_follow_the_scheme_and_can_be_set(tab):
    page = tab()
    wait_for_state(page, "empty")
    put_atom(page, "edited")
    page.evaluate("host.client.getUnsyncedCount()")
    wait_for_state(page, "unsynced")
    root = "document.documentElement.style"
    page.evaluate(f"{root}.colorScheme = 'light dark'")
    colour = """getComputedStyle(
        document.querySelector('sync-status').shadowRoot.querySelector('svg')).color"""
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(colour) != light
    page.evaluate(f"{root}.setProperty('--sync-wait', 'rgb(1, 2, 3)')")
    assert page.evaluate(colour) == "rgb(1, 2, 3)"
