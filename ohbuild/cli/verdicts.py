"""The output of ``ohbuild verify``: a table of points and images, the reasons below it, and data."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ohbuild.cli import ci
from ohbuild.cli.console import new_table, plain
from ohbuild.verify.model import State
from ohbuild.verify.points import point_names
from ohbuild.verify.run import PointResult, Subject, Verdict

MARKS = {State.OK: ("✓", "green"), State.FAILED: ("✗", "red"), State.SKIPPED: ("–", "dim"), None: ("·", "dim")}


def titles(subjects: Sequence[Subject]) -> list[str]:
    """Returns column titles: the label, without its common prefix up to a ``/`` or ``:``, and the mode."""
    labels = [subject.label for subject in subjects]
    common = os.path.commonprefix(labels)
    cut = max(common.rfind("/"), common.rfind(":")) + 1
    return [subject.title[cut:] or subject.title for subject in subjects]


def table(subjects: Sequence[Subject], results: Mapping[Subject, Sequence[PointResult]]) -> Table:
    """Returns the table of points and images, with the results so far."""
    out = new_table("point", *titles(subjects))
    states = {subject: {item.name: item.state for item in results.get(subject, ())} for subject in subjects}
    seen = {name for known in states.values() for name in known}
    names = [name for name in point_names() if name in seen]
    names += sorted(seen - set(names))  # components of extensions
    for name in names:
        out.add_row(plain(name), *(Text(*MARKS[states[subject].get(name)]) for subject in subjects))
    return out


def reasons(verdicts: Sequence[Verdict]) -> list[tuple[str, str]]:
    """Returns the lines below the table, with their style: why points failed or were skipped."""
    lines = []
    for title, verdict in zip(titles([verdict.subject for verdict in verdicts]), verdicts, strict=True):
        for point in verdict.points:
            mark, style = MARKS[point.state]
            if point.state is State.FAILED:
                lines += [(f"{mark} {title}: {point.name}: {reason}", style) for reason in point.reasons]
                if point.name == "server":
                    lines += [(f"    | {line}", "dim") for line in verdict.log]
        skipped: dict[str, list[str]] = {}
        for point in verdict.points:
            if point.state is State.SKIPPED:
                skipped.setdefault("; ".join(point.reasons), []).append(point.name)
        lines += [(f"– {title}: {', '.join(names)}: {reason}", "dim") for reason, names in skipped.items()]
    return lines


def print_verdicts(console: Console, verdicts: Sequence[Verdict]) -> None:
    """Prints the table, then the reasons."""
    console.print(table([item.subject for item in verdicts], {item.subject: item.points for item in verdicts}))
    for text, style in reasons(verdicts):
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def as_data(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Returns verdicts as data; times are in seconds."""
    return [
        {
            "image": verdict.subject.label,
            "digest": verdict.subject.digest or None,
            "platform": str(verdict.subject.platform),
            "mode": verdict.subject.mode.name,
            "ok": verdict.ok,
            "seconds": verdict.seconds,
            "start_seconds": verdict.start_seconds,
            "points": [asdict(item) for item in verdict.points],
            "log": list(verdict.log),
        }
        for verdict in verdicts
    ]


class View(Live):
    """Progress: a table that fills up on a terminal, a line per image elsewhere. Also the listener.

    Args:
        console: Where it is shown.
        subjects: The images that are verified.
    """

    def __init__(self, console: Console, subjects: Sequence[Subject]) -> None:
        self._subjects = subjects
        self._results: dict[Subject, list[PointResult]] = {}
        self._begin = time.monotonic()
        self._redrawn = ci.is_live(console)
        super().__init__(console=console, get_renderable=self._table, auto_refresh=self._redrawn, transient=True)

    def start(self, refresh: bool = False) -> None:
        """Starts redrawing the table, unless lines are printed instead."""
        if self._redrawn:
            super().start(refresh)

    def __call__(self, subject: Subject, result: PointResult | Verdict) -> None:
        """Takes the result of a point, or the verdict on an image."""
        if isinstance(result, PointResult):
            self._results.setdefault(subject, []).append(result)
        elif not self._redrawn:
            failed = ", ".join(point.name for point in result.failed)
            end = f"failed: {failed}" if failed else "ok"
            self.console.print(
                f"{subject.title}: {end} ({result.seconds:.0f}s)", markup=False, highlight=False, soft_wrap=True
            )

    def _table(self) -> Table:
        out = table(self._subjects, self._results)
        out.caption = f"{time.monotonic() - self._begin:.0f}s"
        return out
