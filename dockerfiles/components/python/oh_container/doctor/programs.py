"""Runs the checks of the components, which ``ohbuild verify`` runs from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .model import Findings, Problem

FOLDER = Path("/openhands/share/ohbuild")
_LOG_LINES = 5
_WIDTH = 300


@dataclass(frozen=True, kw_only=True)
class Component:
    """A component of this image, as its ``component.toml`` describes it.

    Attributes:
        name: Its name.
        checks: Its ``checks``.
    """

    name: str
    checks: tuple[Mapping[str, Any], ...] = field(default=())


def components(folder: Path = FOLDER) -> list[Component]:
    """Returns the components of this image, by name."""
    return [
        Component(name=path.stem, checks=tuple(tomllib.loads(path.read_text(encoding="utf-8")).get("checks", ())))
        for path in sorted(folder.glob("*.toml"))
    ]


def examine(component: Component, findings: Findings, names: Collection[str], end: float) -> None:
    """Runs the checks of a component.

    Args:
        component: The component.
        findings: Where to write what is found.
        names: The components of this image.
        end: When to stop, by ``time.monotonic``.
    """
    for check in component.checks:
        if not set(check.get("needs", ())) <= set(names):
            continue
        limit = min(end, time.monotonic() + check.get("seconds", 60.0))
        try:
            out = output(check["command"], limit)
        except Problem as problem:
            findings.problems.append(f"{check['name']}: {problem}")
            findings.log += problem.log
            continue
        wanted = check.get("expect", "")
        if not re.search(wanted, out, re.MULTILINE):
            findings.problems.append(f"{check['name']}: {check['command'][0]} prints {cut(out)!r}, not {wanted}")


def output(words: list[str], end: float, environ: Mapping[str, str] | None = None) -> str:
    """Runs a program and returns its standard output.

    Args:
        words: Program and arguments.
        end: When to stop it, by ``time.monotonic``.
        environ: Its environment; by default, that of the process.

    Raises:
        Problem: It cannot be started, fails, or does not end in time.
    """
    begin = time.monotonic()
    try:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            env=environ, encoding="utf-8", errors="replace",
        )  # fmt: skip
    except OSError as error:
        raise Problem(f"{words[0]}: {error.strerror}") from None
    with process:
        try:
            out, err = process.communicate(timeout=max(0.1, end - begin))
        except subprocess.TimeoutExpired:
            _kill(process.pid)
            raise Problem(f"{words[0]} does not end within {time.monotonic() - begin:.0f} s") from None
    if process.returncode:
        log = last_lines(f"{out}\n{err}")
        code = process.returncode
        reason = f"is killed by signal {-code}" if code < 0 else f"exits with {code}"
        raise Problem(f"{words[0]} {reason}", log)
    return out


def _kill(group: int) -> None:
    """Ends a program and everything that it has started in its session."""
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        return


def last_lines(text: str) -> list[str]:
    """Returns the last lines of a log, without control characters."""
    lines = [cut(line) for line in text.splitlines() if line.strip()]
    return lines[-_LOG_LINES:]


def cut(text: str) -> str:
    """Returns text as one line without control characters, and not too long."""
    line = "".join(letter if letter.isprintable() else " " for letter in text).strip()
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"
