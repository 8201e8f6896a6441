"""What is asked for, judged as far as that needs nobody's help: components, bases with their platforms, arguments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ohbuild.components.choice import choose
from ohbuild.components.component import Component
from ohbuild.components.stages import Stages, read_stages
from ohbuild.config.settings import BaseSetting, Settings
from ohbuild.errors import InvalidPlatform, InvalidReference, OhbuildError, UsageError, nearest, together
from ohbuild.images.platform import Platform, native_platform
from ohbuild.images.reference import ImageRef

BUILDABLE = (Platform("linux", "amd64"), Platform("linux", "arm64"))
"""What the built-in components can be assembled for."""

CONTEXT_PREFIX = "component-"
"""Stages, named contexts and targets of the component images. BuildKit looks a base up among the named contexts too, so
a context called just ``python`` would take the place of the base ``python:latest``."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A run that contradicts nothing.

    Args:
        components: what is to be in the images, in layer order.
        stages: what their images are built from; none with a ready deps image.
        args: the build arguments of these, with their values.
        bases: each with the platforms of its runtime; empty for the deps image alone.
        platforms: of the deps image: the union of those.
    """

    settings: Settings
    components: tuple[Component, ...]
    stages: Stages
    args: Mapping[str, str]
    bases: tuple[tuple[BaseSetting, tuple[Platform, ...]], ...]
    platforms: tuple[Platform, ...]

    @property
    def wanted(self) -> list[tuple[ImageRef, tuple[Platform, ...]]]:
        """The bases to ask registries for."""
        return [(base.image, platforms) for base, platforms in self.bases]


def make_request(
    settings: Settings,
    known: Sequence[Component],
    *,
    native: Platform | None = None,
    deps_only: bool = False,
    buildable: Iterable[Platform] = BUILDABLE,
) -> Request:
    """Judge what is asked for.

    Args:
        known: the components there are, in layer order.
        native: the platform to build where none was asked for; this machine's by default.
        deps_only: no runtimes.
        buildable: the platforms that the components support; not asked of a ready deps image.

    Raises:
        UsageError: all that contradicts itself, collected in one ``SeveralErrors``.
        OhbuildError: a component's template or files are missing or wrong.
    """
    choice = choose(
        known,
        components=settings.components,
        requirements=settings.requirements,
        browser=settings.enable_browser,
    )
    native = native or native_platform()
    ready = settings.deps_image is not None
    problems: list[OhbuildError] = []
    if deps_only and ready:
        problems.append(UsageError("a ready deps image leaves nothing to build", "leave out --deps-image (deps_image)"))
    bases, wrong = ([], []) if deps_only else _bases(settings, native)
    problems += wrong
    if not deps_only and not settings.bases:
        problems.append(_no_base("bake"))
    union = dict.fromkeys(platform for _, platforms in bases for platform in platforms)
    platforms = tuple(sorted(union or settings.platforms or (native,)))
    if not ready:
        problems += _unbuildable(platforms, tuple(buildable))
        if not choice.components:
            problems.append(UsageError("no component is selected", "leave `components` empty to take all"))
    used = () if ready else choice.stages
    args: Mapping[str, str] = {}
    try:
        args = choose_arguments(used, settings.build_args)
    except OhbuildError as error:
        problems.append(error)
    if problems:
        raise together("nothing was started", problems)
    stages = read_stages(used) if used else Stages()
    return Request(
        settings=settings,
        components=choice.components,
        stages=stages,
        args=args,
        bases=tuple(bases),
        platforms=platforms,
    )


def choose_arguments(components: Iterable[Component], given: Mapping[str, str]) -> dict[str, str]:
    """The build arguments of these components, with the values given or else their defaults.

    Raises:
        UsageError: no component has an argument of a given name; the nearest is named.
    """
    arguments = {name: value for component in components for name, value in component.args.items()}
    for name in given:
        if name not in arguments:
            hint = nearest(name, list(arguments)) if arguments else "none of the chosen components has any"
            raise UsageError(f"no component has a build argument {name!r}", hint)
    return {name: given.get(name, default) for name, default in sorted(arguments.items())}


def wanted_platforms(settings: Settings, native: Platform) -> list[tuple[ImageRef, tuple[Platform, ...]]]:
    """The bases of the settings, each with the platforms that its runtime will have; each base once.

    Raises:
        UsageError: all that is wrong with it, collected in one ``SeveralErrors``.
    """
    problems: list[OhbuildError] = [] if settings.bases else [_no_base("check")]
    bases, wrong = _bases(settings, native)
    problems += wrong
    problems += _unbuildable({platform for _, platforms in bases for platform in platforms}, BUILDABLE)
    if problems:
        raise together("nothing was started", problems)
    return [(base.image, platforms) for base, platforms in bases]


def _bases(
    settings: Settings, native: Platform
) -> tuple[list[tuple[BaseSetting, tuple[Platform, ...]]], list[OhbuildError]]:
    found: list[tuple[BaseSetting, tuple[Platform, ...]]] = []
    problems: list[OhbuildError] = []
    for base in dict.fromkeys(settings.bases):
        try:
            found.append((base, _base_platforms(base, settings.platforms, native)))
        except OhbuildError as error:
            problems.append(error)
    counts = Counter(base.image.canonical for base, _ in found)
    for base, _ in found:
        if counts[base.image.canonical] > 1:
            del counts[base.image.canonical]
            problems.append(UsageError(f"a base is named twice: {base.image}", "name it once"))
    return found, problems


def _base_platforms(base: BaseSetting, asked: Sequence[Platform], native: Platform) -> tuple[Platform, ...]:
    """The platforms of a base's runtime: its own or all that were asked for, or this machine's."""
    reference = base.image
    if reference.on_docker_hub and reference.path.removeprefix("library/").startswith(CONTEXT_PREFIX):
        raise InvalidReference(
            f"base {reference}: the name is reserved for ohbuild's build contexts", "retag the image"
        )
    own = base.platforms or asked or (native,)
    platforms = tuple(sorted(platform for platform in own if not asked or platform in asked))
    if not platforms:
        raise InvalidPlatform(
            f"base {base.image}: nothing to build, it is set to {_join(own)} and {_join(asked)} was asked",
            "ask for one of its platforms, or leave the base out",
        )
    return platforms


def _no_base(command: str) -> UsageError:
    return UsageError(f"no base to {command}", f"name some, as in `ohbuild {command} debian:trixie`, or set `bases`")


def _unbuildable(platforms: Iterable[Platform], buildable: Sequence[Platform]) -> list[OhbuildError]:
    known = _join(sorted(buildable))
    return [
        InvalidPlatform(f"no component can be built for {platform}", f"known: {known}")
        for platform in platforms
        if platform not in buildable
    ]


def _join(platforms: Iterable[Platform]) -> str:
    return ", ".join(str(platform) for platform in platforms)
