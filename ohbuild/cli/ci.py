"""The output in GitHub Actions and GitLab CI: finds out which of them runs ohbuild, and writes what they read.

``ohbuild.cli.github`` and ``ohbuild.cli.summary`` make the texts. Commands for a runner go to standard error, so that
standard output holds only the result. The runner reads both.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING

from ohbuild.cli import github, summary
from ohbuild.cli.github import Annotation
from ohbuild.cli.summary import Part
from ohbuild.errors import UsageError

if TYPE_CHECKING:  # an error of the command line is shown without loading the bake
    from rich.console import Console

    from ohbuild.docker.progress import Event


class Provider(StrEnum):
    """A CI service whose logs have a format of their own."""

    GITHUB = "github"
    GITLAB = "gitlab"


def detect(environment: Mapping[str, str] = os.environ) -> Provider | None:
    """Returns the CI service that this process runs in; ``None`` elsewhere. Nothing else decides this."""
    if environment.get("GITHUB_ACTIONS") == "true":
        return Provider.GITHUB
    return Provider.GITLAB if environment.get("GITLAB_CI") == "true" else None


def is_live(console: Console, environment: Mapping[str, str] = os.environ) -> bool:
    """Checks whether progress can be redrawn in place: on a terminal, but never in the log of a CI service."""
    return console.is_terminal and detect(environment) is None


@contextmanager
def literal(file: IO[str] | None = None, environment: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Makes GitHub's runner show lines as they are, even if they look like commands. Does nothing elsewhere.

    Inside another such block it changes nothing: the runner takes no commands there.

    Args:
        file: Where the lines are printed; by default standard error.
        environment: The environment variables.
    """
    if detect(environment) is not Provider.GITHUB:
        yield
        return
    token = os.urandom(16).hex()  # nothing that is printed can contain it, as nothing knows it
    _print(github.command("stop-commands", token), file)
    try:
        yield
    finally:
        _print(github.command(token), file)


def inert_json(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Returns JSON for standard output: in GitHub Actions the same values, spelled so that no command is in it."""
    return github.harmless_json(text) if detect(environment) is Provider.GITHUB else text


def _print(text: str, file: IO[str] | None) -> None:
    print(text, file=file or sys.stderr, flush=True)


@dataclass
class _Group:
    """What a target's steps printed: the line for each step, and the lines of its log."""

    begin: float
    end: float
    heads: dict[str, str] = field(default_factory=dict)
    logs: dict[str, list[str]] = field(default_factory=dict)
    failed: bool = False

    def title(self, target: str) -> str:
        steps = f"{len(self.heads)} steps" if len(self.heads) != 1 else "1 step"
        return f"{target}: {steps}{', failed' if self.failed else ''}"

    def lines(self) -> Iterator[str]:
        for step, head in self.heads.items():
            yield _one_line(head)
            for line in self.logs[step]:
                yield f"    | {_one_line(line)}"


class GroupedLog:
    """Prints a line per step during a build, and afterwards a group for each target with everything its steps printed.

    It is the listener of the build, and a context manager around it.

    Args:
        console: Where to print.
        line: Returns the line for an event; empty if it has none.
        environment: The environment variables.
        clock: Returns the time in seconds since 1970.
    """

    def __init__(
        self,
        console: Console,
        line: Callable[[Event], str],
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._console = console
        self._line = line
        self._environment = environment
        self._clock = clock
        self._groups: dict[str, _Group] = {}
        self._stack = ExitStack()

    def __enter__(self) -> GroupedLog:
        self._stack.enter_context(literal(self._console.file, self._environment))
        return self

    def __call__(self, event: Event) -> None:
        """Takes an event of the build."""
        now = self._clock()
        text = self._line(event)
        if event.kind != "log" and not text:
            return
        name = event.target or "build"
        group = self._groups.setdefault(name, _Group(now, now))
        group.end = now
        group.failed = group.failed or event.kind == "failed"
        lines = group.logs.setdefault(event.step, [])
        if event.kind == "log":
            group.heads.setdefault(event.step, f"{name}: {event.step}")
            lines.append(event.text)
            return
        group.heads[event.step] = text
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Prints the groups, also after an error."""
        self._stack.close()
        show = self._group if detect(self._environment) is Provider.GITHUB else self._section
        for number, (target, group) in enumerate(self._groups.items(), 1):
            show(number, target, group)

    def _group(self, number: int, target: str, group: _Group) -> None:
        file = self._console.file
        _print(github.command("group", group.title(target)), file)
        with literal(file, self._environment):
            for line in group.lines():
                _print(line, file)
        _print(github.command("endgroup"), file)

    def _section(self, number: int, target: str, group: _Group) -> None:
        """Prints a section as GitLab's page "CI/CD job logs" describes under "Custom collapsible sections".

        A line of a log cannot begin or end a section: a marker ends in CR and an escape sequence, and no line has a CR.
        """
        file = self._console.file
        name = f"ohbuild_{number}_{re.sub(r'[^a-zA-Z0-9_.-]', '_', target)}"
        title = _one_line(group.title(target))
        _print(f"\x1b[0Ksection_start:{group.begin:.0f}:{name}[collapsed=true]\r\x1b[0K{title}", file)
        for line in group.lines():
            _print(line, file)
        _print(f"\x1b[0Ksection_end:{group.end:.0f}:{name}\r\x1b[0K", file)


def _one_line(text: str) -> str:
    return re.sub(r"[\r\n]+", " ", text)


def annotate(annotations: Iterable[Annotation], environment: Mapping[str, str] = os.environ) -> None:
    """Shows annotations in GitHub Actions; does nothing elsewhere.

    Args:
        annotations: The annotations.
        environment: The environment variables.
    """
    if detect(environment) is Provider.GITHUB:
        for item in annotations:
            _print(github.annotation(item, environment.get("GITHUB_WORKSPACE", "")), None)


def summarize(parts: Iterable[Part], environment: Mapping[str, str] = os.environ) -> None:
    """Adds to the job summary of GitHub Actions; does nothing elsewhere.

    Args:
        parts: The parts of the text. What exceeds GitHub's limit is omitted, and the text reports this.
        environment: The environment variables.
    """
    # The limit applies to all commands of a step together.
    problem = _append("GITHUB_STEP_SUMMARY", lambda size: summary.fit(parts, summary.LIMIT - size), environment)
    _note("the job summary", problem)


def write_outputs(
    outputs: Mapping[str, str], environment: Mapping[str, str] = os.environ, *, required: bool = False
) -> None:
    """Sets outputs of the step in GitHub Actions; does nothing elsewhere.

    Args:
        outputs: Values by name.
        environment: The environment variables.
        required: Whether the outputs are all that the command is for. If not, that they cannot be written is only a
            note: the images are there nevertheless.

    Raises:
        UsageError: Required outputs cannot be written.
    """
    problem = _append("GITHUB_OUTPUT", lambda _: github.outputs_text(outputs), environment)
    if problem and required:
        what = f"the outputs of this step cannot be written: {problem}"
        raise UsageError(what, "let GITHUB_OUTPUT name a file that can be written")
    _note("the outputs of this step", problem)


def _note(what: str, problem: str) -> None:
    if problem:
        _print(f"note: {what} cannot be written: {problem}", None)


def _append(variable: str, text: Callable[[int], str], environment: Mapping[str, str]) -> str:
    """Appends to a file that GitHub's runner names, and returns why that failed; empty if it did not.

    Args:
        variable: Variable with the path of the file.
        text: Returns the text, from the size of the file.
        environment: The environment variables.
    """
    if detect(environment) is not Provider.GITHUB:
        return ""
    path = environment.get(variable)
    if not path:
        return f"{variable} is not set"
    try:
        with Path(path).open("a+b") as file:
            size = file.tell()
            file.seek(max(size - 1, 0))
            # What another program wrote may lack the end of its last line.
            end = b"" if file.read(1) in (b"", b"\n") else b"\n"
            file.write(end + text(size + len(end)).encode(errors="replace"))
    except OSError as error:
        return f"{error.strerror or error} ({variable})"
    return ""
