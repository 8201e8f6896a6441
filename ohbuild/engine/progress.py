"""Shows what goes on: spinners on a terminal, plain lines elsewhere; always on standard error."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Reporter(Progress):
    """Use as a context; `task` starts a line, `say` writes one that stays."""

    def __init__(self) -> None:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        super().__init__(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("[bold]{task.fields[title]}"),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def stop(self) -> None:
        if not self.disable:  # older versions of Rich write an empty line
            super().stop()

    def task(self, name: str) -> Task:
        """Begin something."""
        return Task(self, name)

    def say(self, text: str) -> None:
        """Write a line."""
        self.console.print(escape(text))


class Task:
    """One thing that goes on, and the step it is at."""

    def __init__(self, reporter: Reporter, name: str) -> None:
        self._reporter = reporter
        self._name = name
        self._id = reporter.add_task("", total=1, title=escape(name))
        self._last = ""

    def step(self, text: str) -> None:
        """It is at this step now."""
        if text != self._last:
            self._last = text
            self._show(text, completed=0)

    def done(self, text: str = "done") -> None:
        """It has come to its end."""
        self._show(text, completed=1)

    def _show(self, text: str, completed: int) -> None:
        self._reporter.update(self._id, description=escape(text), completed=completed)
        if self._reporter.disable:
            self._reporter.say(f"{self._name}: {text}")
