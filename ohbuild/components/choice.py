"""Chooses the components of an image: by name, by OpenHands' requirements, or all of them. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
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


AGENT_SERVER = "agent-server"
ACTION_EXECUTION_SERVER = "action-execution-server"
SERVERS = (AGENT_SERVER, ACTION_EXECUTION_SERVER)
"""The servers, by the names of their components. An image starts the first one that it has."""
BOTH = "both"
_BROWSER = "chromium"
_PLUGIN_BROWSER = "playwright"


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
    server: str | None = None,
    components: Iterable[str] = (),
    requirements: Iterable[str] | None = None,
    browser: bool = True,
) -> Choice:
    """Chooses the components of an image.

    Args:
        known: All components, in layer order.
        server: ``agent-server``, ``action-execution-server`` or ``both``. By default the agent-server, or with agent
            plug-ins the action execution server, which they belong to.
        components: Names of components to include in any case. If there are none, or only optional ones, all of the
            server's are included too.
        requirements: Agent plug-ins. They choose the components of the action execution server that provide them, with
            a browser if ``browser`` is set.
        browser: Whether to include a browser. If not, no component that needs Chromium is chosen.

    Raises:
        UsageError: A name is unknown (with the nearest), a requested component needs a browser and ``browser`` is not
            set, or agent plug-ins are requested for a server without any.
    """
    names = list(components)
    needs = {item.name: {other.name for other in resolve([item.name], known)} for item in known}
    servers = servers_of(server, requirements)
    if requirements is not None and ACTION_EXECUTION_SERVER not in servers:
        what = f"agent plug-ins belong to the action-execution-server, but the server is {server}"
        raise UsageError(what, "omit the agent plug-ins, or use --server action-execution-server")

    def defaults(of: Sequence[str]) -> list[str]:
        return [name for name in default_names(known, of) if browser or _BROWSER not in needs[name]]

    if requirements is not None:
        names += [ACTION_EXECUTION_SERVER, *(name for word in requirements for name in _serving(word, known))]
        names += [_PLUGIN_BROWSER] if browser else []
        names += defaults([AGENT_SERVER]) if AGENT_SERVER in servers else []
    elif set(names) - {item.name for item in known if item.optional}:
        names += servers if server else []
    else:
        names += defaults(servers)
    chosen = resolve(names, known)
    if not browser and (asking := [name for name in names if _BROWSER in needs[name]]):
        raise UsageError(
            f"component {asking[0]!r} needs a browser, but enable_browser is off",
            "omit either the component or --no-browser",
        )
    return Choice(components=chosen, stages=_with_helpers(chosen, known))


def servers_of(server: str | None, requirements: Iterable[str] | None = None) -> tuple[str, ...]:
    """Returns the servers of the settings, by the names of their components."""
    if server == BOTH:
        return SERVERS
    return (server or (AGENT_SERVER if requirements is None else ACTION_EXECUTION_SERVER),)


def servers_in(names: Container[str]) -> tuple[str, ...]:
    """Returns the servers among components. An image starts the first one."""
    return tuple(name for name in SERVERS if name in names)


def default_names(known: Sequence[Component], servers: Iterable[str]) -> list[str]:
    """Returns the components that images with these servers have by default."""
    there = {item.name for item in known}
    needed = {item.name for name in servers if name in there for item in resolve([name], known)}
    return [
        item.name
        for item in known
        if not item.optional and (not item.servers or set(item.servers) & set(servers) or item.name in needed)
    ]


def in_version(known: Sequence[Component], name: str, version: str) -> tuple[Component, ...]:
    """Returns the components with one of them in another version; unchanged if ``version`` is empty.

    Raises:
        UsageError: There is no lock of this version.
    """
    return tuple(item.at(version) if version and item.name == name else item for item in known)


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
