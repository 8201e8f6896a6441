"""The one error of the Python API, under OpenHands' own name, and how ohbuild's errors become it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from typing import Any

from ohbuild.errors import (
    BuildFailed,
    DiskFull,
    Interrupted,
    InvalidDockerfile,
    NoEngine,
    OhbuildError,
    OutOfMemory,
    RegistryError,
    RegistryRefused,
    SeveralErrors,
    UsageError,
)


class Category(StrEnum):
    """What kind of thing was wrong, which is to say: who can fix it.

    ``context``: what was given (folder, Dockerfile, tags, platform, arguments, names). ``resource``: disk, memory,
    time. ``network``: something that does not answer. ``permission``: a refusal. ``build``: a step of the Dockerfile.
    ``cancelled``: stopped on purpose.
    """

    CONTEXT = "context"
    RESOURCE = "resource"
    NETWORK = "network"
    PERMISSION = "permission"
    BUILD = "build"
    CANCELLED = "cancelled"


class AgentRuntimeBuildError(OhbuildError):
    """A ``RuntimeBuilder`` could not do what it was asked; nothing else is ever raised by one.

    The name is that of ``openhands.core.exceptions.AgentRuntimeBuildError`` (OpenHands 1.6.0). Where that module is
    loaded, what is raised is an instance of both.

    Args:
        message: what was wrong and where, one line.
        category: the kind of error.
        hint: what to do about it, one line; empty if there is nothing to say.
        step: the failing step as BuildKit shows it; empty if no step failed.
        where: file and line of the Dockerfile, as in ``Dockerfile:3``; empty if BuildKit did not tell.
        log: the last lines that the step printed.
    """

    def __init__(
        self,
        message: str,
        category: Category = Category.BUILD,
        hint: str = "",
        *,
        step: str = "",
        where: str = "",
        log: Sequence[str] = (),
    ) -> None:
        super().__init__(message, hint)
        self.category = category
        self.step = step
        self.where = where
        self.log = tuple(log)

    def __reduce__(self) -> tuple[object, ...]:
        made_again = partial(build_error, step=self.step, where=self.where, log=self.log)
        return made_again, (self.message, self.category, self.hint)

    def __str__(self) -> str:
        """All of it: OpenHands prints the text of an exception and nothing else."""
        at = f"\n  at: {self.where}" if self.where else ""
        log = "".join(f"\n  | {line}" for line in self.log)
        return f"{self.message}{at}{log}" + (f"\n  {self.hint}" if self.hint else "")


def build_error(message: str, category: Category, hint: str = "", **more: Any) -> AgentRuntimeBuildError:
    """The error to raise; one of OpenHands' own as well if its module is loaded, so that its ``except`` catches it."""
    theirs = getattr(sys.modules.get("openhands.core.exceptions"), "AgentRuntimeBuildError", None)
    kind: type[AgentRuntimeBuildError] = AgentRuntimeBuildError
    if isinstance(theirs, type) and issubclass(theirs, Exception):
        kind = type("AgentRuntimeBuildError", (AgentRuntimeBuildError, theirs), {"__module__": __name__})
    return kind(message, category, hint, **more)


# The first that fits. What is not here is BuildFailed or less specific: a step of the Dockerfile.
_CATEGORIES: tuple[tuple[type[OhbuildError], Category], ...] = (
    (Interrupted, Category.CANCELLED),
    (DiskFull, Category.RESOURCE),
    (OutOfMemory, Category.RESOURCE),
    (InvalidDockerfile, Category.CONTEXT),
    (RegistryRefused, Category.PERMISSION),
    (RegistryError, Category.NETWORK),
    (NoEngine, Category.NETWORK),
    (UsageError, Category.CONTEXT),
)


def category_of(error: OhbuildError) -> Category:
    """The category of one of ohbuild's errors; of several, that of the first."""
    if isinstance(error, SeveralErrors):
        return category_of(error.errors[0])
    if isinstance(error, NoEngine) and "permission denied" in error.message.lower():
        return Category.PERMISSION  # the socket is there and not for this user
    return next((category for kind, category in _CATEGORIES if isinstance(error, kind)), Category.BUILD)


def translate(error: OhbuildError) -> AgentRuntimeBuildError:
    """One of ohbuild's errors under OpenHands' name; several become one whose message has them all."""
    message, hint = error.message, error.hint
    if isinstance(error, SeveralErrors):
        message = "; ".join([f"{error.message}: {error.errors[0].message}", *(e.message for e in error.errors[1:])])
        hint = "; ".join(dict.fromkeys(item.hint for item in error.errors if item.hint))
    if isinstance(error, BuildFailed):
        return build_error(message, category_of(error), hint, step=error.step, where=error.where, log=error.log)
    return build_error(message, category_of(error), hint)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Let nothing but ``AgentRuntimeBuildError`` out, chained to its cause.

    Args:
        what: was attempted; for errors that have no words of ohbuild's.
    """
    try:
        yield
    except AgentRuntimeBuildError:
        raise
    except OhbuildError as error:
        raise translate(error) from error
    except KeyboardInterrupt as error:
        raise build_error(f"{what} was interrupted", Category.CANCELLED) from error
    except PermissionError as error:
        raise build_error(f"{what} failed: {error}", Category.PERMISSION, "see the owner and mode of it") from error
    except OSError as error:
        raise build_error(f"{what} failed: {error}", Category.RESOURCE) from error
    except Exception as error:
        raise build_error(
            f"{what} failed: {type(error).__name__}: {error}",
            Category.BUILD,
            "this is a defect of ohbuild's: report it",
        ) from error
