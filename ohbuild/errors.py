"""Every error a user can meet: what failed, where, and the fix, with a documented exit code."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the ``ohbuild`` command (documented in docs/commands.md)."""

    OK = 0
    BUILD_FAILED = 1
    USAGE = 2
    NO_ENGINE = 3
    REGISTRY = 4
    INTERRUPTED = 130


class OhbuildError(Exception):
    """An error with a cause and a fix.

    Args:
        message: what was wrong and where, one line.
        hint: what to do about it, one line; empty if there is nothing to say.
    """

    exit_code: ExitCode = ExitCode.BUILD_FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(OhbuildError):
    """A wrong argument or setting (exit code 2)."""

    exit_code = ExitCode.USAGE


class InvalidPlatform(UsageError):
    """A platform that does not exist, or that no component can be built for."""


class InvalidReference(UsageError):
    """A text that is not an image reference."""


class InvalidSetting(UsageError):
    """A setting that is unknown or has a wrong value; the message begins with where it was found."""


class SeveralErrors(OhbuildError):
    """All that is wrong, found in one go; the exit code is that of the first.

    Args:
        what: what was attempted.
        errors: at least one.
    """

    def __init__(self, what: str, errors: Sequence[OhbuildError]) -> None:
        super().__init__(what)
        self.errors = tuple(errors)
        self.exit_code = errors[0].exit_code


def together(what: str, errors: Sequence[OhbuildError]) -> OhbuildError:
    """The error itself if there is one, otherwise all of them as one that says what was attempted."""
    return errors[0] if len(errors) == 1 else SeveralErrors(what, errors)


class BuildFailed(OhbuildError):
    """BuildKit ran and a step failed (exit code 1).

    Args:
        step: the step's name as BuildKit shows it.
        where: ``Dockerfile.deps:23`` where BuildKit told.
        log: the last lines that the step printed.
    """

    exit_code = ExitCode.BUILD_FAILED

    def __init__(
        self, message: str, hint: str = "", *, step: str = "", where: str = "", log: Sequence[str] = ()
    ) -> None:
        super().__init__(message, hint)
        self.step = step
        self.where = where
        self.log = tuple(log)


class DiskFull(BuildFailed):
    """The builder or the registry has no space left (exit code 1)."""


class OutOfMemory(BuildFailed):
    """The kernel or a limit ended a step for want of memory (exit code 1)."""


class InvalidDockerfile(BuildFailed):
    """The Dockerfile is not understood, or names something that the context has not (exit code 1)."""


class AuditFailed(BuildFailed):
    """A component's closure audit found a library that is not in ``/openhands`` (exit code 1)."""


class NoEngine(OhbuildError):
    """There is no Docker Engine or builder that answers (exit code 3)."""

    exit_code = ExitCode.NO_ENGINE


class RegistryError(OhbuildError):
    """A registry refused or did not answer (exit code 4)."""

    exit_code = ExitCode.REGISTRY


class RegistryRefused(RegistryError):
    """A registry wants a log-in, or does not let this one do it (exit code 4)."""


class ImageNotFound(UsageError):
    """The registry answered and has no such image: the name has to be fixed (exit code 2)."""


class PlatformMissing(ImageNotFound):
    """The image is there, but not for a platform that was asked for."""


class NotAnImage(UsageError):
    """The reference leads to something else in the registry: a chart, an artifact, a format that is no more read."""


class WontWork(UsageError):
    """A base that no runtime image can be made from; the message says why."""


class Interrupted(OhbuildError):
    """The user pressed Ctrl-C; the build was stopped in good order (exit code 130)."""

    exit_code = ExitCode.INTERRUPTED


def did_you_mean(word: str, known: Sequence[str], cutoff: float = 0.6) -> str:
    """Returns ``perhaps you meant …`` if a known word resembles ``word``, or else an empty string.

    Args:
        word: The unknown word.
        known: The known words.
        cutoff: How similar the two must be, from 0 to 1.
    """
    import difflib

    close = difflib.get_close_matches(word, known, n=1, cutoff=cutoff)
    return f"perhaps you meant {close[0]!r}" if close else ""


def nearest(word: str, known: Sequence[str]) -> str:
    """Returns ``perhaps you meant …`` for an unknown word, or else the list of known words."""
    return did_you_mean(word, known) or "known: " + ", ".join(known)
