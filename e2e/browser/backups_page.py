"""The words of the tests of the Backups page: what a person does there, and sees."""

from .driving import Tab


def open_page(page, wire, path="/"):
    """Open the Backups page, and wait until the list is drawn to its end."""
    opened = BackupsPage(page)
    page.goto(f"{wire.url}{path}")
    opened.wait_for_list()
    return opened


class BackupsPage(Tab):
    def wait_for_list(self):
        self.locator("#timeline[aria-busy=false]").wait_for(state="attached")

    def reload(self):
        self.page.reload()
        self.wait_for_list()

    def button(self, name, exact=False):
        return self.get_by_role("button", name=name, exact=exact)

    def wait_for_headline(self, text):
        self.get_by_role("heading", level=1, name=text, exact=True).wait_for()

    def back_up(self):
        """Press the button for it, and wait until the list has one backup more."""
        count = self.locator(".entry").count()
        self.button("Back up now").click()
        self.locator(".entry").nth(count).wait_for()
        self.wait_for_state("backed-up")

    def add_atom(self, title, code="const a = 1;"):
        self.button("Add an atom").click()
        self.get_by_label("Code or notes").fill(code)
        self._save(title)

    def edit_atom(self, title, new_title):
        self.button(f"Edit {title}").click()
        self._save(new_title)

    def _save(self, title):
        self.get_by_label("Title").fill(title)
        self.button("Save").click()
        self.locator("#atom-dialog").wait_for(state="hidden")

    def wait_for_titles(self, *titles):
        """Wait until these are the titles of the atoms in the list, in any order."""
        for title in titles:
            self.locator("#atom-list").get_by_text(title, exact=True).wait_for()
        shown = self.locator("#atom-list b")
        shown.nth(len(titles)).wait_for(state="detached")
        assert sorted(shown.all_text_contents()) == sorted(titles)

    def choose(self, menu, choice, number=0):
        """Choose from a menu of the list; by default the newest one's."""
        self.button(menu).nth(number).click()
        self.locator("#menu").get_by_role("button", name=choice).click()

    def choose_of_backup(self, choice, number=0):
        self.choose("More for the backup of", choice, number)

    @property
    def dialog(self):
        return self.get_by_role("dialog")

    def open_backup(self, number=0):
        """Look inside a backup, the newest is 0; wait until its records are there."""
        self.choose_of_backup("Look inside…", number)
        self._wait_until_inside()

    def choose_file(self, text, name="backup.json"):
        with self.expect_file_chooser() as chooser:
            self.button("Restore from a file").click()
        file = {"name": name, "mimeType": "application/json", "buffer": text}
        chooser.value.set_files(files=[file])
        self._wait_until_inside()

    def _wait_until_inside(self):
        self.dialog.locator("#inside-list[aria-busy=false]").wait_for(state="attached")

    def rows(self):
        """What is shown of each record inside: its title, and how it stands here."""
        return [text.split("\n") for text in self.dialog.locator("li label").all_inner_texts()]

    def wait_for_rows(self, count):
        rows = self.locator("#inside-list li")
        rows.nth(count).wait_for(state="detached")
        if count:
            rows.nth(count - 1).wait_for()
