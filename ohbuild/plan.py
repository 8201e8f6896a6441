"""Settings and what registries said → the plan of one run. A pure function: no clock, no network, no docker."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ohbuild import __version__
from ohbuild.components import BUILTIN, Component
from ohbuild.errors import InvalidPlatform, InvalidReference, OhbuildError, UsageError, nearest, together
from ohbuild.model import Base, DepsImage, ImageRef, Output, Plan, Platform, Target, short_hash
from ohbuild.settings import BaseSetting, Settings, is_off

BUILDABLE = (Platform("linux", "amd64"), Platform("linux", "arm64"))
"""What the built-in components can be assembled for."""

CONTEXT_PREFIX = "component-"
"""Named contexts and hidden targets of the components. BuildKit looks a base up among the named contexts too, so a
context called just ``python`` would take the place of the base ``python:latest``."""

DEPS_CONTEXT = "ohbuild-deps"
_DEFAULT_IMAGE = "ohbuild/runtime"


def make_plan(
    settings: Settings,
    components: Sequence[Component],
    *,
    stages: Sequence[Component] = (),
    native: Platform,
    registry: str = "",
    digests: Mapping[str, str] | None = None,
    users: Mapping[str, str] | None = None,
    deps_image: DepsImage | None = None,
    deps_only: bool = False,
    buildable: Iterable[Platform] = BUILDABLE,
) -> Plan:
    """Decide every target with its platforms, tags, cache and output.

    Parameters
    ----------
    components: in layer order, with all they require.
    stages: those and the ones that some of them are built with (``components.choice``); ``components`` if empty.
    native: the platform to build where none was asked for.
    registry: ``host:port`` of the engine's own registry, where images go if ``settings.image`` is not set.
    digests: canonical reference of a base or the build image → digest, as far as a registry was asked.
    users: canonical reference of a base → its ``USER``, as far as a registry was asked.
    deps_image: what ``settings.deps_image`` is, once a registry was asked.
    deps_only: no runtimes.
    buildable: the platforms that the components support; not asked of a ready deps image.

    Raises
    ------
    UsageError: all that contradicts itself, collected in one ``SeveralErrors``.
    """
    problems: list[OhbuildError] = []
    ready = deps_image or (DepsImage(image=settings.deps_image) if settings.deps_image else None)
    image = _image(settings, registry)
    output = choose_output(settings, registry)
    if output is Output.PUSH and not settings.image and not registry:
        problems.append(
            UsageError("nowhere to push to: no image name is set", "give --image REGISTRY/NAME, or use --load")
        )
    if deps_only and ready:
        problems.append(UsageError("a ready deps image leaves nothing to build", "leave out --deps-image (deps_image)"))
    if not deps_only and not settings.bases:
        problems.append(_no_base("bake"))

    targets: list[Target] = []
    names = _target_names([base.image for base in settings.bases])
    content = variant(components, settings, ready)
    kind = variant(components, settings, ready, extra_deps=settings.extra_deps)
    for base in () if deps_only else dict.fromkeys(settings.bases):
        try:
            target = _runtime(base, settings, native, image, names[base.image.canonical], digests or {})
            target = replace(target, tag=f"{target.tag}-{kind}" if kind else target.tag)
            assert target.base is not None
            user = (users or {}).get(base.image.canonical, "")
            targets.append(replace(target, base=replace(target.base, user=user)))
        except OhbuildError as error:
            problems.append(error)
    if len({target.name for target in targets}) < len(targets):
        doubled = [name for name, count in Counter(str(base.image) for base in settings.bases).items() if count > 1]
        problems.append(
            UsageError(f"a base is named twice: {', '.join(doubled) or 'by two spellings'}", "name it once")
        )

    union = tuple(dict.fromkeys(platform for target in targets for platform in target.platforms))
    platforms = tuple(sorted(union or settings.platforms or (native,)))
    if not ready:
        problems += _unbuildable(platforms, tuple(buildable))
    if not components and not ready:
        problems.append(UsageError("no component is selected", "leave `components` empty to take all"))
    there = _components_of(ready)
    if ready and there and (settings.components or settings.requirements is not None):
        missing = [component.name for component in components if component.name not in there]
        if missing:
            what = f"deps image {ready.image} was made without {', '.join(missing)}"
            problems.append(UsageError(what, "make it again with them, or ask for less"))
    arguments: Mapping[str, str] = {}
    try:
        arguments = choose_arguments(() if ready else stages or components, settings.build_args)
    except OhbuildError as error:
        problems.append(error)
    if problems:
        raise together("nothing was started", problems)

    repository = settings.deps_repository or sibling(image, "deps")
    # Another set of components has a cache of its own, as a cache holds what was built last; it reads the whole set's
    # too, which has most of the same stages.
    cache = sibling(image, "cache")
    caches = [str(cache.tagged(tag)) for tag in ([f"deps-{content}", "deps"] if content else ["deps"])]
    default_caches = caches if output is Output.PUSH else []
    cache_to = (default_caches or [""])[0] if settings.cache_to == "auto" else settings.cache_to
    deps = Target(name="deps", repository=repository, tag=content or "latest", platforms=platforms)
    return Plan(
        components=tuple(components),
        stages=tuple(stages or components),
        args=arguments,
        extra_deps=settings.extra_deps.replace("\r\n", "\n"),
        build_image=_pinned(settings.build_image, digests or {}),
        deps=None if ready else deps,
        deps_image=ready,
        runtimes=tuple(targets),
        output=output,
        cache_from=_cache_from(settings, default_caches),
        cache_to="" if ready or is_off(cache_to) else cache_to,
        compression=settings.compression,
        source_date_epoch=settings.source_date_epoch,
        provenance=settings.provenance,
        labels=dict(sorted(settings.labels.items())),
        version=__version__,
    )


def choose_arguments(stages: Iterable[Component], given: Mapping[str, str]) -> dict[str, str]:
    """The build arguments of these components, with the values given or else their defaults.

    Raises
    ------
    UsageError: no component has an argument of a given name; the nearest is named.
    """
    arguments = {name: value for component in stages for name, value in component.args.items()}
    for name in given:
        if name not in arguments:
            hint = nearest(name, list(arguments)) if arguments else "none of the chosen components has any"
            raise UsageError(f"no component has a build argument {name!r}", hint)
    return {name: given.get(name, default) for name, default in sorted(arguments.items())}


def variant(
    components: Iterable[Component], settings: Settings, ready: DepsImage | None = None, *, extra_deps: str = ""
) -> str:
    """Eight digits that stand for what makes images other than those with all of ohbuild's own components.

    Nothing for these. Tags that move have it, so that two different sets never share one.
    """
    names = _components_of(ready) if ready else {component.name for component in components}
    builtin = {component.name for component in BUILTIN}
    chosen = settings.components or settings.requirements is not None or not settings.enable_browser or ready
    whole = names == builtin or (not chosen and names <= builtin) or not names
    if whole and not extra_deps and not settings.build_args:
        return ""
    return short_hash(json.dumps([sorted(names), extra_deps, sorted(settings.build_args.items())]))


def _components_of(ready: DepsImage | None) -> set[str]:
    """The components of a ready deps image, as far as its labels are known."""
    return {name for name in (ready.labels if ready else {}).get("dev.ohbuild.components", "").split(",") if name}


def wanted_platforms(settings: Settings, native: Platform) -> list[tuple[ImageRef, tuple[Platform, ...]]]:
    """The bases of the settings, each with the platforms that its runtime will have; each base once.

    Raises
    ------
    UsageError: all that is wrong with it, collected in one ``SeveralErrors``.
    """
    problems: list[OhbuildError] = [] if settings.bases else [_no_base("check")]
    wanted: dict[str, tuple[ImageRef, tuple[Platform, ...]]] = {}
    for base in settings.bases:
        try:
            wanted.setdefault(base.image.canonical, (base.image, _base_platforms(base, settings.platforms, native)))
        except OhbuildError as error:
            problems.append(error)
    problems += _unbuildable({platform for _, platforms in wanted.values() for platform in platforms}, BUILDABLE)
    if problems:
        raise together("nothing was started", problems)
    return list(wanted.values())


def cache_sources(settings: Settings, registry: str) -> tuple[str, ...]:
    """Where a bake with these settings has put its cache, for builds of its folders that are no bake.

    Parameters
    ----------
    registry: ``host:port`` of the engine's own registry; may be empty.
    """
    pushes = choose_output(settings, registry) is Output.PUSH and (settings.image or registry)
    return _cache_from(settings, [str(sibling(_image(settings, registry), "cache").tagged("deps"))] if pushes else [])


def _image(settings: Settings, registry: str) -> ImageRef:
    """The repository of the runtime images."""
    return settings.image or ImageRef.parse(f"{registry}/{_DEFAULT_IMAGE}" if registry else _DEFAULT_IMAGE)


def _cache_from(settings: Settings, default: Sequence[str]) -> tuple[str, ...]:
    """The references that the cache is read from; ``auto`` stands for ``default``."""
    given = [ref for word in settings.cache_from for ref in (default if word == "auto" else [word])]
    return tuple(ref for ref in dict.fromkeys(given) if not is_off(ref))


def choose_output(settings: Settings, registry: str) -> Output:
    """``auto``: push where the image name or the engine tells a registry, else build without an output to keep."""
    if settings.output != "auto":
        return Output(settings.output)
    pushable = (settings.image is not None and not settings.image.on_docker_hub) or (not settings.image and registry)
    return Output.PUSH if pushable else Output.LOAD


def sibling(image: ImageRef, name: str) -> ImageRef:
    """The repository called ``name`` beside ``image``: ``localhost:5000/ohbuild/runtime`` → ``…/ohbuild/deps``."""
    folder, _, _ = image.path.rpartition("/")
    return ImageRef.parse(f"{image.registry}/{folder}/{name}" if folder else f"{image.registry}/{name}")


def _runtime(
    base: BaseSetting,
    settings: Settings,
    native: Platform,
    image: ImageRef,
    name: str,
    digests: Mapping[str, str],
) -> Target:
    reference = base.image
    platforms = _base_platforms(base, settings.platforms, native)
    if reference.on_docker_hub and reference.path.removeprefix("library/").startswith((CONTEXT_PREFIX, DEPS_CONTEXT)):
        raise InvalidReference(
            f"base {reference}: the name is reserved for ohbuild's build contexts", "retag the image"
        )
    digest = _pinned(reference, digests).digest
    return Target(
        name=name,
        repository=image,
        tag=reference.slug(),
        platforms=platforms,
        base=Base(
            image=reference,
            platforms=base.platforms,
            digest=digest,
            system_packages=tuple(sorted({*settings.system_packages, *base.system_packages})),
        ),
    )


def _base_platforms(base: BaseSetting, asked: Sequence[Platform], native: Platform) -> tuple[Platform, ...]:
    """The platforms of a base's runtime: its own or all that were asked for, or this machine's."""
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


def _pinned(image: ImageRef, digests: Mapping[str, str]) -> ImageRef:
    digest = image.digest or digests.get(image.canonical, "")
    return image.pinned(digest) if digest else image


def _join(platforms: Iterable[Platform]) -> str:
    return ", ".join(str(platform) for platform in platforms)


def _target_names(images: Iterable[ImageRef]) -> dict[str, str]:
    """Canonical reference → bake target name; two that would be the same both get a hash."""
    slugs = {image.canonical: image.slug().replace(".", "-") for image in images}
    counts = Counter(slugs.values())
    return {
        canonical: f"runtime-{slug}" if counts[slug] == 1 else f"runtime-{slug}-{short_hash(canonical)}"
        for canonical, slug in slugs.items()
    }
