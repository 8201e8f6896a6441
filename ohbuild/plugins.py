"""Components and builders of other packages: the entry-point groups ``ohbuild.components`` and ``ohbuild.builders``.

A package that is broken is a ``Problem`` with its name, and stops nothing else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ohbuild.components import BUILTIN, Component
from ohbuild.components.examine import Examination

COMPONENTS = "ohbuild.components"
BUILDERS = "ohbuild.builders"
OWN = "ohbuild"
OWN_BUILDERS = ("docker", "kubernetes", "local", "cli")
"""Names of ohbuild's own builders, which no plug-in can take."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a plug-in.

    Args:
        name: of the component or builder; of its entry point where it does not even get that far.
        source: the package that it is from, with its version.
    """

    name: str
    source: str
    message: str

    def __str__(self) -> str:
        return f"{self.name!r} of {self.source}: {self.message}"


@dataclass(frozen=True, kw_only=True)
class Known:
    """The components there are.

    Args:
        components: ohbuild's own in their layer order, then those of other packages, each after all that it needs.
        sources: component → the package that it is from, with its version; ``ohbuild`` for ohbuild's own.
    """

    components: tuple[Component, ...]
    problems: tuple[Problem, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class KnownBuilders:
    """The builders of other packages: name → what makes one, called with ``settings=`` and the options."""

    builders: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)


def known_components(own: Iterable[Component] = BUILTIN) -> Known:
    """ohbuild's components and those of the packages that are installed."""
    examination = Examination(own)
    sources = {component.name: OWN for component in examination.good}
    problems: list[Problem] = []
    new: list[Component] = []
    for _, source, found in _loaded(COMPONENTS, problems, lambda made: list(_components(made))):
        for component in found:
            if problem := examination.problem(component):
                problems.append(Problem(component.name, source, problem))
            else:
                examination.add(component)
                sources[component.name] = source
                new.append(component)
    ordered, lost = examination.in_order(new)
    problems += [Problem(name, sources.pop(name), reason) for name, reason in lost.items()]
    return Known(components=(*own, *ordered), problems=tuple(problems), sources=sources)


def known_builders() -> KnownBuilders:
    """The builders of the packages that are installed."""
    from ohbuild.builders.base import RuntimeBuilder  # it is the builders that import this module

    builders: dict[str, Callable[..., Any]] = {}
    problems: list[Problem] = []
    sources: dict[str, str] = {}
    for name, source, made in _loaded(BUILDERS, problems, lambda made: made):
        if name in OWN_BUILDERS:
            problem = "ohbuild has a builder of that name"
        elif name in builders:
            problem = f"{sources[name]} has a builder of that name"
        elif not callable(made):
            problem = f"is {_kind(made)}, neither a class nor a function that makes a builder"
        elif inspect.isclass(made) and not issubclass(made, RuntimeBuilder):
            problem = f"the class {made.__name__} is not derived from ohbuild.RuntimeBuilder"
        else:
            builders[name] = made
            sources[name] = source
            continue
        problems.append(Problem(name, source, problem))
    return KnownBuilders(builders=builders, problems=tuple(problems), sources=sources)


def _loaded(group: str, problems: list[Problem], read: Callable[[Any], Any]) -> Iterator[tuple[str, str, Any]]:
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


def _components(made: object) -> Iterator[Component]:
    """What an entry point leads to, as components: one, several, or what makes either.

    Raises:
        TypeError: it is something else.
    """
    if callable(made):
        made = made()
    several = [made] if isinstance(made, Component) else made
    if not isinstance(several, Iterable) or isinstance(several, str | bytes):
        raise TypeError(f"is {_kind(made)}, neither a Component nor several")
    for item in several:
        if not isinstance(item, Component):
            raise TypeError(f"has {_kind(item)} among its components")
        yield item


def _kind(value: object) -> str:
    return f"an object of type {type(value).__name__!r}"


def _reason(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, TypeError) and text.startswith(("is an object", "has an object")):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
