"""What all commands share: where they print to and how a table looks."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

err = Console(stderr=True)
"""Standard error: progress, notes and errors."""


def out() -> Console:
    """Standard output; wide where it is no terminal, so that nothing is broken into pieces in a log."""
    return Console() if sys.stdout.isatty() else Console(width=160)


def plain(text: str) -> Text:
    """A table cell that shows ``text`` as it is: nothing in it is markup."""
    return Text(text)


def new_table(*columns: str) -> Table:
    """An empty table in the style of all of ohbuild's."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def note(*texts: str) -> None:
    """Lines that the user should know, on standard error."""
    for text in texts:
        err.print(f"note: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)
