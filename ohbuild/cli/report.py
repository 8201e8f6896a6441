"""The output of commands: live progress, plain lines, the final table, JSON and errors."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.filesize import decimal
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from ohbuild.cli import ci
from ohbuild.cli.streams import encodable_json
from ohbuild.docker.progress import Event
from ohbuild.docker.supervise import Listener
from ohbuild.errors import BuildFailed, ExitCode, OhbuildError, SeveralErrors

if TYPE_CHECKING:  # `check` uses this module too, without loading the bake
    from ohbuild.bake.job import Result
    from ohbuild.bake.run import Outcome


_HIDDEN_AFTER = 0.5
"""Seconds of work after which a target that was not requested is shown."""


class LiveView(Live):
    """Live progress, a line per target: state, current step, steps done and cached, time. Also the listener.

    Args:
        console: Where it is shown.
        targets: Names of the targets that were requested.
    """

    def __init__(self, console: Console, targets: Sequence[str]) -> None:
        self._rows = {target: _Row() for target in targets}
        super().__init__(console=console, get_renderable=self._table, refresh_per_second=8, transient=True)

    def __call__(self, event: Event) -> None:
        """Takes an event of the build."""
        if not _ignored(event):
            self._rows.setdefault(event.target, _Row(hidden=True)).take(event)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2), expand=True)
        for column in ("", "", "", "", ""):
            table.add_column(column, no_wrap=True, overflow="ellipsis")
        table.columns[2].ratio = 1
        for target, row in self._rows.items():
            if row.visible:
                table.add_row(*row.cells(target))
        return table


class _Row:
    """The state of one line of the live view."""

    def __init__(self, *, hidden: bool = False) -> None:
        self.hidden = hidden
        self.running: dict[str, float] = {}
        self.ended: dict[str, bool] = {}
        self.begin: float | None = None
        self.last = ""
        self.stop: float | None = None
        self.failed = False

    @property
    def visible(self) -> bool:
        """Whether the line is shown; if the target was not requested (a shared stage, for example), only while busy."""
        return not self.hidden or any(time.monotonic() - since > _HIDDEN_AFTER for since in self.running.values())

    def take(self, event: Event) -> None:
        now = time.monotonic()
        self.begin = self.begin or now
        if event.kind == "log":
            self.last = event.text
            return
        if event.kind == "start":
            self.running[event.step] = now
            self.last = ""
            return
        self.running.pop(event.step, None)
        self.ended[event.step] = event.kind == "cached"
        self.failed = self.failed or event.kind == "failed"
        self.stop = now

    def cells(self, target: str) -> tuple[str, str, str, str, str]:
        if self.begin is None:
            return "[dim]·[/]", f"[dim]{target}[/]", "[dim]waiting[/]", "", ""
        busy = bool(self.running)
        mark = "[red]✗[/]" if self.failed else "[cyan]▸[/]" if busy else "[green]✓[/]"
        step = next(reversed(self.running)) if busy else ""
        more = f" [dim](+{len(self.running) - 1})[/]" if len(self.running) > 1 else ""
        tail = f" [dim]{escape(self.last.strip()[:200])}[/]" if busy and self.last else ""
        text = f"{escape(step)}{more}{tail}" if busy else ("[red]failed[/]" if self.failed else "[dim]done[/]")
        cached = sum(self.ended.values())
        end = time.monotonic() if busy or self.stop is None else self.stop
        counts = f"{len(self.ended)} done" + (f", {cached} cached" if cached else "")
        return mark, f"[bold]{target}[/]", text, f"[dim]{counts}[/]", f"{end - self.begin:6.1f}s"


def make_view(console: Console, targets: Sequence[str]) -> AbstractContextManager[Listener]:
    """Returns the live view on a terminal, a view that prints groups too in CI, or one that prints lines elsewhere."""
    if ci.detect():
        return ci.GroupedLog(console, _step_line)
    return LiveView(console, targets) if console.is_terminal else nullcontext(partial(_print_step, console))


def _ignored(event: Event) -> bool:
    """Checks whether a step is not from a Dockerfile: a component image was resolved, a context was sent."""
    return "internal]" in event.step or event.step.startswith("[context ")


def _print_step(console: Console, event: Event) -> None:
    """Prints a line for each step that ends, for logs and pipes."""
    if line := _step_line(event):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _step_line(event: Event) -> str:
    """Returns the line for a step that ends, or for a RUN that starts; empty for other events."""
    if event.kind == "log" or _ignored(event) or "] LINK " in event.step:
        return ""
    if event.kind == "start" and "] RUN " not in event.step:
        return ""  # only RUN steps take long
    end = {"start": "…", "done": f"{event.seconds:.1f}s", "cached": "cached", "failed": f"FAILED: {event.text}"}
    return f"{event.target or 'build'}: {event.step} {end[event.kind]}"


def table(results: Iterable[Result]) -> Table:
    """Returns the final table."""
    out = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("target", "platforms", "digest", "size", "time", "cached"):
        out.add_column(name, justify="right" if name in ("time", "cached") else "left", overflow="fold")
    for result in [item for made in results for item in (*made.components, made)]:
        outcome = result.outcome
        platforms = "\n".join(str(platform) for platform in result.target.platforms)
        sizes = "\n".join(decimal(result.sizes[p]) if result.sizes.get(p) else "–" for p in result.target.platforms)
        name = result.target.name + ("" if result.target.component else f"\n[dim]{escape(result.tags[0])}[/]")
        if outcome.skipped or outcome.error:
            out.add_row(name, platforms, "[dim]skipped[/]" if outcome.skipped else "[red]failed[/]", "–", "–", "–")
            continue
        cached = f"{outcome.cached}/{outcome.steps}"
        out.add_row(name, platforms, outcome.digest[:19] or "–", sizes, f"{outcome.seconds:.1f}s", cached)
    return out


def as_data(results: Iterable[Result]) -> list[dict[str, Any]]:
    """Returns the table as data, with full digests and all tags; sizes are in bytes, times in seconds."""
    return [
        {
            "target": result.target.name,
            "base": str(result.target.base.image) if result.target.base else None,
            "platforms": [str(platform) for platform in result.target.platforms],
            "state": _state(result.outcome),
            "digest": result.outcome.digest or None,
            "tags": list(result.tags),
            "sizes": {str(platform): size for platform, size in result.sizes.items()},
            "seconds": round(result.outcome.seconds, 3),
            "cached_steps": result.outcome.cached,
            "steps": result.outcome.steps,
            "error": error_data(result.outcome.error) if result.outcome.error else None,
            "remarks": list(result.outcome.remarks),
            **({"components": as_data(result.components)} if result.components else {}),
        }
        for result in results
    ]


def remarks(results: Iterable[Result]) -> list[str]:
    """Returns what went wrong without failing a target, a line for each."""
    every = [item for result in results for item in (*result.components, result)]
    return [f"{item.target.name}: {remark}" for item in every for remark in item.outcome.remarks]


def _state(outcome: Outcome) -> str:
    return "skipped" if outcome.skipped else "failed" if outcome.error else "done"


def error_data(error: OhbuildError) -> dict[str, Any]:
    """Returns an error as data."""
    data: dict[str, Any] = {
        "kind": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "exit_code": int(error.exit_code),
    }
    if isinstance(error, BuildFailed):
        data.update({"step": error.step, "where": error.where, "log": list(error.log)})
    if isinstance(error, SeveralErrors):
        data["errors"] = [error_data(item) for item in error.errors]
    return data


class Partial(Exception):
    """An error that ended a command after a part of its result was there.

    Args:
        error: The error.
        data: The part of the result, for JSON. Everything else has been printed.
    """

    def __init__(self, error: BaseException, data: Mapping[str, Any]) -> None:
        super().__init__(str(error))
        self.error = error
        self.data = data


def failure_data(error: OhbuildError) -> dict[str, Any]:
    """Returns the error that ended a command as the JSON that the command prints instead of its result."""
    data = error_data(error)
    several = {"errors": data["errors"]} if "errors" in data else {}
    return {"ok": False, "error": data, "hint": error.hint, "exit_code": int(error.exit_code), **several}


def print_error(console: Console, error: OhbuildError, title: str = "error") -> None:
    """Prints an error: what failed, where, the last lines of the log, and the hint."""
    with ci.literal(console.file):
        _print_error(console, error, title)


def _print_error(console: Console, error: OhbuildError, title: str) -> None:
    def line(text: str, style: str = "") -> None:
        console.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)

    if isinstance(error, SeveralErrors):
        line(f"{title}: {error.message}", "bold red")
        for item in error.errors:
            _print_error(console, item, "")
        return
    line(f"{title}: {error.message}" if title else f"  - {error.message}", "bold red" if title else "red")
    indent = "    "
    if isinstance(error, BuildFailed):
        if error.step and error.step not in error.message:
            line(f"{indent}step: {error.step}")
        if error.where:
            line(f"{indent}at: {error.where}")
        for text in error.log:
            line(f"{indent}| {text}", "dim")
    if error.hint:
        line(f"{indent}{error.hint}")


def exit_code(results: Iterable[Result]) -> ExitCode:
    """Returns the exit code of a run: 4 if only registries caused failures, 1 if anything else did."""
    codes = {result.outcome.error.exit_code for result in results if result.outcome.error}
    if not codes:
        return ExitCode.OK
    return ExitCode.REGISTRY if codes == {ExitCode.REGISTRY} else ExitCode.BUILD_FAILED


def dump(data: Mapping[str, Any]) -> str:
    """Returns data as indented JSON, for standard output."""
    return ci.inert_json(encodable_json(json.dumps(data, indent=2, ensure_ascii=False)))
