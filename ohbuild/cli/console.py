"""Consoles and table style shared by all commands."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

err = Console(stderr=True)
"""Standard error: progress, notes and errors."""


def out() -> Console:
    """Returns a console for standard output; wide if that is not a terminal, so that lines in logs do not wrap."""
    return Console() if sys.stdout.isatty() else Console(width=160)


def plain(text: str) -> Text:
    """Returns a table cell that shows ``text`` literally, without interpreting markup."""
    return Text(text)


def new_table(*columns: str) -> Table:
    """Returns an empty table in ohbuild's style."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def note(*texts: str) -> None:
    """Prints notes for the user to standard error."""
    for text in texts:
        err.print(f"note: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)
