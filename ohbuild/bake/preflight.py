"""Queries everything that a plan depends on, once: registries for images, and the builder for its own store."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

from ohbuild.bake import layouts
from ohbuild.bake.depth import layers_of_bases
from ohbuild.bake.facts import Facts, Purpose
from ohbuild.bake.model import ComponentImage, DepsImage, Store
from ohbuild.bake.plan import choose_store, component_images
from ohbuild.bake.request import Request, wanted_platforms
from ohbuild.check.base import BaseReport, check, judge, notes
from ohbuild.config.settings import Settings
from ohbuild.docker.buildx import Builder, Buildx
from ohbuild.docker.connection import Connection
from ohbuild.engine.connect import Reached, open_registry, open_registry_of, reach
from ohbuild.engine.errors import UnmetChoice
from ohbuild.engine.find import find, named_builder
from ohbuild.errors import (
    ImageNotFound,
    NoEngine,
    OhbuildError,
    PlatformMissing,
    RegistryError,
    RegistryRefused,
    UsageError,
    together,
)
from ohbuild.images import labels as label
from ohbuild.images.platform import Platform, native_platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Image, Registry

_AT_ONCE = 16


def ask(
    request: Request,
    buildx: Buildx | None,
    builder: Builder | None,
    *,
    purpose: Purpose = Purpose.BUILD,
    rebuild: bool = False,
) -> tuple[Facts, list[str]]:
    """Looks up the bases, the build image, the ready deps image and the component images.

    Args:
        request: The validated request.
        buildx: Runs buildx; ``None`` if no engine is available.
        builder: The builder; ``None`` if none is available.
        purpose: What the facts are for. This decides whether the registries must respond.
        rebuild: Whether existing component images are ignored.

    Returns:
        The facts, and what the user should know.

    Raises:
        OhbuildError: Something is wrong. Several problems are raised as one ``SeveralErrors``.
    """
    settings = request.settings
    facts = Facts(
        registry=(buildx.connection.registry or "") if buildx else "",
        driver=builder.driver if builder else "",
        image_store=builder.image_store if builder else True,
    )
    remarks: list[str] = []
    wrong: list[OhbuildError] = []
    with closing(open_registry_of(buildx, builder)) as registry:
        if settings.deps_image:
            try:
                facts = replace(facts, deps_image=_deps_image(request, registry, buildx, builder))
            except OhbuildError as error:
                wrong.append(error)
        if settings.preflight:
            reports = _bases(request, registry, buildx, builder)
            users, unknown = base_users(request, reports)
            errors = [error for report in reports for error in report.errors]
            if purpose is Purpose.SHOW:
                remarks += [f"{error.message}; left unpinned" for error in errors if isinstance(error, RegistryError)]
                errors = [error for error in errors if not isinstance(error, RegistryError)]
            wrong = [*errors, *wrong, *unknown]
            remarks += notes(reports)
            digests = {report.base.canonical: report.digest for report in reports if report.digest}
            facts = replace(facts, digests=digests, users=users)
        elif what := _executed_in(request):
            wrong.append(
                UsageError(
                    f"{what} need the bases' USER from their registries, but preflight is off",
                    f"turn preflight on, or omit {what}",
                )
            )
        if wrong:
            raise together("nothing was started", wrong)
        if settings.deps_image or rebuild:
            return facts, remarks
        careful = purpose is Purpose.PLAN or (purpose is Purpose.BUILD and settings.preflight)
        try:
            images, more = _existing(request, facts, registry, buildx, careful=careful)
        except RegistryError as error:
            if purpose is Purpose.PLAN:  # there is no builder that could reach it
                error.hint = "check the name and the network: without this registry, what is missing is not known"
            raise
    return replace(facts, images=images), [*remarks, *(more if settings.preflight or careful else [])]


def again(request: Request, facts: Facts, buildx: Buildx, builder: Builder) -> Facts:
    """Returns the facts for another builder: where its component images are kept, and which of them exist."""
    facts = replace(
        facts,
        registry=buildx.connection.registry or "",
        driver=builder.driver,
        image_store=builder.image_store,
    )
    if request.settings.deps_image:
        return facts
    with closing(open_registry_of(buildx, builder)) as registry:
        images, _ = _existing(request, facts, registry, buildx, careful=False)
    return replace(facts, images=images)


def check_bases(settings: Settings, *, connect: Callable[[], Connection] = find) -> list[BaseReport]:
    """Checks the bases of the settings for the platforms that ``bake`` would build, without building anything.

    An engine is only queried for its mirrors and for images in its own store. None is required.

    Args:
        settings: The settings.
        connect: Finds the engine.

    Raises:
        UnmetChoice: The user names an engine or a builder that cannot be used.
        UsageError: No base is set, or components cannot be built for a platform.
    """
    wanted = wanted_platforms(settings, native_platform())
    today = datetime.now(UTC)
    named = named_builder(settings.builder, os.environ)
    connection: Connection | None = None
    try:
        connection = connect()
    except NoEngine as error:
        if isinstance(error, UnmetChoice) and not named:
            raise
    reached: Reached | None = None
    if connection and connection.registry and not named:
        # The private engine's registry is known without running buildx, which takes as long as everything else.
        registry = open_registry(connection)
    else:
        reached = _reached(settings, connect)
        registry = open_registry_of(reached.buildx, reached.builder)
    with closing(registry):
        added = layers_of_bases(settings)
        reports = check(registry, wanted, today=today, added=added)
    if any(report.errors for report in reports):
        reached = reached or _reached(settings, connect)
        return _with_local(reports, reached.buildx, reached.builder, today, added)
    return reports


def _reached(settings: Settings, connect: Callable[[], Connection]) -> Reached:
    """Looks for the builder. None is required, but one that the user names must respond."""
    reached = reach(settings.builder, connect)
    if isinstance(reached.problem, UnmetChoice):
        raise reached.problem
    return reached


def base_users(request: Request, reports: Iterable[BaseReport]) -> tuple[dict[str, str], list[OhbuildError]]:
    """Returns the ``USER`` of each base, which a runtime must get back after steps that run as root.

    Returns:
        The users by canonical reference, and the problems of bases in which something is executed.
    """
    settings = request.settings
    users: dict[str, str] = {}
    problems: list[OhbuildError] = []
    executing = {
        base.image.canonical
        for base, _ in request.bases
        if base.system_packages or settings.system_packages or settings.extra_deps
    }
    what = _executed_in(request)
    for report in reports:
        found = list(dict.fromkeys(config.user for config in report.configs.values()))
        if found:
            users[report.base.canonical] = found[0]
        if len(found) > 1 and report.base.canonical in executing:
            names = ", ".join(name or "root" for name in found)
            problems.append(
                UsageError(
                    f"{what} of {report.base}: its USER differs between platforms ({names})",
                    "build for one platform at a time",
                )
            )
        # If nothing will be built, an unreachable registry is only a remark, but an unknown USER is still an error.
        silent = all(isinstance(error, RegistryError) for error in report.errors)
        if not found and silent and report.base.canonical in executing:
            hint = f"run `ohbuild check {report.base}` to see why"
            problems.append(UsageError(f"{what} of {report.base}: its USER is unknown", hint))
    return users, problems


def _executed_in(request: Request) -> str:
    """Returns the setting that executes something in a base; empty if there is none."""
    settings = request.settings
    if request.bases and settings.extra_deps:
        return "extra_deps"
    some = any(base.system_packages or settings.system_packages for base, _ in request.bases)
    return "system_packages" if some else ""


def _bases(request: Request, registry: Registry, buildx: Buildx | None, builder: Builder | None) -> list[BaseReport]:
    wanted: dict[str, tuple[ImageRef, Sequence[Platform]]] = {
        image.canonical: (image, platforms) for image, platforms in request.wanted
    }
    if not request.settings.deps_image:
        image = request.settings.build_image
        wanted.setdefault(image.canonical, (image, ()))
    today = datetime.now(UTC)
    added = layers_of_bases(request.settings, [component.name for component in request.components])
    return _with_local(check(registry, wanted.values(), today=today, added=added), buildx, builder, today, added)


def _with_local(
    reports: list[BaseReport],
    buildx: Buildx | None,
    builder: Builder | None,
    today: datetime,
    added: Callable[[ImageRef], int],
) -> list[BaseReport]:
    """Returns the reports, completed with images that only the builder's own image store has."""
    if not buildx or not builder or builder.driver != "docker":
        return reports
    return [_found_locally(report, buildx, today, added) for report in reports]


def _found_locally(report: BaseReport, local: Buildx, today: datetime, added: Callable[[ImageRef], int]) -> BaseReport:
    """Looks in Docker's image store for a base whose registry lookup failed: Docker's own builder can use it."""
    missing = [
        error
        for error in report.errors
        if isinstance(error, ImageNotFound | RegistryError) and not isinstance(error, PlatformMissing)
    ]
    config = local.local_config(report.base) if missing else None
    if config is None:
        return report
    # Docker only reports one platform. The others are assumed to exist; if one does not, the build fails.
    image = Image(digest="", sizes=dict.fromkeys((*report.wanted, config.platform), 0))
    return judge(
        report.base, report.wanted, replace(image, configs={config.platform: config}), today=today, added=added
    )


def _existing(
    request: Request, facts: Facts, registry: Registry, buildx: Buildx | None, *, careful: bool
) -> tuple[dict[str, str], list[str]]:
    """Returns the digests of the existing component images by reference, and remarks. Sends one request per image.

    Args:
        request: The validated request.
        facts: The facts so far.
        registry: Registry client.
        buildx: Runs buildx; ``None`` if no engine is available.
        careful: Whether to fail if the registry cannot be reached. Otherwise every component would be rebuilt. A
            registry that refuses is no failure: some refuse to read a repository that does not exist yet.
    """
    images = component_images(request, facts)
    store = choose_store(request.settings, facts)
    if store is Store.LAYOUT:
        return {str(item.image): "" for item in images if layouts.exists(item)}, []
    if store is Store.DOCKER:
        there = buildx.local_names(images[0].image) if buildx and images else set()
        return {str(item.image): "" for item in images if str(item.image) in there}, []
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        answers = list(pool.map(lambda item: _digest(registry, item), images))
    errors = [answer for answer in answers if isinstance(answer, RegistryError)]
    silent = [error for error in errors if not isinstance(error, RegistryRefused)]
    if silent and careful:
        raise silent[0]
    found = {str(item.image): answer for item, answer in zip(images, answers, strict=True) if isinstance(answer, str)}
    return found, [f"{errors[0].message}; its component images are treated as missing"] if errors else []


def _digest(registry: Registry, item: ComponentImage) -> str | RegistryError | None:
    try:
        return registry.digest(item.image)
    except RegistryError as error:
        return error


def _deps_image(request: Request, registry: Registry, buildx: Buildx | None, builder: Builder | None) -> DepsImage:
    """Returns the ready deps image of the settings.

    Checks that it is a deps image, that it has all platforms and that its component images exist.
    """
    reference = request.settings.deps_image
    assert reference is not None
    local = buildx if buildx and builder and builder.driver == "docker" else None
    image = _ready_image(request, reference, registry, local)
    missing = [str(platform) for platform in request.platforms if platform not in image.sizes]
    if missing:
        have = ", ".join(str(platform) for platform in image.platforms)
        hint = "rebuild it for all platforms with `ohbuild deps --platform`"
        raise PlatformMissing(f"deps image {reference} has no image for {', '.join(missing)}; available: {have}", hint)
    if label.DEPS_KEY not in image.labels:
        raise UsageError(
            f"{reference} is not a deps image: it has no label {label.DEPS_KEY}", "build one with `ohbuild deps`"
        )
    images = _images_of(reference, image.labels, request.platforms)
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        absent = [
            item for item, there in zip(images, pool.map(_asked(registry, local), images), strict=True) if not there
        ]
    if absent:
        raise ImageNotFound(
            f"deps image {reference} is not usable: its component image {absent[0].image} does not exist",
            "copy its component images too, or rebuild it with `ohbuild deps`",
        )
    env = {name: value for name, value in image.env.items() if name != "PATH"}
    pinned = reference.pinned(image.digest) if image.digest else reference
    return DepsImage(image=pinned, labels=dict(image.labels), env=env, images=images)


def _asked(registry: Registry, local: Buildx | None) -> Callable[[ComponentImage], bool]:
    def exists(item: ComponentImage) -> bool:
        if local and not item.image.digest and local.has_image(item.image):
            return True
        return registry.digest(item.image) is not None

    return exists


def _images_of(
    reference: ImageRef, labels: Mapping[str, str], platforms: Sequence[Platform]
) -> tuple[ComponentImage, ...]:
    """Returns the component images that the labels of a deps image name, one per component and platform."""
    images: list[ComponentImage] = []
    for name in label.component_names(labels):
        for platform in platforms:
            text = labels.get(f"{label.COMPONENT_IMAGE}{name}.{platform.word}")
            if not text:
                raise UsageError(
                    f"deps image {reference} is not usable: its labels name no image of {name!r} for {platform}",
                    "rebuild it with this version of ohbuild, and push it",
                )
            image = ImageRef.parse(text)
            images.append(ComponentImage(component=name, platform=platform, image=image, exists=True))
    return tuple(images)


def _ready_image(request: Request, reference: ImageRef, registry: Registry, local: Buildx | None) -> Image:
    """Looks up a ready deps image in its registry, or like a base in the builder's own image store.

    Its labels are those of all platforms together. In an image joined from builds of one platform each, the config of a
    platform names only the component images of that platform.
    """
    try:
        image = registry.describe(reference, request.platforms)
        configs = list(image.configs.values())
        labels = {name: text for config in configs for name, text in config.labels.items()}
        return replace(image, labels=labels, env=configs[0].env if configs else {})
    except (ImageNotFound, RegistryError):
        config = local.local_config(reference) if local else None
        if config is None:
            raise
        sizes = dict.fromkeys((*request.platforms, config.platform), 0)
        return Image(digest="", sizes=sizes, labels=config.labels, env=config.env)
