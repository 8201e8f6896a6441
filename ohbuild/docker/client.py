"""Runs the docker client for ``verify``: with time limits, from several threads, and with nothing left behind."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
import uuid
from dataclasses import dataclass
from typing import Any

from ohbuild import process
from ohbuild.docker.connection import Connection
from ohbuild.errors import Interrupted, OhbuildError
from ohbuild.images import labels as label

LABEL = f"{label.OURS}verify"
_CLEAN_SECONDS = 600.0


class CommandFailed(OhbuildError):
    """A command ended with an error or took too long; the message is one line that says which and why."""


@dataclass(frozen=True)
class Done:
    """A command that ended.

    Args:
        code: its exit code.
        out, err: what it printed.
    """

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The line that most likely says what was wrong."""
        for text in (self.err, self.out):
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            lines = [line for line in lines if not line.startswith("Run 'docker ")]  # where to find help
            if lines:
                # a traceback's last line tells; of the loader's and of Python's own fatal errors another one does
                telling = [line for line in lines if re.search(r"\berror\b|Error:", line)]
                return (telling or lines)[-1]
        return "it printed nothing"


class Docker:
    """The docker client. Every container that it starts bears a label, by which ``close`` finds and removes it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.label = f"{LABEL}={uuid.uuid4().hex}"
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def run(self, *words: str, stdin: str | None = None, seconds: float = 60) -> Done:
        """Run ``docker WORDS…`` to its end.

        Args:
            stdin: text for its standard input, which is empty otherwise.
            seconds: after which it is killed.

        Raises:
            CommandFailed: it took too long. (An exit code other than 0 raises nothing.)
            Interrupted: the run was stopped.
        """
        with self._lock:
            if self._stopped:
                raise Interrupted("stopped")
            process = subprocess.Popen(
                [str(self.connection.docker), *words],
                env={**os.environ, **self.connection.environment()},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                # Ctrl-C is for us alone: we stop what runs, and then clean up with this very client.
                start_new_session=True,
            )
            self._running.add(process)
        try:
            out, err = process.communicate(stdin, timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise CommandFailed(f"no end after {seconds:.0f} s: docker {words[0]}") from None
        finally:
            with self._lock:
                self._running.discard(process)
        if self._stopped:
            raise Interrupted("stopped")
        return Done(process.returncode, out, err)

    def ask(self, *words: str, seconds: float = 60) -> str:
        """Standard output of ``docker WORDS…``.

        Raises:
            CommandFailed: it failed or took too long.
            Interrupted: the run was stopped.
        """
        done = self.run(*words, seconds=seconds)
        if done.code:
            raise CommandFailed(f"docker {words[0]}: {done.last}")
        return done.out

    def stop(self) -> None:
        """Kill what runs, remove the containers, and let nothing more be started. For any thread, at any time."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                with contextlib.suppress(OSError):
                    process.kill()
        self.close()

    def remove(self, container: str) -> None:
        """Remove a container and what belongs to it, after ``stop`` too."""
        self._plain("rm", "--force", "--volumes", container)

    def forget(self, image: str) -> None:
        """Remove an image from Docker's own store, after ``stop`` too."""
        self._plain("image", "rm", "--force", image)

    def close(self) -> None:
        """Remove every container that bears our label."""
        listed = self._plain("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={self.label}")
        for container in listed.split():
            self.remove(container)

    def _plain(self, *words: str) -> str:
        environment = self.connection.environment()
        return process.ask([self.connection.docker, *words], env=environment, timeout=_CLEAN_SECONDS).out


def environment(config: dict[str, Any]) -> dict[str, str]:
    """The variables of an image's or a container's configuration (``Config.Env`` of ``docker inspect``)."""
    return dict(item.partition("=")[::2] for item in config.get("Env") or ())
