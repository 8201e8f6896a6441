"""When an agent's shell is ready for a command, by what its terminal shows."""

from __future__ import annotations

import time
from collections.abc import Callable

# After that long, a screen that looks as before means that the command cleared it, and not that it has yet to begin.
ECHO_SECONDS = 3.0
PROMPT_SECONDS = 20.0
CLEAR_SECONDS = 3.0
POLL_SECONDS = 0.1


def prompt(screen: Callable[[], str], end: str, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Waits until a new shell shows its first prompt; whether it did.

    Args:
        screen: returns what the terminal shows.
        end: the last line of a prompt.
    """
    for _ in range(round(PROMPT_SECONDS / POLL_SECONDS)):
        sleep(POLL_SECONDS)
        if screen().rstrip().endswith(end.rstrip()):
            return True
    return False


def cleared(
    screen: Callable[[], str], forget: Callable[[], object], end: str, sleep: Callable[[float], None] = time.sleep
) -> bool:
    """Waits until the shell has cleared the screen, and what went into the history is gone; whether that came about.

    Args:
        forget: drops the terminal's history.
    """
    for _ in range(round(CLEAR_SECONDS / POLL_SECONDS)):
        sleep(POLL_SECONDS)
        forget()
        if screen().count(end.strip()) <= 1:
            return True
    return False
