"""Makes the plan of a run from its request and facts. Pure: no clock, no network, no docker."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ohbuild.bake.facts import Facts
from ohbuild.bake.model import Base, ComponentImage, DepsImage, Output, Plan, Store, Target
from ohbuild.bake.request import Request
from ohbuild.components.builtin import BUILTIN
from ohbuild.components.choice import AGENT_SERVER, BOTH, default_names, servers_in, servers_of
from ohbuild.components.secrets import secret_remarks
from ohbuild.config.bases import BaseSetting
from ohbuild.config.settings import Settings
from ohbuild.config.values import is_off
from ohbuild.errors import OhbuildError, UsageError, together
from ohbuild.images import labels as label
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef, short_hash
from ohbuild.version import __version__

_DEFAULT_IMAGE = "ohbuild/runtime"


def make_plan(request: Request, facts: Facts) -> Plan:
    """Decides every target with its platforms, tags, cache and output.

    Raises:
        UsageError: Settings contradict each other. Several problems are raised as one ``SeveralErrors``.
    """
    settings = request.settings
    problems: list[OhbuildError] = []
    image = _image(settings, facts.registry)
    output = choose_output(settings, facts.registry)
    if output is Output.PUSH and not settings.image and not facts.registry:
        problems.append(
            UsageError("cannot push: no image name is set", "set one with --image REGISTRY/NAME, or use --load")
        )
    ready = facts.deps_image or (DepsImage(image=settings.deps_image) if settings.deps_image else None)
    layers = label.component_names(ready.labels) if ready else [component.name for component in request.components]
    if ready and layers and (settings.components or settings.requirements is not None):
        missing = [component.name for component in request.components if component.name not in layers]
        if missing:
            what = f"deps image {ready.image} does not contain {', '.join(missing)}"
            problems.append(UsageError(what, "rebuild it with these components, or request fewer"))
    versions = (
        label.component_versions(ready.labels) if ready else {item.name: item.version for item in request.components}
    )
    if ready and layers:
        problems += _without_server(ready, versions, settings)
    if problems:
        raise together("nothing was started", problems)

    contents = {name: versions.get(name, "") for name in layers}
    content = variant(contents, settings, chosen=ready is not None)
    kind = variant(contents, settings, chosen=ready is not None, extra_deps=settings.extra_deps)
    images = ready.images if ready else component_images(request, facts)
    if request.only is not None:
        layers = _only(request, images)
    deps = Target(
        name="deps",
        repository=_deps_repository(settings, image),
        tag=content or "latest",
        platforms=request.platforms,
        version="" if content else _server_version(contents),
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
        deps=None if ready or request.only is not None else deps,
        deps_image=ready,
        runtimes=tuple(_runtimes(request, facts, image, kind, "" if kind else _server_version(contents))),
        output=output,
        exporter=facts.exporter,
        cache_from=_cache_from(settings, caches),
        cache_to=()
        if ready or not facts.exporter.caches
        else _cache_to(settings, caches if output is Output.PUSH else []),
        component_cache=settings.component_cache,
        debian_snapshot=settings.debian_snapshot,
        compression=settings.compression,
        source_date_epoch=settings.source_date_epoch,
        provenance=settings.provenance,
        labels=dict(sorted(settings.labels.items())),
        version=__version__,
    )


def _without_server(ready: DepsImage, versions: Mapping[str, str], settings: Settings) -> Iterable[OhbuildError]:
    """Yields what a ready deps image lacks of the server that the settings name."""
    for name in servers_of(settings.server) if settings.server else ():
        if name not in versions:
            yield UsageError(f"deps image {ready.image} has no {name}", "use one that has it, or omit --server")
    wanted, found = settings.agent_server_version, versions.get(AGENT_SERVER, "")
    if wanted and found and wanted != found:
        what = f"deps image {ready.image} has agent-server {found}, not {wanted}"
        yield UsageError(what, "use one with this version, or omit --agent-server-version")


def component_images(request: Request, facts: Facts) -> tuple[ComponentImage, ...]:
    """Returns the image of every component that a run may use, per platform, with its digest if it exists."""
    settings = request.settings
    build_image = _pinned(settings.build_image, facts.digests)
    keys = request.stages.keys(
        arguments=request.args,
        build_image=build_image.digest or build_image.canonical,  # the same image from a mirror must give the same key
        source_date_epoch=settings.source_date_epoch,
        compression=settings.compression,
    )
    repository = _component_repository(settings, facts)
    chosen = {stage.component.name: stage.component for stage in request.stages.stages}
    images: list[ComponentImage] = []
    for name, key in keys.items():
        version = chosen[name].version if chosen[name].versions else ""
        for platform in request.platforms:
            item = ComponentImage.named(name, platform, key, repository, version)
            digest = facts.images.get(str(item.image))
            if digest is not None:
                item = replace(item, image=item.image.pinned(digest) if digest else item.image, exists=True)
            images.append(item)
    return tuple(images)


def _only(request: Request, images: Iterable[ComponentImage]) -> list[str]:
    """Returns the components whose images are built if nothing is assembled, in layer order.

    These are the named ones, and what missing ones among them are built with: their stages are built in any case. If
    none is named, these are the components of the images, as for ``bake``.
    """
    needed = request.stages.built_with()
    missing = {item.component for item in images if not item.exists}
    helpers = {other for name in request.only or () if name in missing for other in needed[name]}
    wanted = {*(request.only or [component.name for component in request.components]), *helpers}
    return [name for name in needed if name in wanted]


def plan_notes(plan: Plan, settings: Settings, facts: Facts) -> list[str]:
    """Returns what the user should know about a plan before the build starts."""
    notes: list[str] = []
    assembled = plan.deps and plan.output is Output.PUSH and not is_off(settings.cache_to)
    if not facts.exporter.caches and (assembled or (plan.missing and plan.component_cache)):
        notes.append("Docker cannot export a build cache without its containerd image store, so none is exported")
    if settings.output == "auto" and plan.output is Output.LOAD:
        notes.append("no registry is named, so images are loaded into Docker; use --image REGISTRY/NAME to push them")
    bases = [target.base for target in plan.runtimes if target.base]
    some = [str(base.image) for base in bases if base.system_packages]
    cost = "this pulls the base, and emulates foreign platforms"
    if some:
        notes.append(f"system packages are installed in {', '.join(some)}: {cost}")
    if plan.extra_deps and bases:
        notes.append(f"extra_deps run in {', '.join(str(base.image) for base in bases)}: {cost}")
    if not settings.allow_secret_args:
        notes += secret_remarks(settings.build_args)
    return notes


def variant(contents: Mapping[str, str], settings: Settings, *, chosen: bool = False, extra_deps: str = "") -> str:
    """Returns a suffix for moving tags, so that images with different content never share a tag.

    It is empty for images with everything that belongs to the agent-server in its default version. Other servers and
    versions are named. All other content is a hash of eight digits.

    Args:
        contents: Components and their versions.
        settings: The settings of the run.
        chosen: Whether something other than the settings selected the components.
        extra_deps: The user's commands, for the tag of a runtime.
    """
    names = set(contents)
    version = contents.get(AGENT_SERVER, "")
    if version == next(item.version for item in BUILTIN if item.name == AGENT_SERVER):
        version = ""
    servers = servers_in(names)
    word = BOTH if len(servers) > 1 else "".join(servers)
    if word == AGENT_SERVER and not version:
        word = ""
    chosen = chosen or bool(settings.components) or settings.requirements is not None or not settings.enable_browser
    defaults = set(default_names(BUILTIN, servers))
    whole = names == defaults or (not chosen and names <= defaults) or not names
    if whole and not extra_deps and not settings.build_args:
        return "-".join(part for part in (word, version) if part) if names else ""
    content: list[object] = [sorted(names), extra_deps, sorted(settings.build_args.items())]
    return short_hash(json.dumps([*content, version] if version else content))


def _server_version(contents: Mapping[str, str]) -> str:
    """Returns the server of an image with its version, for a tag; empty if it is unknown."""
    return next((f"{name}-{contents[name]}" for name in servers_in(contents) if contents[name]), "")


def choose_output(settings: Settings, registry: str) -> Output:
    """Resolves ``auto``: pushes if the image name has a registry or the engine has its own, otherwise loads."""
    if settings.output != "auto":
        return Output(settings.output)
    pushable = (settings.image is not None and not settings.image.on_docker_hub) or (not settings.image and registry)
    return Output.PUSH if pushable else Output.LOAD


def sibling(image: ImageRef, name: str) -> ImageRef:
    """Returns the repository ``name`` next to ``image``: ``localhost:5000/ohbuild/runtime`` → ``…/ohbuild/deps``."""
    folder, _, _ = image.path.rpartition("/")
    return ImageRef.parse(f"{image.registry}/{folder}/{name}" if folder else f"{image.registry}/{name}")


def _image(settings: Settings, registry: str) -> ImageRef:
    """Returns the repository of the runtime images."""
    return settings.image or ImageRef.parse(f"{registry}/{_DEFAULT_IMAGE}" if registry else _DEFAULT_IMAGE)


def _deps_repository(settings: Settings, image: ImageRef) -> ImageRef:
    return settings.deps_repository or sibling(image, "deps")


def choose_store(settings: Settings, facts: Facts) -> Store:
    """Chooses where component images are kept: a registry if one can be pushed to, or else the builder's own place."""
    pushes = choose_output(settings, facts.registry) is Output.PUSH
    if settings.component_repository or pushes or (facts.registry and facts.driver in ("docker", "")):
        return Store.REGISTRY
    return Store.DOCKER if facts.driver in ("docker", "") else Store.LAYOUT


def _component_repository(settings: Settings, facts: Facts) -> ImageRef:
    """Returns the repository of the component images: that of the deps image, so that no layer is uploaded twice.

    Images in the engine's own registry share one repository, and so do images that are not pushed.
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
    """Returns the references of the assembly cache in the repository of the component images, one per platform.

    Separate references keep a run for some platforms from overwriting the cache of the others.
    """
    if not images:
        return []
    content = json.dumps(sorted({(item.component, item.key) for item in images if item.component in layers}))
    repository = images[0].image
    # Component names have no '_', so these tags differ from those of all component images.
    return [str(repository.tagged(f"assembly_{short_hash(content)}-{platform.word}")) for platform in platforms]


def _cache_from(settings: Settings, default: Sequence[str]) -> tuple[str, ...]:
    """Returns the references that the cache is read from; ``auto`` means ``default``."""
    given = [ref for word in settings.cache_from for ref in (default if word == "auto" else [word])]
    return tuple(ref for ref in dict.fromkeys(given) if not is_off(ref))


def _cache_to(settings: Settings, default: Sequence[str]) -> tuple[str, ...]:
    """Returns the references that the cache is written to."""
    given = default if settings.cache_to == "auto" else [settings.cache_to]
    return tuple(ref for ref in given if not is_off(ref))


def _runtimes(request: Request, facts: Facts, image: ImageRef, kind: str, version: str) -> Iterable[Target]:
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
            version=version,
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
    """Returns the name of the bake target by canonical reference. Names that would collide get a hash."""
    slugs = {image.canonical: image.slug().replace(".", "-") for image in images}
    counts = Counter(slugs.values())
    return {
        canonical: f"runtime-{slug}" if counts[slug] == 1 else f"runtime-{slug}-{short_hash(canonical)}"
        for canonical, slug in slugs.items()
    }
