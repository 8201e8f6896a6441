"""The error of the Python API, named as in OpenHands, and the translation of ohbuild's errors into it."""

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
    """The category of an ``AgentRuntimeBuildError``, which indicates who can fix it.

    Attributes:
        CONTEXT: Invalid input: folder, Dockerfile, tags, platform, options, settings or names.
        RESOURCE: Not enough disk space, memory or time.
        NETWORK: A registry, engine, builder or cluster does not respond.
        PERMISSION: Access was denied.
        BUILD: A step of the Dockerfile failed.
        CANCELLED: The build was cancelled.
    """

    CONTEXT = "context"
    RESOURCE = "resource"
    NETWORK = "network"
    PERMISSION = "permission"
    BUILD = "build"
    CANCELLED = "cancelled"


class AgentRuntimeBuildError(OhbuildError):
    """The only exception raised by builders, ``build_runtime_image`` and ``ensure_runtime_image``.

    It is named after ``openhands.core.exceptions.AgentRuntimeBuildError`` of OpenHands 1.6.0. If that module is loaded,
    raised errors are instances of both classes, so that OpenHands' ``except`` clauses catch them.

    Args:
        message: What failed, why and where, in one line.
        category: Kind of error.
        hint: How to fix it, in one line; empty if there is no advice.
        step: Name of the failed step as BuildKit shows it; empty if no step failed.
        where: Line of the Dockerfile, such as ``Dockerfile:3``; empty if BuildKit does not report it.
        log: Last lines that the step printed.
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
        """Returns the message with place, log and hint, because OpenHands prints only the text of an exception."""
        at = f"\n  at: {self.where}" if self.where else ""
        log = "".join(f"\n  | {line}" for line in self.log)
        return f"{self.message}{at}{log}" + (f"\n  {self.hint}" if self.hint else "")


def build_error(message: str, category: Category, hint: str = "", **more: Any) -> AgentRuntimeBuildError:
    """Creates the error to raise; also an instance of OpenHands' class of this name if that is loaded.

    Args:
        message: What failed, why and where, in one line.
        category: Kind of error.
        hint: How to fix it, in one line.
        **more: Other arguments of ``AgentRuntimeBuildError``.
    """
    theirs = getattr(sys.modules.get("openhands.core.exceptions"), "AgentRuntimeBuildError", None)
    kind: type[AgentRuntimeBuildError] = AgentRuntimeBuildError
    if isinstance(theirs, type) and issubclass(theirs, Exception):
        kind = type("AgentRuntimeBuildError", (AgentRuntimeBuildError, theirs), {"__module__": __name__})
    return kind(message, category, hint, **more)


# The first match counts. All other errors are failed steps.
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
    """Returns the category of an error; of ``SeveralErrors``, that of the first."""
    if isinstance(error, SeveralErrors):
        return category_of(error.errors[0])
    if isinstance(error, NoEngine) and "permission denied" in error.message.lower():
        return Category.PERMISSION  # the user has no access to Docker's socket
    return next((category for kind, category in _CATEGORIES if isinstance(error, kind)), Category.BUILD)


def translate(error: OhbuildError) -> AgentRuntimeBuildError:
    """Converts an error of ohbuild; ``SeveralErrors`` become one error with all messages and hints."""
    message, hint = error.message, error.hint
    if isinstance(error, SeveralErrors):
        message = "; ".join([f"{error.message}: {error.errors[0].message}", *(e.message for e in error.errors[1:])])
        hint = "; ".join(dict.fromkeys(item.hint for item in error.errors if item.hint))
    if isinstance(error, BuildFailed):
        return build_error(message, category_of(error), hint, step=error.step, where=error.where, log=error.log)
    return build_error(message, category_of(error), hint)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Converts every exception in the ``with`` block into an ``AgentRuntimeBuildError``, chained to its cause.

    Args:
        what: The operation, as in "WHAT failed"; for exceptions that are not errors of ohbuild.

    Raises:
        AgentRuntimeBuildError: The operation failed.
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
        raise build_error(f"{what} failed: {error}", Category.PERMISSION, "check its owner and mode") from error
    except OSError as error:
        raise build_error(f"{what} failed: {error}", Category.RESOURCE) from error
    except Exception as error:
        raise build_error(
            f"{what} failed: {type(error).__name__}: {error}",
            Category.BUILD,
            "this is a bug in ohbuild: please report it",
        ) from error
