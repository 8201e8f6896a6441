"""Loads the entry points of other packages. A broken one becomes a ``Problem``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any


@dataclass(frozen=True)
class Problem:
    """A problem with an extension.

    Attributes:
        name: Name of the component or builder, or of its entry point if that cannot be loaded.
        source: Package that it comes from, with its version.
        message: Description of the problem.
    """

    name: str
    source: str
    message: str

    def __str__(self) -> str:
        """Returns the problem in one line."""
        return f"{self.name!r} of {self.source}: {self.message}"


def loaded(group: str, problems: list[Problem], read: Callable[[Any], Any]) -> Iterator[tuple[str, str, Any]]:
    """Loads the entry points of a group.

    Args:
        group: Name of the group.
        problems: Receives the entry points that cannot be loaded.
        read: Converts a loaded object to its content.

    Yields:
        The name, package and content of each entry point.
    """
    for entry in sorted(entry_points(group=group), key=lambda entry: (_source(entry), entry.name)):
        try:
            content = read(entry.load())
        except (Exception, SystemExit) as error:
            problems.append(Problem(entry.name, _source(entry), _reason(error)))
        else:
            yield entry.name, _source(entry), content


def _source(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"


def kind_of(value: object) -> str:
    """Describes the object of an entry point, for a message."""
    return f"an object of type {type(value).__name__!r}"


def _reason(error: BaseException) -> str:
    """Returns an exception in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, TypeError) and text.startswith(("is an object", "has an object")):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
