"""Creates the ``RuntimeBuilder`` for the name of an OpenHands runtime."""

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
"""The entry-point group for builders of extensions."""

# OpenHands' runtimes `local` and `cli` need no image. If one is requested anyway, it is built with Docker.
BUILTIN: Mapping[str, Callable[..., RuntimeBuilder]] = {
    "docker": DockerBuilder,
    "local": DockerBuilder,
    "cli": DockerBuilder,
    "kubernetes": KubernetesBuilder,
}


@dataclass(frozen=True, kw_only=True)
class KnownBuilders:
    """The builders of installed extensions.

    Attributes:
        builders: Classes or functions that create a builder, by name. They are called with ``settings=`` and options.
        problems: Builders that cannot be used.
        sources: Package of each builder, by name.
    """

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
    """Creates the builder for an OpenHands runtime.

    Args:
        runtime: ``docker``, ``kubernetes``, ``local``, ``cli``, or the name of a builder that an extension provides
            (entry-point group ``ohbuild.builders``). By default the runtime in ``config``, or else the setting
            ``runtime``.
        config: OpenHands' configuration: a ``SandboxConfig``, a mapping, or OpenHands' own object. Its platform becomes
            the builder's default.
        settings: Settings of ohbuild; by default read from ``ohbuild.toml`` and ``OHBUILD_*`` variables.
        **options: Arguments of the builder's class, such as ``push`` or ``timeout``. They override settings and
            ``config``.

    Returns:
        A ``DockerBuilder`` for ``docker``, ``local`` and ``cli``, a ``KubernetesBuilder`` for ``kubernetes``, or the
        extension's builder. Close it after use, or use it in a ``with`` statement.

    Raises:
        AgentRuntimeBuildError: The builder is unknown, its extension is broken, or an option or setting is invalid.

    Example:
        >>> with ohbuild.create_builder("docker", timeout=600) as builder:
        ...     name = ohbuild.build_runtime_image("debian:trixie", builder)
    """
    with translated("creating the RuntimeBuilder"):
        settings = settings or load().settings
        sandbox = None if config is None else SandboxConfig.read(config)
        name = runtime or (sandbox.runtime if sandbox else "") or settings.runtime
        if sandbox and sandbox.platform:
            options.setdefault("platform", sandbox.platform)
        make = BUILTIN.get(name) or _plugin(name)
        try:
            return make(settings=settings, **options)
        except TypeError as error:
            raise UsageError(
                f"invalid options for the builder {name!r}: {error}", "see the arguments of its class"
            ) from error


def known_builders() -> KnownBuilders:
    """Loads the builders of all installed extensions."""
    builders: dict[str, Callable[..., Any]] = {}
    problems: list[Problem] = []
    sources: dict[str, str] = {}
    for name, source, made in loaded(GROUP, problems, lambda made: made):
        if name in BUILTIN:
            problem = "the name is already used by ohbuild"
        elif name in builders:
            problem = f"the name is already used by {sources[name]}"
        elif not callable(made):
            problem = f"is {kind_of(made)}, not a class or function that creates a builder"
        elif inspect.isclass(made) and not issubclass(made, RuntimeBuilder):
            problem = f"the class {made.__name__} is not a subclass of ohbuild.RuntimeBuilder"
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
    raise UsageError(f"unknown builder or runtime {name!r}", nearest(name, [*BUILTIN, *known.builders]))
