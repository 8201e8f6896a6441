"""Asks everything that a plan depends on, once: registries about images, the builder about its own store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime

from ohbuild.bake import layouts
from ohbuild.bake.facts import Facts
from ohbuild.bake.model import ComponentImage, DepsImage, Store
from ohbuild.bake.plan import choose_store, component_images
from ohbuild.bake.request import Request, wanted_platforms
from ohbuild.check.base import BaseReport, check, judge, notes
from ohbuild.config.settings import Settings
from ohbuild.docker.buildx import Builder, Buildx
from ohbuild.docker.connection import Connection
from ohbuild.engine.connect import connect_or_not, open_registry, open_registry_of
from ohbuild.engine.find import find
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
    request: Request, buildx: Buildx | None, builder: Builder | None, *, show_only: bool = False, rebuild: bool = False
) -> tuple[Facts, list[str]]:
    """Ask about bases, build image, ready deps image and component images.

    Args:
        show_only: a registry that does not answer is no reason to stop.
        rebuild: take no component image for existing.

    Returns:
        The answers, and what the user should know.

    Raises:
        OhbuildError: all that is wrong, in one ``SeveralErrors`` if it is more than one thing.
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
            if show_only:
                remarks += [f"{error.message}: left as it is" for error in errors if isinstance(error, RegistryError)]
                errors = [error for error in errors if not isinstance(error, RegistryError)]
            wrong = [*errors, *wrong, *unknown]
            remarks += notes(reports)
            digests = {report.base.canonical: report.digest for report in reports if report.digest}
            facts = replace(facts, digests=digests, users=users)
        elif what := _executed_in(request):
            wrong.append(
                UsageError(
                    f"{what} need the bases' USER, which the registry tells, but preflight is off",
                    f"leave preflight on, or {what} out",
                )
            )
        if wrong:
            raise together("nothing was started", wrong)
        if settings.deps_image or rebuild:
            return facts, remarks
        images, more = _existing(request, facts, registry, buildx, careful=settings.preflight and not show_only)
    return replace(facts, images=images), [*remarks, *(more if settings.preflight else [])]


def again(request: Request, facts: Facts, buildx: Buildx, builder: Builder) -> Facts:
    """The facts for another builder: where its component images are, and which of them exist."""
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
    """Judge the bases of the settings for the platforms that ``bake`` would build, and build nothing.

    An engine is only asked which registry stands in for Docker Hub; without one the registries are asked directly.

    Raises:
        UsageError: there is no base, or a platform that no component can be built for.
    """
    wanted = wanted_platforms(settings, native_platform())
    today = datetime.now(UTC)
    private: Connection | None = None
    with suppress(NoEngine):
        private = connect()
    if private and private.registry and not settings.builder:
        # The private engine's registry is known without asking buildx, which takes as long as all the rest.
        registry = open_registry(private)
    else:
        registry = open_registry_of(*connect_or_not(settings.builder, connect, show_only=True))
    with closing(registry):
        reports = check(registry, wanted, today=today)
    if any(report.errors for report in reports):
        return _with_local(reports, *connect_or_not(settings.builder, connect, show_only=True), today)
    return reports


def base_users(request: Request, reports: Iterable[BaseReport]) -> tuple[dict[str, str], list[OhbuildError]]:
    """The ``USER`` of each base, which the image has to have again after root has installed something.

    Returns:
        Canonical reference of a base → its user, and what is wrong for bases that something is executed in.
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
                    f"{what} of {report.base}: its USER is another on each platform ({names})",
                    "bake one platform at a time",
                )
            )
        # A registry that does not answer is no reason to stop where there is only something to show; this is.
        silent = all(isinstance(error, RegistryError) for error in report.errors)
        if not found and silent and report.base.canonical in executing:
            problems.append(UsageError(f"{what} of {report.base}: its USER is not known"))
    return users, problems


def _executed_in(request: Request) -> str:
    """The setting by which something is executed in some base; nothing if nothing is."""
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
    return _with_local(check(registry, wanted.values(), today=today), buildx, builder, today)


def _with_local(
    reports: list[BaseReport], buildx: Buildx | None, builder: Builder | None, today: datetime
) -> list[BaseReport]:
    """The reports, with what only the builder's own image store has."""
    if not buildx or not builder or builder.driver != "docker":
        return reports
    return [_found_locally(report, buildx, today) for report in reports]


def _found_locally(report: BaseReport, local: Buildx, today: datetime) -> BaseReport:
    """An image that was only ever built or loaded here is found by Docker's own builder, without a registry."""
    missing = [
        error
        for error in report.errors
        if isinstance(error, ImageNotFound | RegistryError) and not isinstance(error, PlatformMissing)
    ]
    config = local.local_config(report.base) if missing else None
    if config is None:
        return report
    # Docker tells of one platform only; whether it has the others is found when it builds.
    image = Image(digest="", sizes=dict.fromkeys((*report.wanted, config.platform), 0))
    return judge(report.base, report.wanted, replace(image, configs={config.platform: config}), today=today)


def _existing(
    request: Request, facts: Facts, registry: Registry, buildx: Buildx | None, *, careful: bool
) -> tuple[dict[str, str], list[str]]:
    """Reference → digest of the component images that exist, and what to know; one request for each.

    Args:
        careful: stop if the registry cannot be reached; all components would be built in vain.
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
    if errors and careful and not isinstance(errors[0], RegistryRefused):
        raise errors[0]
    found = {str(item.image): answer for item, answer in zip(images, answers, strict=True) if isinstance(answer, str)}
    return found, [f"{errors[0].message}: components are taken for missing"] if errors else []


def _digest(registry: Registry, item: ComponentImage) -> str | RegistryError | None:
    try:
        return registry.digest(item.image)
    except RegistryError as error:
        return error


def _deps_image(request: Request, registry: Registry, buildx: Buildx | None, builder: Builder | None) -> DepsImage:
    """The ready deps image of the settings, checked: it is one, it has all platforms, its component images exist."""
    reference = request.settings.deps_image
    assert reference is not None
    local = buildx if buildx and builder and builder.driver == "docker" else None
    image = _ready_image(request, reference, registry, local)
    if label.DEPS_KEY not in image.labels:
        raise UsageError(
            f"{reference} is not a deps image: it has no label {label.DEPS_KEY}", "make one with `ohbuild deps`"
        )
    missing = [str(platform) for platform in request.platforms if platform not in image.sizes]
    if missing:
        have = ", ".join(str(platform) for platform in image.platforms)
        hint = "make it again for them with `ohbuild deps --platform`"
        raise PlatformMissing(f"deps image {reference} is not there for {', '.join(missing)}; it has {have}", hint)
    images = _images_of(image.labels, request.platforms)
    if not images:
        raise UsageError(
            f"deps image {reference} names no component images", "make it again with this ohbuild, and push it"
        )
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        absent = [
            item for item, there in zip(images, pool.map(_asked(registry, local), images), strict=True) if not there
        ]
    if absent:
        raise ImageNotFound(
            f"deps image {reference}: its component image {absent[0].image} does not exist",
            "copy the component images with it, or make it again with `ohbuild deps`",
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


def _images_of(labels: Mapping[str, str], platforms: Sequence[Platform]) -> tuple[ComponentImage, ...]:
    found = (
        (name, platform, labels.get(f"{label.COMPONENT_IMAGE}{name}.{platform.word}"))
        for name in label.component_names(labels)
        for platform in platforms
    )
    return tuple(
        ComponentImage(component=name, platform=platform, image=ImageRef.parse(text), exists=True)
        for name, platform, text in found
        if text
    )


def _ready_image(request: Request, reference: ImageRef, registry: Registry, local: Buildx | None) -> Image:
    """A ready deps image, from its registry or, as the bases, from the builder's own image store."""
    try:
        return registry.inspect(reference)
    except (ImageNotFound, RegistryError):
        config = local.local_config(reference) if local else None
        if config is None:
            raise
        sizes = dict.fromkeys((*request.platforms, config.platform), 0)
        return Image(digest="", sizes=sizes, labels=config.labels, env=config.env)
