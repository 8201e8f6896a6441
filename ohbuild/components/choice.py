"""Chooses the components of an image: by name, by OpenHands' requirements, or all of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ohbuild.components.builtin import BUILTIN
from ohbuild.components.component import Component
from ohbuild.errors import UsageError, nearest


class UnknownComponent(UsageError):
    """A component name that neither ohbuild nor an extension provides."""


def resolve(names: Iterable[str], known: Sequence[Component] = BUILTIN) -> tuple[Component, ...]:
    """Returns the named components and everything they require, in layer order.

    Args:
        names: Names of components.
        known: All components, in layer order.

    Raises:
        UnknownComponent: A name is unknown. The hint has the nearest known name.
    """
    by_name = {component.name: component for component in known}
    wanted: set[str] = set()
    queue = list(names)
    while queue:
        name = queue.pop()
        if name not in by_name:
            raise UnknownComponent(f"unknown component {name!r}", nearest(name, list(by_name)))
        if name not in wanted:
            wanted.add(name)
            queue.extend(by_name[name].requires)
    return tuple(component for component in known if component.name in wanted)


SERVER = "action-execution-server"
BROWSER = "playwright"
"""The component that gives the server a browser."""
_BROWSER_ITSELF = "chromium"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The components of an image.

    Attributes:
        components: Components in the image, in layer order.
        stages: These and the components that they are built with, in layer order.
    """

    components: tuple[Component, ...]
    stages: tuple[Component, ...]


def choose(
    known: Sequence[Component],
    *,
    components: Iterable[str] = (),
    requirements: Iterable[str] | None = None,
    browser: bool = True,
) -> Choice:
    """Chooses the components of an image.

    Args:
        known: All components, in layer order.
        components: Names of components to include in any case.
        requirements: Agent plug-ins. They choose the components that provide them and the action execution server,
            with a browser if ``browser`` is set. If ``None``, ``components`` are chosen, or all if there are none.
        browser: Whether to include a browser. If not, no component that needs Chromium is chosen.

    Raises:
        UsageError: A name is unknown (with the nearest), or a requested component needs a browser and ``browser`` is
            not set.
    """
    names = list(components)
    needs = {item.name: {other.name for other in resolve([item.name], known)} for item in known}
    if requirements is not None:
        names += [SERVER, *(name for word in requirements for name in _serving(word, known))]
        names += [BROWSER] if browser else []
    elif not names:
        names = [name for name in needs if browser or _BROWSER_ITSELF not in needs[name]]
    chosen = resolve(names, known)
    if not browser and (asking := [name for name in names if _BROWSER_ITSELF in needs[name]]):
        raise UsageError(
            f"component {asking[0]!r} needs a browser, but enable_browser is off",
            "omit either the component or --no-browser",
        )
    return Choice(components=chosen, stages=_with_helpers(chosen, known))


def _serving(requirement: str, known: Sequence[Component]) -> list[str]:
    if found := [item.name for item in known if requirement in item.plugins]:
        return found
    words = [word for item in known for word in item.plugins]
    hint = nearest(requirement, words) if words else "no known component provides agent plug-ins"
    raise UsageError(f"no component provides the agent plug-in {requirement!r}", hint)


def _with_helpers(chosen: Iterable[Component], known: Sequence[Component]) -> tuple[Component, ...]:
    """Adds the components that the chosen ones are built with, and everything those need."""
    stages: tuple[Component, ...] = tuple(chosen)
    while True:
        more = resolve([name for item in stages for name in (item.name, *item.builds_with)], known)
        if len(more) == len(stages):
            return more
        stages = more
