"""``<sync-status>`` says what is true, in words and a shape, to everybody."""

ROOT = "document.querySelector('sync-status').shadowRoot"
REASON = "The storage directory has no room left for this backup: " + "free some space. " * 9


def test_it_starts_without_a_claim_and_then_says_all_with_a_shape_each(context, open_tab, wire):
    context.add_init_script(
        """window.seen = [];
        new MutationObserver((records) => {
            window.seen.push(...records.map(({ target }) => target.dataset.state));
        }).observe(document, { subtree: true, attributeFilter: ['data-state'] });"""
    )
    tab, shapes = open_tab(auto=False), []

    def look(state, text):
        tab.wait_for_state(state, text)
        shapes.append(tab.evaluate(f"{ROOT}.querySelector('path').getAttribute('d')"))

    look("empty", "Nothing to back up yet")
    assert tab.evaluate("window.seen") == ["checking", "empty"]
    assert tab.locator("sync-status").get_attribute("role") == "status"
    tab.put_atom("edited")
    look("unsynced", "1 change not backed up yet")
    context.set_offline(True)
    look("offline", "Offline, 1 change not backed up yet")
    context.set_offline(False)
    wire.gate.clear()
    tab.start_backup()
    look("backing-up", "Backing up…")
    wire.gate.set()
    receipt = tab.evaluate("window.receipt")
    look("backed-up", f"Backed up at {receipt['timestamp'][11:16]}")
    wire.answers = [(413, {}, {"error": "The body is larger than 5 bytes."})]
    tab.failure("createBackup")
    look("error", "Not backed up: The body is larger than 5 bytes.")
    assert len(set(shapes)) == len(shapes) == 6


def test_a_long_error_keeps_to_one_line_and_is_read_on_a_press(open_tab, wire):
    tab = open_tab(auto=False)
    tab.set_viewport_size({"width": 390, "height": 600})
    tab.put_atom("edited")
    text, rest = tab.locator("sync-status .text"), tab.locator("sync-status .rest")
    low = tab.locator("sync-status").bounding_box()["height"]
    assert text.is_disabled()  # all of it is there to be read
    wire.answers = [(400, {}, {"error": REASON})]
    tab.failure("createBackup")
    tab.wait_for_state("error")
    assert tab.locator("sync-status").bounding_box()["height"] <= low + 2
    assert not rest.is_visible()
    text.focus()
    tab.keyboard.press("Enter")
    assert rest.inner_text().strip() == f"Not backed up: {REASON}".strip()
    box = rest.bounding_box()
    assert 0 <= box["x"] < box["x"] + box["width"] <= 390
    tab.keyboard.press("Escape")
    assert not rest.is_visible()


def test_its_look_follows_the_scheme_the_page_and_the_reader(open_tab, wire):
    tab = open_tab(auto=False)

    def style(name):
        return tab.evaluate(f"getComputedStyle({ROOT}.querySelector('svg')).{name}")

    tab.put_atom("edited")
    tab.wait_for_state("unsynced")
    tab.evaluate("document.documentElement.style.colorScheme = 'light dark'")
    light = style("color")
    tab.emulate_media(color_scheme="dark")
    assert style("color") != light
    tab.evaluate("document.documentElement.style.setProperty('--sync-wait', 'rgb(1, 2, 3)')")
    assert style("color") == "rgb(1, 2, 3)"
    tab.emulate_media(forced_colors="active")
    assert style("color") != "rgb(1, 2, 3)"
    wire.gate.clear()
    tab.start_backup()
    tab.wait_for_state("backing-up")
    assert style("animationName") == "rise"
    tab.emulate_media(reduced_motion="reduce")
    assert style("animationName") == "none"
