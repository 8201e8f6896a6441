"""Supervises a running buildx: forwards its output, and stops it gracefully on request."""

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
_GLANCE = 0.05  # seconds between checks whether to stop
STOP_WITHIN = 30.0
"""Seconds for buildx to stop gracefully, before it is killed."""


def feed(
    process: subprocess.Popen[str],
    progress: Progress,
    listener: Listener,
    until: Callable[[], bool] | None,
    stop_within: Callable[[], float] = lambda: STOP_WITHIN,
) -> bool:
    """Reads the output of buildx until it ends.

    Args:
        process: buildx in its own session, with standard error as a pipe.
        progress: Receives the output.
        listener: Called with each event.
        until: Polled several times a second; as soon as it returns true, buildx is interrupted as by Ctrl-C.
        stop_within: Returns how many seconds buildx has to stop, before it is killed.

    Returns:
        Whether the build was interrupted.
    """
    assert process.stderr is not None
    asked = threading.Event()
    watcher = threading.Thread(target=_watch, args=(process, until, asked, stop_within), daemon=True) if until else None
    interrupts = 0
    while True:
        try:
            if watcher and watcher.ident is None:
                watcher.start()
            for line in process.stderr:
                for event in progress.feed(line):
                    listener(event)
            process.wait()
            return interrupts > 0 or (asked.is_set() and process.returncode != 0)  # it may have succeeded just before
        except KeyboardInterrupt:
            interrupts += 1
            # buildx cancels the build at the first SIGINT and gives up waiting for BuildKit at the third.
            _signal(process, signal.SIGINT if interrupts <= 3 else signal.SIGKILL)
            if interrupts == 1:
                _kill_later(process)
        except BaseException:  # of the listener, such as output to a closed terminal
            _signal(process, signal.SIGINT)
            _kill_later(process)
            raise


def _watch(
    process: subprocess.Popen[str],
    until: Callable[[], bool],
    asked: threading.Event,
    stop_within: Callable[[], float],
) -> None:
    while process.poll() is None:
        if until():
            asked.set()
            _signal(process, signal.SIGINT)
            _kill_later(process, stop_within())
            return
        time.sleep(_GLANCE)


def _kill_later(process: subprocess.Popen[str], seconds: float = STOP_WITHIN) -> None:
    timer = threading.Timer(seconds, _signal, (process, signal.SIGKILL))
    timer.daemon = True
    timer.start()


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
