"""Replaces our process by a command, which may be the container's first process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from typing import NoReturn

from .startup import say

TINI = "/openhands/libexec/tini"


def as_first_process(words: list[str], pid: int) -> list[str]:
    """Runs a command under tini if it is the container's first process, so that an agent's orphans are reaped."""
    return [TINI, "--", *words] if pid == 1 else words


def execute(words: list[str], environ: Mapping[str, str] | None = None) -> NoReturn:
    """Runs a command in place of this process. Exits with 126 or 127, as a shell does, if it cannot be run.

    Args:
        words: The command.
        environ: Its environment; by default, that of the process.
    """
    # Python ignores these signals, and the command would inherit that (PEP 433). A pipe's writer ends with its reader.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    words = as_first_process(words, os.getpid())
    try:
        os.execvpe(words[0], words, os.environ if environ is None else environ)
    except OSError as error:
        say(f"{words[0]}: {error.strerror}")
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)
