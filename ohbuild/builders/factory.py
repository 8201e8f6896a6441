"""From the name of an OpenHands runtime to the builder of its images."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ohbuild.builders.base import RuntimeBuilder
from ohbuild.builders.docker import DockerBuilder
from ohbuild.builders.errors import translated
from ohbuild.builders.kubernetes import KubernetesBuilder
from ohbuild.config.sandbox import SandboxConfig
from ohbuild.config.settings import Settings, load
from ohbuild.entry_points import Problem, kind_of, loaded
from ohbuild.errors import UsageError, nearest

GROUP = "ohbuild.builders"
"""The entry-point group of builders from extensions."""

# OpenHands' runtimes `local` and `cli` run without an image; what asks for one all the same is given Docker's.
BUILTIN: Mapping[str, Callable[..., RuntimeBuilder]] = {
    "docker": DockerBuilder,
    "local": DockerBuilder,
    "cli": DockerBuilder,
    "kubernetes": KubernetesBuilder,
}


@dataclass(frozen=True, kw_only=True)
class KnownBuilders:
    """The builders of other packages: name → what makes one, called with ``settings=`` and the options."""

    builders: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)


def create_builder(
    runtime: str = "",
    *,
    config: SandboxConfig | Mapping[str, Any] | object | None = None,
    settings: Settings | None = None,
    **options: Any,
) -> RuntimeBuilder:
    """The builder for a runtime.

    Args:
        runtime: ``docker``, ``kubernetes``, ``local``, ``cli``, or a name of the entry-point group
            ``ohbuild.builders``; if empty, what ``config`` says, else the setting ``runtime``.
        config: OpenHands' configuration (``SandboxConfig``, a mapping, or an object of OpenHands' own).
        settings: ohbuild's settings; read if not given.
        **options: of the builder's class, over the settings.

    Raises:
        AgentRuntimeBuildError: there is no such builder, its plug-in is broken, or an option is wrong.
    """
    with translated("making a RuntimeBuilder"):
        settings = settings or load().settings
        sandbox = None if config is None else SandboxConfig.read(config)
        name = runtime or (sandbox.runtime if sandbox else "") or settings.runtime
        if sandbox and sandbox.platform:
            options.setdefault("platform", sandbox.platform)
        make = BUILTIN.get(name) or _plugin(name)
        try:
            return make(settings=settings, **options)
        except TypeError as error:
            raise UsageError(f"the builder {name!r} does not take these options: {error}", "see its class") from error


def known_builders() -> KnownBuilders:
    """The builders of the packages that are installed."""
    builders: dict[str, Callable[..., Any]] = {}
    problems: list[Problem] = []
    sources: dict[str, str] = {}
    for name, source, made in loaded(GROUP, problems, lambda made: made):
        if name in BUILTIN:
            problem = "ohbuild has a builder of that name"
        elif name in builders:
            problem = f"{sources[name]} has a builder of that name"
        elif not callable(made):
            problem = f"is {kind_of(made)}, neither a class nor a function that makes a builder"
        elif inspect.isclass(made) and not issubclass(made, RuntimeBuilder):
            problem = f"the class {made.__name__} is not derived from ohbuild.RuntimeBuilder"
        else:
            builders[name] = made
            sources[name] = source
            continue
        problems.append(Problem(name, source, problem))
    return KnownBuilders(builders=builders, problems=tuple(problems), sources=sources)


def _plugin(name: str) -> Callable[..., RuntimeBuilder]:
    known = known_builders()
    if name in known.builders:
        return known.builders[name]
    for problem in known.problems:
        if problem.name == name:
            raise UsageError(f"the builder {name!r} cannot be used: {problem}", "see `ohbuild components`")
    raise UsageError(f"there is no builder for the runtime {name!r}", nearest(name, [*BUILTIN, *known.builders]))
