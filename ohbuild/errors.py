"""The errors that users see: what failed, where, how to fix it, and a documented exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of the ``ohbuild`` command, documented in docs/commands.md."""

    OK = 0
    BUILD_FAILED = 1
    USAGE = 2
    NO_ENGINE = 3
    REGISTRY = 4
    INTERRUPTED = 130


@dataclass(frozen=True)
class Place:
    """A line of a file.

    Attributes:
        file: Path of the file as shown in errors.
        line: Number of the line, from 1.
    """

    file: str
    line: int

    def __str__(self) -> str:
        """Returns ``file:line``."""
        return f"{self.file}:{self.line}"


class OhbuildError(Exception):
    """An error with a cause and a fix.

    Args:
        message: What failed, why and where, in one line.
        hint: How to fix it, in one line; empty if there is no advice.
        place: The line to fix; ``None`` if there is no single one.
    """

    exit_code: ExitCode = ExitCode.BUILD_FAILED

    def __init__(self, message: str, hint: str = "", *, place: Place | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.place = place


class UsageError(OhbuildError):
    """An invalid argument or setting (exit code 2)."""

    exit_code = ExitCode.USAGE


class InvalidPlatform(UsageError):
    """An unknown platform, or one that components cannot be built for."""


class InvalidReference(UsageError):
    """An invalid image reference."""


class InvalidSetting(UsageError):
    """An unknown setting or an invalid value; the message starts with where it was found."""

    @classmethod
    def at(cls, where: Place | str, message: str, hint: str = "") -> InvalidSetting:
        """Creates the error for something that was found in a file or in another source of settings.

        Args:
            where: A line of a file, or the name of another source; empty if the message names it.
            message: What is wrong.
            hint: How to fix it, in one line.
        """
        place = where if isinstance(where, Place) else None
        return cls(f"{where}: {message}" if where else message, hint, place=place)


class SeveralErrors(OhbuildError):
    """Several errors of one operation; the exit code is that of the first.

    Args:
        what: The operation that failed.
        errors: At least one error.
    """

    def __init__(self, what: str, errors: Sequence[OhbuildError]) -> None:
        super().__init__(what)
        self.errors = tuple(errors)
        self.exit_code = errors[0].exit_code


def together(what: str, errors: Sequence[OhbuildError]) -> OhbuildError:
    """Returns a single error as is, and several as one ``SeveralErrors``.

    Args:
        what: The operation that failed.
        errors: At least one error.
    """
    return errors[0] if len(errors) == 1 else SeveralErrors(what, errors)


class BuildFailed(OhbuildError):
    """A step failed in BuildKit (exit code 1).

    Args:
        message: What failed, why and where, in one line.
        hint: How to fix it, in one line; empty if there is no advice.
        step: Name of the step as BuildKit shows it.
        place: Line of the Dockerfile, whose path is relative to the build context, as BuildKit reports it.
        log: Last lines that the step printed.
    """

    exit_code = ExitCode.BUILD_FAILED

    def __init__(
        self, message: str, hint: str = "", *, step: str = "", place: Place | None = None, log: Sequence[str] = ()
    ) -> None:
        super().__init__(message, hint, place=place)
        self.step = step
        self.log = tuple(log)

    @property
    def where(self) -> str:
        """Line of the Dockerfile, such as ``Dockerfile.deps:23``; empty if BuildKit does not report it."""
        return str(self.place or "")


class DiskFull(BuildFailed):
    """The builder or the registry has no disk space left (exit code 1)."""


class OutOfMemory(BuildFailed):
    """A step ran out of memory or hit its memory limit (exit code 1)."""


class InvalidDockerfile(BuildFailed):
    """The Dockerfile is invalid, or refers to something missing from the context (exit code 1)."""


class AuditFailed(BuildFailed):
    """The closure audit of a component found a library that is missing from ``/openhands`` (exit code 1)."""


class NoEngine(OhbuildError):
    """No Docker Engine or builder responds (exit code 3)."""

    exit_code = ExitCode.NO_ENGINE


class RegistryError(OhbuildError):
    """A registry refused a request or did not respond (exit code 4)."""

    exit_code = ExitCode.REGISTRY


class RegistryRefused(RegistryError):
    """A registry requires a login, or denies access to this one (exit code 4)."""


class ImageNotFound(UsageError):
    """The registry responded and has no such image, so the name must be fixed (exit code 2)."""


class PlatformMissing(ImageNotFound):
    """The image exists, but not for a requested platform."""


class NotAnImage(UsageError):
    """The reference resolves to something else in the registry: a chart, an artifact or an unsupported format."""


class WontWork(UsageError):
    """A base that cannot be used for a runtime image; the message gives the reason."""


class Interrupted(OhbuildError):
    """The build was stopped gracefully at the user's request, such as Ctrl-C (exit code 130)."""

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
