"""Consoles and table style shared by all commands."""

from __future__ import annotations

import io
import sys
from contextlib import nullcontext
from typing import IO, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ohbuild.cli import ci, github

err = Console(stderr=True)
"""Standard error: progress, notes and errors."""


class _Harmless(io.TextIOBase):
    """Standard output in GitHub Actions: no line of a table can be a command, such as the name of a file in an image.

    ``ci.literal`` is only for standard error: the runner does not keep the order of the two streams.
    """

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of standard output."""
        return sys.stdout.encoding

    def write(self, text: str) -> int:
        return sys.stdout.write(github.harmless(text))

    def flush(self) -> None:
        sys.stdout.flush()


def out() -> Console:
    """Returns a console for standard output; wide if that is not a terminal, so that lines in logs do not wrap."""
    if ci.detect() is ci.Provider.GITHUB:
        return Console(width=160, file=cast(IO[str], _Harmless()))
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
    with ci.literal(err.file) if texts else nullcontext():
        for text in texts:
            err.print(f"note: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)
