"""Shows what goes on: spinners on a terminal, plain lines elsewhere; always on standard error."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class Task:
    """One thing that goes on, and the step it is at."""

    def __init__(self, reporter: Reporter, name: str, task: TaskID | None) -> None:
        self._reporter = reporter
        self._name = name
        self._task = task
        self._last = ""

    def step(self, text: str) -> None:
        """It is at this step now."""
        if text == self._last:
            return
        self._last = text
        self._reporter.show(self._task, self._name, text)

    def done(self, text: str = "done") -> None:
        """It has come to its end."""
        self._reporter.show(self._task, self._name, text, finished=True)


class Reporter:
    """Use as a context; `task` starts a line, `say` writes one that stays."""

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._quiet = quiet
        self._progress: Progress | None = None

    def __enter__(self) -> Reporter:
        if self._console.is_terminal and not self._quiet:
            self._progress = Progress(
                SpinnerColumn(finished_text="[green]✓"),
                TextColumn("[bold]{task.fields[title]}"),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.stop()
            self._progress = None

    def task(self, name: str) -> Task:
        """Begin something."""
        task = self._progress.add_task("", total=1, title=escape(name)) if self._progress else None
        return Task(self, name, task)

    def say(self, text: str) -> None:
        """Write a line."""
        if not self._quiet:
            self._console.print(escape(text))

    def show(self, task: TaskID | None, name: str, text: str, *, finished: bool = False) -> None:
        """Used by Task."""
        if self._progress and task is not None:
            self._progress.update(task, description=escape(text), completed=1 if finished else 0)
        elif not self._quiet:
            self._console.print(escape(f"{name}: {text}"))
