"""Every error a user can meet: what was wrong, where, and the mend, with a documented exit code."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the ``ohbuild`` command (documented in the README)."""

    OK = 0
    BUILD_FAILED = 1
    USAGE = 2
    NO_ENGINE = 3
    REGISTRY = 4
    INTERRUPTED = 130


class OhbuildError(Exception):
    """An error with a cause and a mend.

    Parameters
    ----------
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


class BuildFailed(OhbuildError):
    """BuildKit ran and a step failed (exit code 1)."""

    exit_code = ExitCode.BUILD_FAILED


class NoEngine(OhbuildError):
    """There is no Docker Engine or builder that answers (exit code 3)."""

    exit_code = ExitCode.NO_ENGINE


class RegistryError(OhbuildError):
    """A registry refused or did not answer (exit code 4)."""

    exit_code = ExitCode.REGISTRY


def nearest(word: str, known: list[str]) -> str:
    """``perhaps you meant …`` for an unknown word, or the list of what is known."""
    import difflib

    close = difflib.get_close_matches(word, known, n=1)
    return f"perhaps you meant {close[0]!r}" if close else "known: " + ", ".join(known)
