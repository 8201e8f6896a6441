"""Runs what was rendered: components, then deps and runtimes; one that fails does not take the others down."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ohbuild.bake.model import Output, Plan
from ohbuild.bake.render import BAKE_FILE, Rendered, write
from ohbuild.docker.buildx import Builder, Buildx
from ohbuild.docker.failures import classify, failed_target, is_about_cache
from ohbuild.docker.progress import Progress
from ohbuild.docker.supervise import Listener
from ohbuild.errors import NoEngine, OhbuildError


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a target.

    Args:
        digest: of the index (or of the manifest where there is none); empty if nothing was exported.
        seconds: from its first step to its last.
        cached, steps: Dockerfile steps from the cache, and all.
        error: ``None`` if it was built.
        skipped: not attempted, because what it is made of failed.
    """

    target: str
    digest: str = ""
    seconds: float = 0.0
    cached: int = 0
    steps: int = 0
    error: OhbuildError | None = None
    skipped: bool = False


def check(plan: Plan, builder: Builder) -> None:
    """Whether this builder can make the outputs of this plan.

    Raises:
        UsageError: it cannot.
    """
    for target in plan.targets:
        builder.check_platforms(target.platforms, load=plan.output is Output.LOAD)


def parse(buildx: Buildx, rendered: Rendered) -> dict[str, Any]:
    """What buildx reads from the rendered bake file; needs no daemon.

    Raises:
        OhbuildError: buildx does not take it.
    """
    with tempfile.TemporaryDirectory(prefix="ohbuild-") as scratch:
        folder = Path(scratch) / "rendered"  # buildx looks whether the files it names are there
        write(rendered, folder)
        return buildx.definition(BAKE_FILE, folder, rendered.variables)


def run_components(
    buildx: Buildx,
    rendered: Rendered,
    folder: Path,
    listener: Listener,
    *,
    no_cache: bool = False,
    until: Callable[[], bool] | None = None,
) -> list[Outcome]:
    """Build the component images that are missing.

    Args:
        folder: where ``rendered`` was written.
        no_cache: run every step again.
        until: asked some times a second; once it says yes, BuildKit is told to stop.

    Raises:
        OhbuildError: the first that failed ended it, or nothing could be built at all.
    """
    targets = [item.target.name for item in rendered.plan.missing]
    flags = ["--no-cache"] if no_cache else []
    code, progress, metadata = _bake(buildx, rendered, folder, targets, listener, flags, until)
    if not code:
        return [_outcome(name, progress, metadata) for name in targets]
    raise classify(progress)


def run(buildx: Buildx, rendered: Rendered, folder: Path, listener: Listener) -> list[Outcome]:
    """Assemble deps, then the runtimes; a runtime that fails does not take the others down.

    Args:
        folder: where ``rendered`` was written.

    Raises:
        Interrupted, NoEngine: nothing more can be done.
    """
    outcomes: dict[str, Outcome] = {}
    plan = rendered.plan
    if plan.deps:
        outcomes |= _attempt(buildx, rendered, folder, ["deps"], listener)
    remaining = [target.name for target in plan.runtimes]
    if any(outcome.error for outcome in outcomes.values()):
        return [*outcomes.values(), *(Outcome(target=name, skipped=True) for name in remaining)]
    while remaining:
        done = _attempt(buildx, rendered, folder, remaining, listener)
        outcomes |= done
        # bake stops all when one fails: those that it did not blame get another run without the culprit.
        remaining = [name for name in remaining if name not in done]
    return [outcomes[target.name] for target in plan.targets]


def _bake(
    buildx: Buildx,
    rendered: Rendered,
    folder: Path,
    targets: Sequence[str],
    listener: Listener,
    flags: Sequence[str] = (),
    until: Callable[[], bool] | None = None,
) -> tuple[int, Progress, dict[str, Any]]:
    """One ``buildx bake``: its exit code, all that BuildKit said, and buildx's metadata by target."""
    progress = Progress(targets)
    words = ["bake", "--file", BAKE_FILE, *flags, *targets]
    code, data = buildx.solve(words, progress, listener, cwd=folder, variables=rendered.variables, until=until)
    return code, progress, data


def _attempt(
    buildx: Buildx, rendered: Rendered, folder: Path, targets: list[str], listener: Listener
) -> dict[str, Outcome]:
    """One bake. All targets if it went well; otherwise at least the one that failed."""
    code, progress, metadata = _bake(buildx, rendered, folder, targets, listener)
    without = _without_cache(rendered.plan)
    if code and is_about_cache(progress) and without:
        code, progress, metadata = _bake(buildx, rendered, folder, targets, listener, without)
    if not code:
        return {name: _outcome(name, progress, metadata) for name in targets}
    error = classify(progress)
    if isinstance(error, NoEngine):
        raise error
    culprit = failed_target(progress) if len(targets) > 1 else targets[0]
    if culprit:
        return {culprit: _outcome(culprit, progress, {}, error)}
    outcomes: dict[str, Outcome] = {}
    for name in targets:
        outcomes |= _attempt(buildx, rendered, folder, [name], listener)
    return outcomes


def _outcome(name: str, progress: Progress, metadata: Mapping[str, Any], error: OhbuildError | None = None) -> Outcome:
    cached, steps = progress.counts(name)
    digest = metadata.get(name, {}).get("containerimage.digest", "")
    return Outcome(target=name, digest=digest, seconds=progress.seconds(name), cached=cached, steps=steps, error=error)


def _without_cache(plan: Plan) -> list[str]:
    if not plan.cache_from and not plan.cache_to:
        return []
    return ["--set=*.cache-from=", "--set=*.cache-to="]
