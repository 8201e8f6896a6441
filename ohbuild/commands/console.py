"""What all commands share: where they print to, how a table looks, and the options that several of them have."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

err = Console(stderr=True)
"""Standard error: progress, notes and errors."""

BasesArgument = Annotated[list[str] | None, typer.Argument(metavar="[BASE]...", help="Bases, such as debian:trixie.")]
PlatformOption = Annotated[
    list[str] | None, typer.Option("--platform", help="Platforms, by comma or repeated: linux/amd64,linux/arm64.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Settings file, instead of ohbuild.toml or pyproject.toml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


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


def note(text: str) -> None:
    """A line that the user should know, on standard error."""
    err.print(f"note: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)
