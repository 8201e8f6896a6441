"""Components of extensions: the entry-point group ``ohbuild.components``."""

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
    """The components there are.

    Args:
        components: ohbuild's own in their layer order, then those of other packages, each after all that it needs.
        sources: component → the package that it is from, with its version; ``ohbuild`` for ohbuild's own.
    """

    components: tuple[Component, ...]
    problems: tuple[Problem, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)


def known_components(own: Iterable[Component] = BUILTIN) -> Known:
    """ohbuild's components and those of the packages that are installed."""
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
    """What an entry point leads to, as components: one, several, or what makes either.

    Raises:
        TypeError: it is something else.
    """
    if callable(made):
        made = made()
    several = [made] if isinstance(made, Component) else made
    if not isinstance(several, Iterable) or isinstance(several, str | bytes):
        raise TypeError(f"is {kind_of(made)}, neither a Component nor several")
    for item in several:
        if not isinstance(item, Component):
            raise TypeError(f"has {kind_of(item)} among its components")
        yield item
