"""Runs the docker client for ``verify``, with time limits, from several threads, and leaves nothing behind."""

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
    """A command failed or timed out; the message names the command and the reason in one line."""


@dataclass(frozen=True)
class Done:
    """The result of a command.

    Attributes:
        code: Exit code.
        out: Standard output.
        err: Standard error.
    """

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The line of output that most likely gives the reason for a failure."""
        for text in (self.err, self.out):
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            lines = [line for line in lines if not line.startswith("Run 'docker ")]  # a pointer to --help
            if lines:
                # The last line is the error of a traceback, but not that of the loader or of a fatal Python error.
                telling = [line for line in lines if re.search(r"\berror\b|Error:", line)]
                return (telling or lines)[-1]
        return "it printed nothing"


class Docker:
    """Runs the docker client, and removes the containers that were started.

    Args:
        connection: How to reach the engine.

    Attributes:
        label: Label to start containers with, by which ``close`` finds them.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.label = f"{LABEL}={uuid.uuid4().hex}"
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def run(self, *words: str, stdin: str | None = None, seconds: float = 60) -> Done:
        """Runs ``docker WORDS…`` to completion. A non-zero exit code is not an error.

        Args:
            *words: Subcommand and arguments.
            stdin: Text for standard input; empty by default.
            seconds: Time limit, after which the command is killed.

        Raises:
            CommandFailed: The command timed out.
            Interrupted: ``stop`` was called.
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
                encoding="utf-8",
                errors="replace",
                # Ctrl-C must reach only us: we stop what is running, and then clean up with this client.
                start_new_session=True,
            )
            self._running.add(process)
        try:
            out, err = process.communicate(stdin, timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise CommandFailed(f"docker {words[0]} timed out after {seconds:.0f} s") from None
        finally:
            with self._lock:
                self._running.discard(process)
        if self._stopped:
            raise Interrupted("stopped")
        return Done(process.returncode, out, err)

    def ask(self, *words: str, seconds: float = 60) -> str:
        """Returns the standard output of ``docker WORDS…``.

        Raises:
            CommandFailed: The command failed or timed out.
            Interrupted: ``stop`` was called.
        """
        done = self.run(*words, seconds=seconds)
        if done.code:
            raise CommandFailed(f"docker {words[0]}: {done.last}")
        return done.out

    def stop(self) -> None:
        """Kills running commands, removes the containers and blocks new commands. Thread-safe."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                with contextlib.suppress(OSError):
                    process.kill()
        self.close()

    def remove(self, container: str) -> None:
        """Removes a container and its volumes. Also works after ``stop``."""
        self._plain("rm", "--force", "--volumes", container)

    def forget(self, image: str) -> None:
        """Removes an image from Docker's local store. Also works after ``stop``."""
        self._plain("image", "rm", "--force", image)

    def close(self) -> None:
        """Removes every container with our label."""
        listed = self._plain("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={self.label}")
        for container in listed.split():
            self.remove(container)

    def _plain(self, *words: str) -> str:
        environment = self.connection.environment()
        return process.ask([self.connection.docker, *words], env=environment, timeout=_CLEAN_SECONDS).out


def environment(config: dict[str, Any]) -> dict[str, str]:
    """Returns the environment in an image's or container's config (``Config.Env`` of ``docker inspect``)."""
    return dict(item.partition("=")[::2] for item in config.get("Env") or ())
