"""Help that reads like a manual page: exit status, environment and an example after the options."""

import click

#: What every command but ``serve`` exits with, as grep and diff do.
COMMAND_EXITS = [
    ("0", "Done, and nothing was found."),
    ("1", "Something was found: the output says what."),
    ("2", "It was used wrongly, or could not be done: stderr says why, in one line."),
]

DATA_DIR = [("DATA_DIR", "The storage directory; ./data unless it is set.")]


class _Sections:
    """Further sections of a command's help: rows of a term and what it means, by heading."""

    def __init__(
        self, *args: object, sections: dict[str, list[tuple[str, str]]], **options: object
    ):
        super().__init__(*args, **options)
        self.sections = sections

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections where click writes an epilogue."""
        for heading, rows in self.sections.items():
            with formatter.section(heading):
                if all(meaning for _, meaning in rows):
                    formatter.write_dl(rows)
                else:
                    formatter.write("".join(f"{'':>2}{term}\n" for term, _ in rows))


class ManualCommand(_Sections, click.Command):
    """A command with further sections in its help."""


class ManualGroup(_Sections, click.Group):
    """A group with further sections in its help."""
