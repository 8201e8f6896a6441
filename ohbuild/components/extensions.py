"""Finds the components of extensions in the entry-point group ``ohbuild.components``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ohbuild.components.builtin import BUILTIN
from ohbuild.components.component import Component
from ohbuild.components.examine import Examination
from ohbuild.entry_points import Problem, kind_of, loaded

COMPONENTS = "ohbuild.components"
OWN = "ohbuild"


@dataclass(frozen=True, kw_only=True)
class Known:
    """All components that are available.

    Attributes:
        components: ohbuild's own in layer order, then those of extensions, each after everything it needs.
        problems: Problems with extensions.
        sources: Component → package that it comes from, with its version; ``ohbuild`` for ohbuild's own.
    """

    components: tuple[Component, ...]
    problems: tuple[Problem, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)


def known_components(own: Iterable[Component] = BUILTIN) -> Known:
    """Returns ohbuild's components and those of the installed extensions.

    Args:
        own: ohbuild's components.
    """
    examination = Examination(own)
    sources = {component.name: OWN for component in examination.good}
    problems: list[Problem] = []
    new: list[Component] = []
    for _, source, found in loaded(COMPONENTS, problems, lambda made: list(_components(made))):
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


def _components(made: object) -> Iterator[Component]:
    """Yields the components of an entry point: a component, an iterable of them, or a callable that returns either.

    Raises:
        TypeError: It is something else.
    """
    if callable(made):
        made = made()
    several = [made] if isinstance(made, Component) else made
    if not isinstance(several, Iterable) or isinstance(several, str | bytes):
        raise TypeError(f"is {kind_of(made)}, neither a Component nor a list of them")
    for item in several:
        if not isinstance(item, Component):
            raise TypeError(f"has {kind_of(item)} among its components")
        yield item
