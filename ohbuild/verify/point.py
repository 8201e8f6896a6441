"""A point of the contract, and how it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import httpx

from ohbuild.components.choice import SERVERS
from ohbuild.errors import Interrupted, OhbuildError
from ohbuild.images import labels as label
from ohbuild.verify.container import Running
from ohbuild.verify.model import State


class Skip(Exception):
    """The point cannot be checked here; the message gives the reason."""


@dataclass(frozen=True)
class Point:
    """A point of the contract.

    Attributes:
        name: Name in the table.
        promise: What the point guarantees, in one line.
        ask: Yields the problems of a running container.
        needs: Names of the components that the point requires; without them it is skipped.
        servers: Names of the servers that it applies to, of which one must be running; empty if none is needed.
    """

    name: str
    promise: str
    ask: Callable[[Running], Iterable[str]]
    needs: tuple[str, ...] = ()
    servers: tuple[str, ...] = SERVERS


def components_of(image: dict[str, object]) -> dict[str, str]:
    """Returns the version of each component by its name, from the labels in an image's config."""
    labels = image.get("Labels") or {}
    assert isinstance(labels, dict)
    return label.component_versions(labels)


def asked(ask: Callable[[], Iterable[str]]) -> tuple[State, tuple[str, ...]]:
    """Checks a point and returns its state and the reasons."""
    reasons: list[str] = []
    try:
        for reason in ask():
            reasons.append(reason)  # one by one, to keep those yielded before an exception
    except Skip as skip:
        return State.SKIPPED, (str(skip),)
    except Interrupted:
        raise
    except OhbuildError as error:
        reasons.append(error.message)
    except (httpx.HTTPError, ValueError, KeyError, LookupError) as error:
        reasons.append(f"unexpected response: {type(error).__name__}: {error}")
    return (State.FAILED if reasons else State.OK), tuple(reasons)


def one_line(text: str) -> str:
    """Returns a text in one line, truncated."""
    return " ".join(str(text).split())[:200]
