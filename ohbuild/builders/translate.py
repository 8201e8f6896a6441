"""Whatever goes wrong below a ``RuntimeBuilder`` → the one error that it raises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ohbuild.builders.errors import AgentRuntimeBuildError, Category, build_error
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

    Parameters
    ----------
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
