"""Watches over a running buildx: hands on what it says, and stops it in good order when that is asked."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from ohbuild.docker.progress import Event, Progress

Listener = Callable[[Event], None]
_GLANCE = 0.05  # seconds between two looks at whether a build is to stop
_STOP_WITHIN = 30.0  # seconds that buildx gets to stop in good order


def feed(
    process: subprocess.Popen[str], progress: Progress, listener: Listener, until: Callable[[], bool] | None
) -> bool:
    """Read what buildx prints until it ends; whether it was interrupted.

    Args:
        process: in a session of its own, with its standard error to read.
        until: asked some times a second; once it says yes, buildx is interrupted, as by Ctrl-C.
    """
    assert process.stderr is not None
    asked = threading.Event()
    if until:
        threading.Thread(target=_watch, args=(process, until, asked), daemon=True).start()
    interrupts = 0
    while True:
        try:
            for line in process.stderr:
                for event in progress.feed(line):
                    listener(event)
            process.wait()
            return interrupts > 0 or (asked.is_set() and process.returncode != 0)  # it may have ended just then
        except KeyboardInterrupt:
            interrupts += 1
            # buildx cancels the build at the first SIGINT and gives up waiting for BuildKit at the third.
            _signal(process, signal.SIGINT if interrupts <= 3 else signal.SIGKILL)
            if interrupts == 1:
                _kill_later(process)
        except BaseException:
            _signal(process, signal.SIGINT)
            raise


def _watch(process: subprocess.Popen[str], until: Callable[[], bool], asked: threading.Event) -> None:
    while process.poll() is None:
        if until():
            asked.set()
            _signal(process, signal.SIGINT)
            _kill_later(process)
            return
        time.sleep(_GLANCE)


def _kill_later(process: subprocess.Popen[str]) -> None:
    timer = threading.Timer(_STOP_WITHIN, _signal, (process, signal.SIGKILL))
    timer.daemon = True
    timer.start()


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
