"""The errors of the engine, with their cause and their fix."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ohbuild.errors import BuildFailed, NoEngine
from ohbuild.process import JobFailed, tail

GET_DOCKER = "install Docker with its buildx plugin (https://docs.docker.com/engine/install) and start it"


class CannotHost(NoEngine):
    """This machine cannot have the private engine: why, and what else than to get Docker would help."""

    def __init__(self, reason: str, instead: str = "") -> None:
        super().__init__(f"no Docker answers, and {reason}", instead + GET_DOCKER)


class EngineFailed(NoEngine):
    """The private engine could not be made or started."""


class PortTaken(NoEngine):
    """Something else listens on the registry's port."""


class SeedFailed(BuildFailed):
    """A base could not be made."""


def with_log(what: str, log: Path) -> str:
    """A message that ends with the last lines of a log and its path."""
    lines = tail(log)
    return f"{what}; the last lines of {log}:\n{lines}" if lines else f"{what}; see {log}"


@contextlib.contextmanager
def explained(kind: type[EngineFailed | SeedFailed], what: str, hint: str = "see the log") -> Iterator[None]:
    """Turns a job that failed into an error of that kind, with the last lines of its log and what to do about it."""
    try:
        yield
    except JobFailed as error:
        raise kind(with_log(what, error.job.log), advice(tail(error.job.log), hint)) from None


def advice(log_tail: str, fallback: str) -> str:
    """What to do about a failed apt or mmdebstrap, from what its last lines say."""
    if "No space left" in log_tail:
        return "the disk is full: free some space, or set OHBUILD_ENGINE_DIR to a folder on another disk"
    unreachable = ("Could not resolve", "Temporary failure", "Could not connect", "Failed to fetch")
    if any(word in log_tail for word in unreachable):
        return "the Debian mirror cannot be reached: check the network (and http_proxy), then try again"
    if "Could not get lock" in log_tail:
        return "another apt is at work: wait for it, then try again"
    return fallback
