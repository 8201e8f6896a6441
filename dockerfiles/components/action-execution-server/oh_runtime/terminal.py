"""Detects from the terminal's content when an agent's shell is ready for a command."""

from __future__ import annotations

import time
from collections.abc import Callable

# After this time, an unchanged screen means that the command has cleared it, not that the command has yet to start.
ECHO_SECONDS = 3.0
PROMPT_SECONDS = 20.0
CLEAR_SECONDS = 3.0
POLL_SECONDS = 0.1


def prompt(screen: Callable[[], str], end: str, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Waits until a new shell shows its first prompt.

    Args:
        screen: Returns the terminal's content.
        end: The last line of a prompt.
        sleep: Sleeps for a number of seconds.

    Returns:
        Whether the prompt appeared in time.
    """
    for _ in range(round(PROMPT_SECONDS / POLL_SECONDS)):
        sleep(POLL_SECONDS)
        if screen().rstrip().endswith(end.rstrip()):
            return True
    return False


def cleared(
    screen: Callable[[], str], forget: Callable[[], object], end: str, sleep: Callable[[float], None] = time.sleep
) -> bool:
    """Waits until the shell has cleared the screen, and clears the history.

    Args:
        screen: Returns the terminal's content.
        forget: Clears the terminal's history.
        end: The last line of a prompt.
        sleep: Sleeps for a number of seconds.

    Returns:
        Whether the screen was cleared in time.
    """
    for _ in range(round(CLEAR_SECONDS / POLL_SECONDS)):
        sleep(POLL_SECONDS)
        forget()
        if screen().count(end.strip()) <= 1:
            return True
    return False
