"""CPU seconds of a piece of work, as a machine of the usual speed would spend them.

Machines that look alike differ by more than half, and so does one machine with what else it runs. So a fixed piece of
work is measured beside each attempt: the limits of the tests are those of a machine on which it takes ``USUAL``.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable

USUAL = 0.1
_IMPORTS = "asyncio, ctypes, decimal, email.message, http.client, logging.config, tarfile, unittest.mock"


def cheapest(work: Callable[[], object], limit: float, attempts: int = 10) -> float:
    """The CPU seconds of the cheapest attempt, in this process and its children.

    Args:
        work: what is measured.
        limit: an attempt below it is enough.
        attempts: how many there are at most.
    """
    least = float("inf")
    for _ in range(attempts):
        slowness = min(_spent(_usual) for _ in range(2)) / USUAL
        least = min(least, _spent(work) / slowness)
        if least < limit:
            break
    return least


def _usual() -> None:
    subprocess.run([sys.executable, "-I", "-c", f"import {_IMPORTS}"], check=True)


def _spent(work: Callable[[], object]) -> float:
    before = _now()
    work()
    return _now() - before


def _now() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(item.ru_utime + item.ru_stime for item in used)
