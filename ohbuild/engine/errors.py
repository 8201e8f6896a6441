"""Errors of the engine, with hints derived from logs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ohbuild.errors import BuildFailed, NoEngine
from ohbuild.process import JobFailed, tail

GET_DOCKER = "install Docker with its buildx plugin (https://docs.docker.com/engine/install) and start it"


class CannotHost(NoEngine):
    """This machine cannot run the private engine.

    Args:
        reason: Why not, as a clause.
        instead: Alternative to installing Docker, ending with ``or``; may be empty.
    """

    def __init__(self, reason: str, instead: str = "") -> None:
        super().__init__(f"no Docker Engine responds, and {reason}", instead + GET_DOCKER)


class UnmetChoice(NoEngine):
    """The engine or builder that the user names cannot be used, and no other may take its place (exit code 3)."""


class EngineFailed(NoEngine):
    """The private engine could not be built, started, stopped or removed."""


class PortTaken(NoEngine):
    """The registry's port is already in use."""


class SeedFailed(BuildFailed):
    """A base could not be seeded."""


def with_log(what: str, log: Path) -> str:
    """Returns a message with the path and the last lines of a log."""
    lines = tail(log)
    return f"{what}; the last lines of {log}:\n{lines}" if lines else f"{what}; see {log}"


@contextlib.contextmanager
def explained(kind: type[EngineFailed | SeedFailed], what: str, hint: str = "check the log") -> Iterator[None]:
    """Turns the failure of a job into an error with the last lines of its log.

    Args:
        kind: Class of the error.
        what: What failed.
        hint: How to fix it, if the log does not suggest anything better.

    Raises:
        EngineFailed: The job failed and this is the requested class.
        SeedFailed: Likewise.
    """
    try:
        yield
    except JobFailed as error:
        raise kind(with_log(what, error.job.log), advice(tail(error.job.log), hint)) from None


def advice(log_tail: str, fallback: str) -> str:
    """Returns how to fix a failure of apt or mmdebstrap, based on the last lines of its log."""
    if "No space left" in log_tail:
        return "the disk is full: free some space, or set OHBUILD_ENGINE_DIR to a folder on another disk"
    unreachable = ("Could not resolve", "Temporary failure", "Could not connect", "Failed to fetch")
    if any(word in log_tail for word in unreachable):
        return "the Debian mirror cannot be reached: check the network (and http_proxy), then try again"
    if "Could not get lock" in log_tail:
        return "another apt is running: wait for it to finish, then try again"
    return fallback
