"""A run from settings to results: validate, connect, query, plan, render; then write, bake, measure.

Only this module knows the order of the steps. The steps themselves are in other modules.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ohbuild.bake import layouts, run
from ohbuild.bake.facts import Facts, Purpose
from ohbuild.bake.model import Output, Plan, Store, Target
from ohbuild.bake.plan import make_plan, plan_notes
from ohbuild.bake.preflight import again, ask
from ohbuild.bake.render import Rendered, render, write
from ohbuild.bake.request import CONTEXT_PREFIX, Request, make_request
from ohbuild.bake.run import Outcome
from ohbuild.components.component import Component
from ohbuild.components.extensions import Known, known_components
from ohbuild.config.ca_bundle import read_ca_bundle
from ohbuild.config.settings import Settings
from ohbuild.docker.buildx import Builder, Buildx
from ohbuild.docker.connection import Connection
from ohbuild.docker.supervise import Listener
from ohbuild.engine.connect import open_registry_of, reach
from ohbuild.engine.errors import UnmetChoice
from ohbuild.engine.find import find
from ohbuild.errors import Interrupted, NoEngine, OhbuildError, UsageError
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.locks import locked


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of a target.

    Attributes:
        target: The target.
        outcome: Whether and how it was built.
        tags: Its tags.
        sizes: Compressed sizes in bytes by platform; empty if unknown.
        components: For the deps image, the results of the component images that were built for it.
    """

    target: Target
    outcome: Outcome
    tags: tuple[str, ...]
    sizes: Mapping[Platform, int] = field(default_factory=dict)
    components: tuple[Result, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run that is ready to start.

    Attributes:
        request: The validated request.
        facts: What registries and the builder reported.
        rendered: The plan and its files.
        renderer: Renders another plan with the same options.
        buildx: Runs buildx; ``None`` if no engine is available, so that the job can only be shown.
        builder: The builder; ``None`` if none is available.
        folder: Folder for the generated files.
        no_cache: Whether all components are rebuilt.
        remarks: What the user should know before it starts.
    """

    request: Request
    facts: Facts
    rendered: Rendered
    renderer: Callable[[Plan], Rendered]
    buildx: Buildx | None
    builder: Builder | None
    folder: Path
    no_cache: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def plan(self) -> Plan:
        """The plan of the run."""
        return self.rendered.plan

    def write(self) -> None:
        """Writes the folder without building anything.

        Raises:
            UsageError: The folder was not created by ohbuild, cannot be written, or is in use.
        """
        with _alone(self.folder):
            write(self.rendered, self.folder)

    def on(self, buildx: Buildx, builder: Builder, folder: Path) -> Job:
        """Returns the same run for another builder. Only the component images are queried again."""
        facts = again(self.request, self.facts, buildx, builder)
        rendered = self.renderer(make_plan(self.request, facts))
        return replace(self, facts=facts, rendered=rendered, buildx=buildx, builder=builder, folder=folder)

    def run(self, listener: Listener) -> list[Result]:
        """Writes the folder and builds missing components, deps and runtimes.

        If a target fails, its error is part of its result.

        Args:
            listener: Receives BuildKit's progress.

        Returns:
            The results of deps and runtimes, or those of the component images if the plan assembles nothing.

        Raises:
            UsageError: The folder was not created by ohbuild, cannot be written, or is in use.
            NoEngine: No engine is available, or it stopped responding.
            Interrupted: The run was interrupted.
        """
        with _alone(self.folder):
            if not self.plan.targets:
                return list(self._missing(listener))
            try:
                ready, built = self._components(listener)
            except (NoEngine, Interrupted):
                raise
            except OhbuildError as error:  # without components neither deps nor runtimes can be built
                deps, *others = (Outcome(target=target.name, skipped=True) for target in self.plan.targets)
                outcomes = [replace(deps, error=error, skipped=False), *others]
                return [self._measure(*pair) for pair in zip(self.plan.targets, outcomes, strict=True)]
            assert ready.buildx is not None
            write(ready.rendered, self.folder)
            outcomes = run.run(ready.buildx, ready.rendered, self.folder, listener)
        results = [self._measure(target, outcome) for target, outcome in zip(self.plan.targets, outcomes, strict=True)]
        return [replace(results[0], components=built), *results[1:]]

    def with_components(self, listener: Listener, until: Callable[[], bool] | None = None) -> Job:
        """Builds the missing components and returns the run that remains, without missing components.

        Args:
            listener: Receives BuildKit's progress.
            until: Called several times a second; BuildKit is stopped as soon as it returns true.

        Raises:
            OhbuildError: One of the components could not be built.
        """
        with _alone(self.folder):
            return self._components(listener, until)[0]

    @property
    def context_options(self) -> list[str]:
        """Options of `docker buildx build` for component images that a standalone Dockerfile cannot name.

        Raises:
            UsageError: A component has images for several platforms, which only `docker buildx bake` supports.
        """
        plan = self.plan
        if not plan.from_layouts:
            return []
        if len(plan.runtimes[0].platforms) > 1:
            what = "a folder for several platforms needs its component images in a registry, and none is configured"
            raise UsageError(what, "set component_repository, or choose one platform")
        images = (item for item in plan.images if item.component in plan.layers)
        return [f"--build-context={CONTEXT_PREFIX}{item.component}={layouts.context(item)}" for item in images]

    def _components(
        self, listener: Listener, until: Callable[[], bool] | None = None
    ) -> tuple[Job, tuple[Result, ...]]:
        results = self._missing(listener, until)
        if error := next((result.outcome.error for result in results if result.outcome.error), None):
            raise error
        digests = {result.target.name: result.outcome.digest for result in results}
        return (replace(self, rendered=self.renderer(self.plan.with_images(digests))) if results else self), results

    def _missing(self, listener: Listener, until: Callable[[], bool] | None = None) -> tuple[Result, ...]:
        """Builds the missing component images."""
        if self.buildx is None or self.builder is None:
            raise NoEngine("no Docker Engine is available", "start one with `ohbuild engine up`")
        missing = self.plan.missing
        if not missing:
            return ()
        write(self.rendered, self.folder)
        outcomes = run.run_components(
            self.buildx, self.rendered, self.folder, listener, no_cache=self.no_cache, until=until
        )
        if self.plan.store is Store.LAYOUT:
            layouts.prune()
        return tuple(self._measure(item.target, outcome) for item, outcome in zip(missing, outcomes, strict=True))

    def _measure(self, target: Target, outcome: Outcome) -> Result:
        tags = target.tags(self.rendered.keys.get(target.name, ""))
        assert self.buildx is not None
        sizes: Mapping[Platform, int] = {}
        if not outcome.error and not outcome.skipped:
            pushed = self.plan.store is Store.REGISTRY if target.component else self.plan.output is Output.PUSH
            if pushed and outcome.digest:
                sizes = _sizes(self.buildx, self.builder, target.repository.pinned(outcome.digest))
            elif self.plan.output is Output.LOAD and len(target.platforms) == 1:
                sizes = {target.platforms[0]: self.buildx.image_size(tags[0])}
        return Result(target=target, outcome=outcome, tags=tags, sizes=sizes)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Locks the folder, so that no other run rewrites it while this one builds from it."""
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            ours = stack.enter_context(locked(folder, os.O_RDONLY | os.O_DIRECTORY))
        except OSError as error:
            raise UsageError(f"cannot write {folder}: {error.strerror}", "choose another with --folder") from error
        if not ours:
            raise UsageError(f"another ohbuild is building from {folder}", "wait for it, or choose another --folder")
        yield


def _sizes(buildx: Buildx, builder: Builder | None, image: ImageRef) -> Mapping[Platform, int]:
    with closing(open_registry_of(buildx, builder)) as registry:
        try:
            return registry.inspect(image).sizes
        except OhbuildError:
            return {}


def prepare(
    settings: Settings,
    *,
    deps_only: bool = False,
    only: Collection[str] | None = None,
    purpose: Purpose = Purpose.BUILD,
    no_cache: bool = False,
    known: Sequence[Component] | None = None,
    connect: Callable[[], Connection] = find,
) -> Job:
    """Checks everything that can be checked before a build starts: validates, connects, queries, plans, renders.

    Args:
        settings: The settings of the run.
        deps_only: Whether runtimes are omitted.
        only: If nothing is assembled, the components whose images are built, as for ``make_request``.
        purpose: What the run is prepared for. This decides whether an engine and responding registries are required.
        no_cache: Whether all components are rebuilt, even if their images exist.
        known: Known components in layer order; ``None`` for ohbuild's own and those of extensions.
        connect: Finds the engine.

    Raises:
        OhbuildError: Something is wrong. Several problems are raised as one ``SeveralErrors``.
    """
    found = known_components() if known is None else Known(components=tuple(known))
    request = make_request(settings, found.components, deps_only=deps_only, only=only)
    ca_bundle = read_ca_bundle(settings)
    reached = reach(settings.builder, connect)
    if reached.problem and purpose is Purpose.BUILD:
        raise reached.problem
    buildx, builder = reached.buildx, reached.builder
    facts, remarks = ask(request, buildx, builder, purpose=purpose, rebuild=no_cache)
    if isinstance(reached.problem, UnmetChoice):
        remarks.insert(0, f"{reached.problem.message}; nothing is built here, so this continues without a builder")
    plan = make_plan(request, facts)
    if builder:
        run.check(plan, builder)
    renderer = partial(render, ca_bundle=ca_bundle)
    problems = [f"extension ignored: {problem}" for problem in found.problems]
    return Job(
        request=request,
        facts=facts,
        rendered=renderer(plan),
        renderer=renderer,
        buildx=buildx,
        builder=builder,
        folder=settings.folder,
        no_cache=no_cache,
        remarks=(*problems, *remarks, *plan_notes(plan, settings, facts)),
    )


def runtime_tags(
    settings: Settings, *, known: Sequence[Component] | None = None, connect: Callable[[], Connection] = find
) -> dict[str, str]:
    """Returns the moving tags that a bake of the settings would push or load, by canonical reference of the base.

    No base is queried, because one that is missing must not keep the others from being planned.

    Args:
        settings: The settings of the run.
        known: Known components, as for ``prepare``.
        connect: Finds the engine.

    Raises:
        OhbuildError: Something is wrong. Several problems are raised as one ``SeveralErrors``.
    """
    found = known_components().components if known is None else known
    request = make_request(settings, found)
    reached = reach(settings.builder, connect)
    buildx = reached.buildx
    facts = Facts(registry=(buildx.connection.registry or "") if buildx else "")
    if settings.deps_image:  # its labels name the components, which are part of the tags
        facts, _ = ask(replace(request, bases=()), buildx, reached.builder, purpose=Purpose.PLAN)
    targets = make_plan(request, facts).runtimes
    return {target.base.image.canonical: target.tags("")[0] for target in targets if target.base}
