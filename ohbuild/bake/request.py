"""Validates a request without querying anything: components, bases with their platforms, build arguments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ohbuild.components.choice import AGENT_SERVER, choose, in_version
from ohbuild.components.component import Component
from ohbuild.components.stages import Stages, read_stages
from ohbuild.config.bases import BaseSetting
from ohbuild.config.settings import Settings
from ohbuild.errors import InvalidPlatform, InvalidReference, OhbuildError, UsageError, nearest, together
from ohbuild.images.platform import Platform, native_platform
from ohbuild.images.reference import ImageRef

BUILDABLE = (Platform("linux", "amd64"), Platform("linux", "arm64"))
"""Platforms that the built-in components can be built for."""

CONTEXT_PREFIX = "component-"
"""Prefix of the stages, named contexts and targets of component images. BuildKit also looks up bases among the named
contexts, so a context called ``python`` would replace the base ``python:latest``."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A validated request.

    Attributes:
        settings: The settings of the run.
        components: Components of the images in layer order.
        stages: Stages that build the component images; empty with a ready deps image.
        args: Build arguments of these stages with their values.
        bases: Bases, each with the platforms of its runtime; empty if only the deps image is built.
        platforms: Platforms of the deps image: those of all runtimes.
        only: If nothing is assembled, the components whose images are built; all of the images if empty.
    """

    settings: Settings
    components: tuple[Component, ...]
    stages: Stages
    args: Mapping[str, str]
    bases: tuple[tuple[BaseSetting, tuple[Platform, ...]], ...]
    platforms: tuple[Platform, ...]
    only: tuple[str, ...] | None = None

    @property
    def wanted(self) -> list[tuple[ImageRef, tuple[Platform, ...]]]:
        """The bases to look up, with their platforms."""
        return [(base.image, platforms) for base, platforms in self.bases]


def make_request(
    settings: Settings,
    known: Sequence[Component],
    *,
    native: Platform | None = None,
    deps_only: bool = False,
    only: Collection[str] | None = None,
    buildable: Iterable[Platform] = BUILDABLE,
) -> Request:
    """Validates the settings of a run.

    Args:
        settings: The settings of the run.
        known: Known components in layer order.
        native: Platform to build if none is requested; this machine's by default.
        deps_only: Whether runtimes are omitted.
        only: If nothing is assembled, those of ``settings.components`` whose images are built; all components of the
            images if empty. ``None`` to assemble images.
        buildable: Platforms that the components support; ignored with a ready deps image.

    Raises:
        UsageError: Settings are invalid or contradict each other. Several problems are raised as one ``SeveralErrors``.
        OhbuildError: The template or a file of a component is missing or invalid.
    """
    known = in_version(known, AGENT_SERVER, settings.agent_server_version)
    choice = choose(
        known,
        server=settings.server,
        components=settings.components,
        requirements=settings.requirements,
        browser=settings.enable_browser,
    )
    native = native or native_platform()
    ready = settings.deps_image is not None
    deps_only = deps_only or only is not None
    problems: list[OhbuildError] = []
    if deps_only and ready:
        nothing = "deps image" if only is None else "component"
        what = f"no {nothing} to build: deps_image is set to {settings.deps_image}"
        problems.append(UsageError(what, "omit --deps-image (setting deps_image)"))
    bases, wrong = ([], []) if deps_only else _bases(settings, native)
    problems += wrong
    if not deps_only and not settings.bases:
        problems.append(_no_base("bake"))
    union = dict.fromkeys(platform for _, platforms in bases for platform in platforms)
    platforms = tuple(sorted(union or settings.platforms or (native,)))
    if not ready:
        problems += _unbuildable(platforms, tuple(buildable))
        if not choice.components:
            problems.append(UsageError("no component is selected", "leave `components` empty to select all"))
    used = () if ready else choice.stages
    args: Mapping[str, str] = {}
    try:
        args = choose_arguments(
            used, _without_others(settings.build_args, used, known) if only else settings.build_args
        )
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
        only=None if only is None else tuple(only),
    )


def _without_others(
    given: Mapping[str, str], used: Iterable[Component], known: Iterable[Component]
) -> Mapping[str, str]:
    """Omits arguments of components that are not used: jobs that build one component each are all given the same."""
    others = {name for item in known for name in item.args} - {name for item in used for name in item.args}
    return {name: value for name, value in given.items() if name not in others}


def choose_arguments(components: Iterable[Component], given: Mapping[str, str]) -> dict[str, str]:
    """Returns the build arguments of components with their given values or defaults.

    Raises:
        UsageError: No component has an argument with a given name; the hint shows the nearest.
    """
    arguments = {name: value for component in components for name, value in component.args.items()}
    for name in given:
        if name not in arguments:
            hint = nearest(name, list(arguments)) if arguments else "the selected components have no build arguments"
            raise UsageError(f"no component has a build argument {name!r}", hint)
    return {name: given.get(name, default) for name, default in sorted(arguments.items())}


def wanted_platforms(settings: Settings, native: Platform) -> list[tuple[ImageRef, tuple[Platform, ...]]]:
    """Returns each base of the settings once, with the platforms of its runtime.

    Raises:
        UsageError: Settings are invalid. Several problems are raised as one ``SeveralErrors``.
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
            problems.append(UsageError(f"base {base.image} is listed more than once", "merge the entries into one"))
    return found, problems


def _base_platforms(base: BaseSetting, asked: Sequence[Platform], native: Platform) -> tuple[Platform, ...]:
    """Returns the platforms of a base's runtime: the requested ones that it is configured for, or this machine's."""
    reference = base.image
    if reference.on_docker_hub and reference.path.removeprefix("library/").startswith(CONTEXT_PREFIX):
        raise InvalidReference(
            f"base {reference} is not usable: its name is reserved for ohbuild's build contexts",
            f"retag the image with a name that does not start with {CONTEXT_PREFIX}",
        )
    own = base.platforms or asked or (native,)
    platforms = tuple(sorted(platform for platform in own if not asked or platform in asked))
    if not platforms:
        raise InvalidPlatform(
            f"base {base.image}: nothing to build for {_join(asked)}, because its `platforms` are {_join(own)}",
            "request one of its platforms, or omit the base",
        )
    return platforms


def _no_base(command: str) -> UsageError:
    return UsageError(f"no base to {command}", f"name one as in `ohbuild {command} debian:trixie`, or set `bases`")


def _unbuildable(platforms: Iterable[Platform], buildable: Sequence[Platform]) -> list[OhbuildError]:
    known = _join(sorted(buildable))
    return [
        InvalidPlatform(f"no component can be built for {platform}", f"choose from {known}")
        for platform in platforms
        if platform not in buildable
    ]


def _join(platforms: Iterable[Platform]) -> str:
    return ", ".join(str(platform) for platform in platforms)
