"""Which components an image is made of: by their names, by what OpenHands asks for, or all of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ohbuild.components.builtin import BUILTIN
from ohbuild.components.component import Component
from ohbuild.errors import UsageError, nearest


class UnknownComponent(UsageError):
    """A component name that no built-in or plug-in provides."""


def resolve(names: Iterable[str], known: Sequence[Component] = BUILTIN) -> tuple[Component, ...]:
    """The named components and all they require, in layer order.

    Raises:
        UnknownComponent: a name is not known; the message names the nearest.
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
"""The component by which the server has a browser."""
_BROWSER_ITSELF = "chromium"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The components of an image, and the stages that its Dockerfile needs; both in layer order."""

    components: tuple[Component, ...]
    stages: tuple[Component, ...]


def choose(
    known: Sequence[Component],
    *,
    components: Iterable[str] = (),
    requirements: Iterable[str] | None = None,
    browser: bool = True,
) -> Choice:
    """Choose components.

    Args:
        known: the components there are, in layer order.
        components: names of those that are to be there at any rate.
        requirements: OpenHands' plug-ins: the action execution server and what serves them are chosen, and what gives
            the server a browser if ``browser`` is set. ``None``: all that are known, or those of ``components`` if it
            has any.
        browser: unset, nothing that needs Chromium is chosen.

    Raises:
        UsageError: a name is not known (the nearest is named), or a browser is both asked for and refused.
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
            f"component {asking[0]!r} needs a browser, and enable_browser is off",
            "leave out the component, or --no-browser",
        )
    return Choice(components=chosen, stages=_with_helpers(chosen, known))


def _serving(requirement: str, known: Sequence[Component]) -> list[str]:
    if found := [item.name for item in known if requirement in item.plugins]:
        return found
    words = [word for item in known for word in item.plugins]
    hint = nearest(requirement, words) if words else "none of the components there are serves any"
    raise UsageError(f"no component serves the plug-in {requirement!r}", hint)


def _with_helpers(chosen: Iterable[Component], known: Sequence[Component]) -> tuple[Component, ...]:
    """With those that some of them are built with, and what these need in turn."""
    stages: tuple[Component, ...] = tuple(chosen)
    while True:
        more = resolve([name for item in stages for name in (item.name, *item.builds_with)], known)
        if len(more) == len(stages):
            return more
        stages = more
