"""What is asked for and what was answered → the plan of one run. A pure function: no clock, no network, no docker."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ohbuild.bake.facts import Facts
from ohbuild.bake.model import Base, ComponentImage, DepsImage, Output, Plan, Store, Target
from ohbuild.bake.request import Request
from ohbuild.components.builtin import BUILTIN
from ohbuild.config.settings import BaseSetting, Settings
from ohbuild.config.values import is_off
from ohbuild.errors import OhbuildError, UsageError, together
from ohbuild.images import labels as label
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef, short_hash
from ohbuild.version import __version__

_DEFAULT_IMAGE = "ohbuild/runtime"


def make_plan(request: Request, facts: Facts) -> Plan:
    """Decide every target with its platforms, tags, cache and output.

    Raises:
        UsageError: all that contradicts itself, collected in one ``SeveralErrors``.
    """
    settings = request.settings
    problems: list[OhbuildError] = []
    image = _image(settings, facts.registry)
    output = choose_output(settings, facts.registry)
    if output is Output.PUSH and not settings.image and not facts.registry:
        problems.append(
            UsageError("nowhere to push to: no image name is set", "give --image REGISTRY/NAME, or use --load")
        )
    ready = facts.deps_image or (DepsImage(image=settings.deps_image) if settings.deps_image else None)
    layers = label.component_names(ready.labels) if ready else [component.name for component in request.components]
    if ready and layers and (settings.components or settings.requirements is not None):
        missing = [component.name for component in request.components if component.name not in layers]
        if missing:
            what = f"deps image {ready.image} was made without {', '.join(missing)}"
            problems.append(UsageError(what, "make it again with them, or ask for less"))
    if problems:
        raise together("nothing was started", problems)

    content = variant(layers, settings, chosen=ready is not None)
    kind = variant(layers, settings, chosen=ready is not None, extra_deps=settings.extra_deps)
    images = ready.images if ready else component_images(request, facts)
    deps = Target(
        name="deps", repository=_deps_repository(settings, image), tag=content or "latest", platforms=request.platforms
    )
    store = choose_store(settings, facts)
    caches = _caches(layers, images, request.platforms) if store is Store.REGISTRY else []
    return Plan(
        components=() if ready else request.components,
        layers=tuple(layers),
        images=images,
        store=store,
        stages=request.stages,
        args=request.args,
        extra_deps=settings.extra_deps.replace("\r\n", "\n"),
        build_image=_pinned(settings.build_image, facts.digests),
        deps=None if ready else deps,
        deps_image=ready,
        runtimes=tuple(_runtimes(request, facts, image, kind)),
        output=output,
        cache_from=_cache_from(settings, caches),
        cache_to=() if ready or not facts.image_store else _cache_to(settings, caches if output is Output.PUSH else []),
        component_cache=settings.component_cache,
        debian_snapshot=settings.debian_snapshot,
        compression=settings.compression,
        source_date_epoch=settings.source_date_epoch,
        provenance=settings.provenance,
        labels=dict(sorted(settings.labels.items())),
        version=__version__,
    )


def component_images(request: Request, facts: Facts) -> tuple[ComponentImage, ...]:
    """The image of every component that a run may use, for every platform; with its digest where it exists."""
    settings = request.settings
    build_image = _pinned(settings.build_image, facts.digests)
    keys = request.stages.keys(
        arguments=request.args,
        build_image=build_image.digest or build_image.canonical,  # by a mirror's name it is the same one
        source_date_epoch=settings.source_date_epoch,
        compression=settings.compression,
    )
    repository = _component_repository(settings, facts)
    images: list[ComponentImage] = []
    for name, key in keys.items():
        for platform in request.platforms:
            item = ComponentImage.named(name, platform, key, repository)
            digest = facts.images.get(str(item.image))
            if digest is not None:
                item = replace(item, image=item.image.pinned(digest) if digest else item.image, exists=True)
            images.append(item)
    return tuple(images)


def plan_notes(plan: Plan, settings: Settings, facts: Facts) -> list[str]:
    """What the user should know of a plan before it starts."""
    notes: list[str] = []
    if not facts.image_store and plan.deps and plan.output is Output.PUSH and not is_off(settings.cache_to):
        notes.append("this Docker cannot export a build cache without its containerd image store: going on without")
    if settings.output == "auto" and plan.output is Output.LOAD:
        notes.append("no registry is named, so the images are loaded into Docker; to push them: --image REGISTRY/NAME")
    bases = [target.base for target in plan.runtimes if target.base]
    some = [str(base.image) for base in bases if base.system_packages]
    cost = "that pulls a base, and emulates a foreign platform"
    if some:
        notes.append(f"system packages go into {', '.join(some)}: {cost}")
    if plan.extra_deps and bases:
        notes.append(f"extra_deps are run in {', '.join(str(base.image) for base in bases)}: {cost}")
    return notes


def variant(layers: Iterable[str], settings: Settings, *, chosen: bool = False, extra_deps: str = "") -> str:
    """Eight digits that stand for what makes images other than those with all of ohbuild's own components.

    Nothing for these. Tags that move have it, so that two different sets never share one.

    Args:
        chosen: whether something other than the settings has chosen the components.
    """
    names = set(layers)
    builtin = {component.name for component in BUILTIN}
    chosen = chosen or bool(settings.components) or settings.requirements is not None or not settings.enable_browser
    whole = names == builtin or (not chosen and names <= builtin) or not names
    if whole and not extra_deps and not settings.build_args:
        return ""
    return short_hash(json.dumps([sorted(names), extra_deps, sorted(settings.build_args.items())]))


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


def _image(settings: Settings, registry: str) -> ImageRef:
    """The repository of the runtime images."""
    return settings.image or ImageRef.parse(f"{registry}/{_DEFAULT_IMAGE}" if registry else _DEFAULT_IMAGE)


def _deps_repository(settings: Settings, image: ImageRef) -> ImageRef:
    return settings.deps_repository or sibling(image, "deps")


def choose_store(settings: Settings, facts: Facts) -> Store:
    """A registry where one may be written to; else where the builder itself can find them again."""
    pushes = choose_output(settings, facts.registry) is Output.PUSH
    if settings.component_repository or pushes or (facts.registry and facts.driver in ("docker", "")):
        return Store.REGISTRY
    return Store.DOCKER if facts.driver in ("docker", "") else Store.LAYOUT


def _component_repository(settings: Settings, facts: Facts) -> ImageRef:
    """Where component images are: beside the deps image, in its repository, so that no layer is uploaded twice.

    All that is pushed to the engine's own registry shares one, and so does what goes to no registry.
    """
    if settings.component_repository:
        return settings.component_repository
    image = _image(settings, facts.registry)
    pushes = choose_output(settings, facts.registry) is Output.PUSH
    if pushes and (settings.deps_repository or image.registry != facts.registry):
        return _deps_repository(settings, image)
    own = ImageRef.parse(f"{facts.registry}/{_DEFAULT_IMAGE}" if facts.registry else _DEFAULT_IMAGE)
    return sibling(own, "deps")


def _caches(layers: Sequence[str], images: Sequence[ComponentImage], platforms: Sequence[Platform]) -> list[str]:
    """The references of an assembly's cache: one for each platform, beside the component images.

    Whoever assembles for some of the platforms leaves what there is of the others alone.
    """
    if not images:
        return []
    content = json.dumps(sorted({(item.component, item.key) for item in images if item.component in layers}))
    repository = images[0].image
    # A component's name has no '_': no component image has such a tag.
    return [str(repository.tagged(f"assembly_{short_hash(content)}-{platform.word}")) for platform in platforms]


def _cache_from(settings: Settings, default: Sequence[str]) -> tuple[str, ...]:
    """The references that the cache is read from; ``auto`` stands for ``default``."""
    given = [ref for word in settings.cache_from for ref in (default if word == "auto" else [word])]
    return tuple(ref for ref in dict.fromkeys(given) if not is_off(ref))


def _cache_to(settings: Settings, default: Sequence[str]) -> tuple[str, ...]:
    """The references that it is written to."""
    given = default if settings.cache_to == "auto" else [settings.cache_to]
    return tuple(ref for ref in given if not is_off(ref))


def _runtimes(request: Request, facts: Facts, image: ImageRef, kind: str) -> Iterable[Target]:
    names = _target_names([base.image for base, _ in request.bases])
    for setting, platforms in request.bases:
        reference = setting.image
        tag = reference.slug()
        yield Target(
            name=names[reference.canonical],
            repository=image,
            tag=f"{tag}-{kind}" if kind else tag,
            platforms=platforms,
            base=_base(setting, request.settings, facts),
        )


def _base(setting: BaseSetting, settings: Settings, facts: Facts) -> Base:
    return Base(
        image=setting.image,
        platforms=setting.platforms,
        digest=setting.image.digest or facts.digests.get(setting.image.canonical, ""),
        system_packages=tuple(sorted({*settings.system_packages, *setting.system_packages})),
        user=facts.users.get(setting.image.canonical, ""),
    )


def _pinned(image: ImageRef, digests: Mapping[str, str]) -> ImageRef:
    digest = image.digest or digests.get(image.canonical, "")
    return image.pinned(digest) if digest else image


def _target_names(images: Iterable[ImageRef]) -> dict[str, str]:
    """Canonical reference → bake target name; two that would be the same both get a hash."""
    slugs = {image.canonical: image.slug().replace(".", "-") for image in images}
    counts = Counter(slugs.values())
    return {
        canonical: f"runtime-{slug}" if counts[slug] == 1 else f"runtime-{slug}-{short_hash(canonical)}"
        for canonical, slug in slugs.items()
    }
