"""When a build must stop, and work that a stopped build does not wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from ohbuild.builders.errors import Category, build_error

_T = TypeVar("_T")


class Stop:
    """Decides when a build must stop: after ``timeout`` seconds (0 for no limit), or when an event is set.

    Args:
        timeout: Time limit in seconds.
        cancel: Set to cancel the build.
        closing: Set when the builder is closed.
    """

    def __init__(self, timeout: float, cancel: threading.Event | None, closing: threading.Event) -> None:
        self._timeout = timeout
        self._end = time.monotonic() + timeout if timeout else float("inf")
        self._cancel, self._closing = cancel or threading.Event(), closing

    def __call__(self) -> bool:
        """Returns whether the build must stop."""
        return self._cancel.is_set() or self._closing.is_set() or time.monotonic() > self._end

    @property
    def timed_out(self) -> bool:
        """Whether it must stop because of the time limit."""
        return not self._cancel.is_set() and time.monotonic() > self._end

    def reason(self, what: str) -> Exception:
        """Returns the error to raise.

        Args:
            what: What was stopped.
        """
        if self.timed_out:
            return build_error(
                f"{what} timed out after {self._timeout:g} s", Category.RESOURCE, "allow more time with timeout=…"
            )
        kept = "completed steps are in the builder's cache"
        return build_error(f"{what} was cancelled", Category.CANCELLED, kept)


def in_thread(work: Callable[[], _T]) -> Future[_T]:
    """Starts work in a daemon thread, which does not keep the process from ending, and returns its future."""
    result: Future[_T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return result
