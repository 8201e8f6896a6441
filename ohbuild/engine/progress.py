"""Shows progress on standard error: spinners on a terminal, plain lines elsewhere."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Reporter(Progress):
    """A context manager that shows tasks with their current step, and prints messages."""

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
        """Stops the display."""
        if not self.disable:  # older versions of Rich print an empty line
            super().stop()

    def task(self, name: str) -> Task:
        """Starts a task."""
        return Task(self, name)

    def say(self, text: str) -> None:
        """Prints a message."""
        self.console.print(escape(text))


class Task:
    """A task and its current step, created by ``Reporter.task``.

    Args:
        reporter: Where to show it.
        name: Title of the task.
    """

    def __init__(self, reporter: Reporter, name: str) -> None:
        self._reporter = reporter
        self._name = name
        self._id = reporter.add_task("", total=1, title=escape(name))
        self._last = ""

    def step(self, text: str) -> None:
        """Shows the current step."""
        if text != self._last:
            self._last = text
            self._show(text, completed=0)

    def done(self, text: str = "done") -> None:
        """Marks the task as completed."""
        self._show(text, completed=1)

    def _show(self, text: str, completed: int) -> None:
        self._reporter.update(self._id, description=escape(text), completed=completed)
        if self._reporter.disable:
            self._reporter.say(f"{self._name}: {text}")
