"""Parses BuildKit's progress into typed events.

The format is ``--progress=rawjson``: one ``client.SolveStatus`` of moby/buildkit per line.
"""

from __future__ import annotations

import base64
import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

_LOG_LINES = 40
_STEP = re.compile(r"(?:^|\s)(\d+)/(\d+)$")
_CANCELLED = re.compile(r"context cancell?ed\b")
_MOUNTS = re.compile(r"(?<=\bRUN )(?:--\w+=\S+\s+)+")


@dataclass(frozen=True)
class Event:
    """An event of a step.

    Attributes:
        kind: ``start``, ``done``, ``cached``, ``failed`` or ``log``.
        target: Target of the step; empty if unknown.
        step: Name of the step.
        seconds: Duration of the step, for ``done`` and ``failed``.
        text: Error of the step, or a line that it printed.
    """

    kind: Literal["start", "done", "cached", "failed", "log"]
    target: str
    step: str
    seconds: float = 0.0
    text: str = ""


@dataclass
class Step:
    """The last known state of a vertex in BuildKit's graph.

    Attributes:
        name: Name to display.
        target: Target that it belongs to; empty if unknown.
        counted: Whether it is a numbered step of the Dockerfile.
        started: Start time, if it has started.
        completed: End time, if it has ended.
        cached: Whether the result came from the cache.
        error: Error message; empty if it has not failed.
        log: Last lines that it printed.
    """

    name: str
    target: str
    counted: bool
    started: datetime | None = None
    completed: datetime | None = None
    cached: bool = False
    error: str = ""
    log: deque[str] = field(default_factory=lambda: deque(maxlen=_LOG_LINES))

    @property
    def running(self) -> bool:
        """Whether the step has started but not ended."""
        return self.started is not None and self.completed is None and not self.error


class Progress:
    """Collects the progress of one ``bake``.

    Args:
        targets: Requested targets. If there is only one target in total, buildx omits its name from step names.
        linked: Targets that are built because others copy from them.
    """

    def __init__(self, targets: Sequence[str], linked: Sequence[str] = ()) -> None:
        self.targets = tuple(targets)
        self._named = frozenset((*targets, *linked))
        self.steps: dict[str, Step] = {}
        self.text: list[str] = []
        """Lines that are not JSON: buildx's own messages, and the failing lines of the Dockerfile at the end."""

    def feed(self, line: str) -> Iterator[Event]:
        """Processes a line of buildx's standard error and yields its events."""
        try:
            status = json.loads(line) if line.startswith("{") else None
        except ValueError:
            status = None
        if not isinstance(status, dict):
            if line.strip() or self.text:
                self.text.append(line.rstrip())
            return
        for vertex in status.get("vertexes") or ():
            yield from self._vertex(vertex)
        for log in status.get("logs") or ():
            yield from self._log(log)

    def _vertex(self, vertex: dict[str, Any]) -> Iterator[Event]:
        digest = vertex["digest"]
        before = self.steps.get(digest)
        step = before or self._new(vertex["name"])
        self.steps[digest] = step
        was_running, was_done = step.running, step.completed is not None
        step.started = _time(vertex.get("started")) or step.started
        step.completed = _time(vertex.get("completed"))
        step.cached = step.cached or bool(vertex.get("cached"))
        error = vertex.get("error", "")
        step.error = "" if _CANCELLED.search(error) else error
        seconds = seconds_between(step.started, step.completed)
        if step.error:
            if step.completed:
                yield Event("failed", step.target, step.name, seconds, step.error.rpartition("\n")[2])
        elif step.cached and step.completed and not was_done:
            yield Event("cached", step.target, step.name)
        elif step.completed and was_running:
            yield Event("done", step.target, step.name, seconds)
        elif step.running and not was_running and not was_done:
            yield Event("start", step.target, step.name)

    def _log(self, log: dict[str, Any]) -> Iterator[Event]:
        step = self.steps.get(log.get("vertex", ""))
        if step is None:
            return
        text = base64.b64decode(log.get("data") or "").decode(errors="replace")
        for line in re.split(r"[\r\n]+", text):
            if line.strip():
                step.log.append(line)
                yield Event("log", step.target, step.name, text=line)

    def _new(self, name: str) -> Step:
        target = self.targets[0] if len(self.targets) == 1 else ""
        inside, bracket, rest = name.removeprefix("[").partition("]")
        shown = name
        if name.startswith("[") and bracket:
            first, _, others = inside.partition(" ")
            if first in self._named:
                target, inside = first, others
                shown = f"[{others}]{rest}" if others else rest.strip()
        # BuildKit shows the merge of a linked layer onto its base as a separate step with the same number.
        counted = bool(name.startswith("[") and _STEP.search(inside) and "] LINK " not in name)
        # The mounts of a RUN are long, and say little about what it does.
        return Step(re.sub(r"\s+", " ", _MOUNTS.sub("", shown)), target, counted)

    def of(self, target: str) -> list[Step]:
        """Returns the steps of a target."""
        return [step for step in self.steps.values() if step.target == target]

    def counts(self, target: str) -> tuple[int, int]:
        """Returns how many of a target's Dockerfile steps were cached or not needed, and their total number."""
        steps = [step for step in self.of(target) if step.counted]
        return sum(1 for step in steps if step.cached or step.started is None), len(steps)

    def seconds(self, target: str) -> float:
        """Returns the seconds from the start of a target's first step to the end of its last.

        The start of a cached step does not count: it can be that of an earlier build on the same builder.
        """
        steps = self.of(target)
        starts = [step.started for step in steps if step.started and not step.cached]
        ends = [step.completed for step in steps if step.completed]
        return seconds_between(min(starts), max(ends)) if starts and ends else 0.0

    def failed(self) -> list[Step]:
        """Returns the failed steps."""
        return [step for step in self.steps.values() if step.error]


def seconds_between(start: datetime | None, end: datetime | None) -> float:
    """Returns the seconds between two times; 0 if one is unknown."""
    return max(0.0, (end - start).total_seconds()) if start and end else 0.0


def _time(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) and not text.startswith("0001") else None
