"""Loads what other packages offer by entry points. A package that is broken is a ``Problem`` with its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any


@dataclass(frozen=True)
class Problem:
    """What is wrong with an extension.

    Args:
        name: of the component or builder; of its entry point where it does not even get that far.
        source: the package that it is from, with its version.
    """

    name: str
    source: str
    message: str

    def __str__(self) -> str:
        return f"{self.name!r} of {self.source}: {self.message}"


def loaded(group: str, problems: list[Problem], read: Callable[[Any], Any]) -> Iterator[tuple[str, str, Any]]:
    """The name, the package and the content of each entry point; one that cannot be loaded is added to the problems."""
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
    """What sort of thing an entry point led to, for a message."""
    return f"an object of type {type(value).__name__!r}"


def _reason(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, TypeError) and text.startswith(("is an object", "has an object")):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
