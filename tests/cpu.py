"""Measures CPU seconds, normalised to a machine of usual speed.

The speed of similar machines differs by more than half, and so does that of one machine under different load.
Therefore a fixed reference task is measured next to each attempt. The limits in the tests apply to a machine on which
it takes ``USUAL``.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable

USUAL = 0.1
"""CPU seconds of the reference task on a machine of usual speed."""
_IMPORTS = "asyncio, ctypes, decimal, email.message, http.client, logging.config, tarfile, unittest.mock"


def cheapest(work: Callable[[], object], limit: float, attempts: int = 10) -> float:
    """Returns the normalised CPU seconds of the cheapest attempt, in this process and its children.

    Args:
        work: Function to measure.
        limit: Stop after an attempt below this many seconds.
        attempts: Maximum number of attempts.
    """
    least = float("inf")
    for _ in range(attempts):
        slow = slowness()
        least = min(least, _spent(work) / slow)
        if least < limit:
            break
    return least


def slowness() -> float:
    """Returns how many times longer than usual the machine takes now."""
    return min(_spent(_usual) for _ in range(2)) / USUAL


def _usual() -> None:
    subprocess.run([sys.executable, "-I", "-c", f"import {_IMPORTS}"], check=True)


def _spent(work: Callable[[], object]) -> float:
    before = _now()
    work()
    return _now() - before


def _now() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(item.ru_utime + item.ru_stime for item in used)
