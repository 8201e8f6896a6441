"""One run from settings to outcomes: plan, ask the registries, render, write, bake, measure.

The only module that knows the order of things; each thing itself is somewhere else.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from ohbuild import bake, image_sources
from ohbuild.bake import Builder, Buildx, Outcome
from ohbuild.check import BaseReport, check, judge, notes
from ohbuild.components import Component
from ohbuild.components.choice import choose
from ohbuild.engine import Connection, find
from ohbuild.errors import (
    ImageNotFound,
    NoEngine,
    OhbuildError,
    PlatformMissing,
    RegistryError,
    UsageError,
    together,
)
from ohbuild.model import DepsImage, ImageRef, Output, Plan, Platform, Target
from ohbuild.packages import base_users, packages_note
from ohbuild.plan import make_plan, wanted_platforms
from ohbuild.plugins import Known, known_components
from ohbuild.registry import Image, Registry
from ohbuild.render import Rendered, render, write
from ohbuild.settings import Settings, is_off, native_platform
from ohbuild.supervise import Listener

_DEPS_KEY = "dev.ohbuild.deps.key"
_CA_FILES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a target, and what it is."""

    target: Target
    outcome: Outcome
    tags: tuple[str, ...]
    sizes: Mapping[Platform, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run that is ready to start.

    Parameters
    ----------
    buildx: ``None`` if there is no engine (then it can only be shown).
    remarks: what the user should know before it starts.
    """

    rendered: Rendered
    buildx: Buildx | None
    builder: Builder | None
    folder: Path
    remarks: tuple[str, ...] = ()

    @property
    def plan(self) -> Plan:
        return self.rendered.plan

    def write(self) -> None:
        """Write the folder and build nothing.

        Raises
        ------
        UsageError: the folder is not ohbuild's, cannot be written, or is in use.
        """
        with _alone(self.folder):
            write(self.rendered, self.folder)

    def run(self, listener: Listener, *, no_cache: bool = False) -> list[Result]:
        """Write the folder and build.

        Raises
        ------
        OhbuildError: nothing could be built at all (no engine, interrupted); a failed target is in its result instead.
        """
        if self.buildx is None:
            raise NoEngine("there is no Docker Engine to build with", "start one with `ohbuild engine up`")
        with _alone(self.folder):
            write(self.rendered, self.folder)
            outcomes = bake.run(self.buildx, self.rendered, self.folder, listener, no_cache=no_cache)
        by_name = {target.name: target for target in self.plan.targets}
        return [self._measure(by_name[outcome.target], outcome) for outcome in outcomes]

    def _measure(self, target: Target, outcome: Outcome) -> Result:
        tags = self.rendered.tags[target.name]
        assert self.buildx is not None
        sizes: Mapping[Platform, int] = {}
        if not outcome.error and not outcome.skipped:
            if self.plan.output is Output.PUSH and outcome.digest:
                insecure = self.builder.insecure if self.builder else ()
                sizes = _sizes(self.buildx, target.repository.pinned(outcome.digest), insecure)
            elif self.plan.output is Output.LOAD and len(target.platforms) == 1:
                sizes = {target.platforms[0]: self.buildx.image_size(tags[0])}
        return Result(target=target, outcome=outcome, tags=tags, sizes=sizes)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep another run from writing the folder anew while this one builds from it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}", "name another with --folder") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise UsageError(f"another ohbuild is building from {folder}", "wait for it, or use --folder") from error
    finally:
        os.close(handle)


def _sizes(buildx: Buildx, image: ImageRef, insecure: tuple[str, ...]) -> Mapping[Platform, int]:
    with closing(Registry(config_dir=buildx.connection.config_dir, insecure=insecure)) as registry:
        try:
            return registry.inspect(image).sizes
        except OhbuildError:
            return {}


def prepare(
    settings: Settings,
    *,
    deps_only: bool = False,
    show_only: bool = False,
    known: Sequence[Component] | None = None,
    root: Path | None = None,
    connect: Callable[[], Connection] = find,
) -> Job:
    """Check everything that can be checked before anything starts.

    Parameters
    ----------
    deps_only: no runtimes.
    show_only: do without an engine, and without registries that do not answer.
    known: the components there are; ``None`` for ohbuild's own and those of plug-ins.
    root: where the templates of ohbuild's own are.
    connect: finds the engine.

    Raises
    ------
    OhbuildError: all that is wrong, in one ``SeveralErrors`` if it is more than one thing.
    """
    found = known_components() if known is None else Known(components=tuple(known))
    choice = choose(
        found.components,
        components=settings.components,
        requirements=settings.requirements,
        browser=settings.enable_browser,
    )
    components, stages = choice.components, choice.stages
    # First without any outside help: what is wrong with the request itself needs no engine to be told.
    native = native_platform()
    make_plan(settings, components, stages=stages, native=native, registry="localhost", deps_only=deps_only)
    ca_bundle = read_ca_bundle(settings)
    buildx, builder = _connect(settings, connect, show_only=show_only)
    registry = (buildx.connection.registry or "") if buildx else ""
    plan = make_plan(settings, components, stages=stages, native=native, registry=registry, deps_only=deps_only)
    remarks = [f"the plug-in {problem}" for problem in found.problems]
    if builder:
        cache_remarks = bake.check(plan, builder)
        remarks += cache_remarks
        if cache_remarks:  # there is only one: about a cache that cannot be exported
            plan = replace(plan, cache_to="")
    if settings.output == "auto" and plan.output is Output.LOAD:
        remarks.append(
            "no registry is named, so the images are loaded into Docker; to push them: --image REGISTRY/NAME"
        )
    digests: dict[str, str] = {}
    deps_image: DepsImage | None = None
    users: dict[str, str] = {}
    if settings.preflight:
        reports, deps_image, wrong = _ask(plan, buildx, builder)
        users, unknown = base_users(plan, reports)
        digests = {report.base.canonical: report.digest for report in reports if report.digest}
        if show_only:
            remarks += [f"{error.message}: left as it is" for error in wrong if isinstance(error, RegistryError)]
            wrong = [error for error in wrong if not isinstance(error, RegistryError)]
        wrong += unknown
        if wrong:
            raise together("nothing was started", wrong)
        remarks += [*notes(reports), *packages_note(plan)]
        cache_to = plan.cache_to
        plan = make_plan(
            settings,
            components,
            stages=stages,
            native=native,
            registry=registry,
            digests=digests,
            users=users,
            deps_image=deps_image,
            deps_only=deps_only,
        )
        plan = replace(plan, cache_to=cache_to)
    elif plan.executes:
        what = "system_packages" if plan.system_packages else "extra_deps"
        raise UsageError(
            f"{what} need the bases' USER, which the registry tells, but preflight is off",
            f"leave preflight on, or {what} out",
        )
    rendered = render(plan, root=root, ca_bundle=ca_bundle)
    return Job(rendered=rendered, buildx=buildx, builder=builder, folder=settings.folder, remarks=tuple(remarks))


def check_bases(settings: Settings, *, connect: Callable[[], Connection] = find) -> list[BaseReport]:
    """Judge the bases of the settings for the platforms that ``bake`` would build, and build nothing.

    An engine is only asked which registry stands in for Docker Hub; without one the registries are asked directly.

    Raises
    ------
    UsageError: there is no base, or a platform that no component can be built for.
    """
    wanted = wanted_platforms(settings, native_platform())
    today = datetime.now(UTC)
    private: Connection | None = None
    with suppress(NoEngine):
        private = connect()
    if private and private.registry and not settings.builder:
        # The private engine's registry is known without asking buildx, which takes as long as all the rest.
        registry = image_sources.open_registry(private)
    else:
        registry = open_registry(*_connect(settings, connect, show_only=True))
    with closing(registry):
        reports = check(registry, wanted, today=today)
    if any(report.errors for report in reports):
        return _with_local(reports, *_connect(settings, connect, show_only=True), today)
    return reports


def connect_builder(settings: Settings, connect: Callable[[], Connection] = find) -> tuple[Buildx, Builder]:
    """The builder that the settings name, and what it is.

    Raises
    ------
    NoEngine: it does not answer, or there is none.
    """
    buildx, builder = _connect(settings, connect, show_only=False)
    assert buildx is not None  # only what is just shown may do without
    assert builder is not None
    return buildx, builder


def read_ca_bundle(settings: Settings) -> bytes:
    """The CA certificates that steps which download get; empty if there are none.

    Raises
    ------
    UsageError: a file is named that cannot be read.
    """
    if is_off(settings.ca_bundle):
        return b""
    if settings.ca_bundle != "auto":
        try:
            return Path(settings.ca_bundle).read_bytes()
        except OSError as error:
            raise UsageError(
                f"ca_bundle {settings.ca_bundle}: {error.strerror}", "name a file with PEM certificates"
            ) from error
    for name in (os.environ.get("SSL_CERT_FILE", ""), *_CA_FILES):
        if name and Path(name).is_file():
            return Path(name).read_bytes()
    return b""


def _connect(
    settings: Settings, connect: Callable[[], Connection], *, show_only: bool
) -> tuple[Buildx | None, Builder | None]:
    """The builder to use. Without an engine: the user's client, for a builder that is elsewhere or just to show."""
    client = shutil.which("docker")
    candidates: list[Connection] = []
    problem: NoEngine | None = None
    try:
        candidates.append(connect())
    except NoEngine as error:
        problem = error
    if client and (settings.builder or show_only) and not (candidates and candidates[0].origin == "system"):
        # The private engine knows none of the builders that the user has made, and a remote one needs no engine here.
        registry = candidates[0].registry if candidates else None
        candidates.append(
            Connection(docker=Path(client), host=None, config_dir=None, registry=registry, origin="system")
        )
    for connection in candidates:
        buildx = Buildx(connection, settings.builder)
        try:
            return buildx, buildx.describe()
        except NoEngine as error:
            problem = problem or error
    if not show_only and problem:
        raise problem
    return (Buildx(candidates[0], settings.builder) if candidates else None), None


def open_registry(buildx: Buildx | None, builder: Builder | None) -> Registry:
    """What asks registries as the builder would: by the same mirrors, with the same credentials."""
    own = buildx.connection.registry if buildx else None
    mirrors = [own] if own else list(builder.mirrors) if builder else []
    config_dir = buildx.connection.config_dir if buildx else None
    return Registry(mirrors, config_dir, insecure=builder.insecure if builder else ())


def _ask(
    plan: Plan, buildx: Buildx | None, builder: Builder | None
) -> tuple[list[BaseReport], DepsImage | None, list[OhbuildError]]:
    """What there is to say about the bases and the build image, what the ready deps image is, all that is wrong."""
    wanted: dict[str, tuple[ImageRef, tuple[Platform, ...]]] = {}
    for target in plan.runtimes:
        assert target.base is not None
        wanted[target.base.image.canonical] = (target.base.image, target.platforms)
    if plan.deps:
        wanted.setdefault(plan.build_image.canonical, (plan.build_image, ()))
    problems: list[OhbuildError] = []
    deps_image: DepsImage | None = None
    today = datetime.now(UTC)
    with closing(open_registry(buildx, builder)) as registry:
        reports = _with_local(check(registry, wanted.values(), today=today), buildx, builder, today)
        problems += [error for report in reports for error in report.errors]
        if plan.deps_image:
            try:
                found = _ready_image(plan, plan.deps_image.image, registry, buildx, builder)
                deps_image = _deps_image(plan, plan.deps_image.image, found)
            except OhbuildError as error:
                problems.append(error)
    return reports, deps_image, problems


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


def _ready_image(
    plan: Plan, reference: ImageRef, registry: Registry, buildx: Buildx | None, builder: Builder | None
) -> Image:
    """A ready deps image, from its registry or, as the bases, from the builder's own image store."""
    try:
        return registry.inspect(reference)
    except (ImageNotFound, RegistryError):
        config = buildx.local_config(reference) if buildx and builder and builder.driver == "docker" else None
        if config is None:
            raise
        wanted = (platform for target in plan.runtimes for platform in target.platforms)
        sizes = dict.fromkeys((*wanted, config.platform), 0)
        return Image(digest="", sizes=sizes, labels=config.labels, env=config.env)


def _deps_image(plan: Plan, reference: ImageRef, image: Image) -> DepsImage:
    """A ready deps image, checked: it is one, and it has the platforms of every runtime."""
    if _DEPS_KEY not in image.labels:
        raise UsageError(
            f"{reference} is not a deps image: it has no label {_DEPS_KEY}", "make one with `ohbuild deps`"
        )
    missing = {str(p) for target in plan.runtimes for p in target.platforms if p not in image.sizes}
    if missing:
        have = ", ".join(str(platform) for platform in image.platforms)
        hint = "make it again for them with `ohbuild deps --platform`"
        raise PlatformMissing(
            f"deps image {reference} is not there for {', '.join(sorted(missing))}; it has {have}", hint
        )
    env = {name: value for name, value in image.env.items() if name != "PATH"}
    return DepsImage(image=reference.pinned(image.digest), labels=dict(image.labels), env=env)
