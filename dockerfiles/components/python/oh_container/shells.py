"""Finds a bash for an agent's commands."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping

from .startup import BASH, OURS

BASHES = ("/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash")
BASH_SECONDS = 10


def bash(environ: Mapping[str, str], works: Callable[[str, Mapping[str, str]], bool]) -> str:
    """Returns the bash for an agent's commands: the base's own if it works, otherwise ours.

    Args:
        environ: The base's environment.
        works: Checks whether a program is a working bash.
    """
    others = [folder for folder in environ.get("PATH", "").split(":") if folder and folder not in OURS.split(":")]
    found = shutil.which("bash", path=":".join(others)) if others else None
    for candidate in [*BASHES, *([found] if found and found.startswith("/") else [])]:
        if works(candidate, environ):
            return candidate
    return BASH


def is_bash(program: str, environ: Mapping[str, str]) -> bool:
    """Whether a program runs and is really bash (busybox has an applet named ``bash``).

    ``-p`` ignores BASH_ENV, which may do anything.
    """
    if not os.access(program, os.X_OK):
        return False
    try:
        done = subprocess.run(
            [program, "--norc", "-p", "-c", 'printf %s "${BASH_VERSINFO[0]}"'],
            env=dict(environ), stdin=subprocess.DEVNULL, capture_output=True, timeout=BASH_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.isdigit()
