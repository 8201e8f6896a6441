"""Builds what was rendered: components, then deps and runtimes. A failed runtime does not stop the others."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ohbuild.bake.model import Output, Plan
from ohbuild.bake.render import BAKE_FILE, Rendered, write
from ohbuild.docker.buildx import Builder, Buildx
from ohbuild.docker.failures import cache_remarks, classify, failed_target, is_about_cache, without_cache_remark
from ohbuild.docker.progress import Progress
from ohbuild.docker.supervise import Listener
from ohbuild.errors import NoEngine, OhbuildError


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of building a target.

    Attributes:
        target: Name of the bake target.
        digest: Digest of the index, or of the manifest if there is no index; empty if nothing was exported.
        seconds: Time from its first step to its last.
        cached: Number of Dockerfile steps that were cached.
        steps: Number of all its Dockerfile steps.
        error: Why it failed; ``None`` if it was built or skipped.
        skipped: Whether it was not attempted because something that it is made of failed.
        remarks: What went wrong without failing it: its cache was not written or could not be used.
    """

    target: str
    digest: str = ""
    seconds: float = 0.0
    cached: int = 0
    steps: int = 0
    error: OhbuildError | None = None
    skipped: bool = False
    remarks: tuple[str, ...] = ()


def check(plan: Plan, builder: Builder) -> None:
    """Checks that a builder can export the images of a plan.

    Raises:
        UsageError: It does not.
    """
    for target in (*(item.target for item in plan.missing), *plan.targets):
        builder.exporter.check(
            builder.name, len(target.platforms), load=plan.output is Output.LOAD, provenance=plan.provenance
        )


def parse(buildx: Buildx, rendered: Rendered) -> dict[str, Any]:
    """Returns what buildx reads from the rendered bake file. No daemon is needed.

    Raises:
        OhbuildError: buildx rejects the file.
    """
    with tempfile.TemporaryDirectory(prefix="ohbuild-") as scratch:
        folder = Path(scratch) / "rendered"  # buildx checks that the files named in it exist
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
    """Builds the missing component images. A failed one stops the others, which are then skipped.

    Args:
        buildx: Runs buildx.
        rendered: The plan and its files.
        folder: Folder that ``rendered`` was written to.
        listener: Receives BuildKit's progress.
        no_cache: Whether every step is run, even if it is cached.
        until: Called several times a second; BuildKit is stopped as soon as it returns true.

    Raises:
        Interrupted: The run was interrupted.
        NoEngine: The engine or builder stopped responding.
    """
    targets = [item.target.name for item in rendered.plan.missing]
    flags = ["--no-cache"] if no_cache else []
    code, progress, metadata = _bake(buildx, rendered, folder, targets, listener, flags, until)
    if not code:
        return [_outcome(name, progress, metadata) for name in targets]
    error = classify(progress)
    if isinstance(error, NoEngine):
        raise error
    culprit = failed_target(progress) or targets[0]
    return [
        _outcome(name, progress, {}, error) if name == culprit else Outcome(target=name, skipped=True)
        for name in targets
    ]


def run(buildx: Buildx, rendered: Rendered, folder: Path, listener: Listener) -> list[Outcome]:
    """Assembles deps, then the runtimes. A failed runtime does not stop the others.

    Args:
        buildx: Runs buildx.
        rendered: The plan and its files.
        folder: Folder that ``rendered`` was written to.
        listener: Receives BuildKit's progress.

    Raises:
        Interrupted: The run was interrupted.
        NoEngine: The engine or builder stopped responding.
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
        # bake stops all targets when one fails, so the others are run again without the failed one.
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
    """Runs ``buildx bake``. Returns the exit code, BuildKit's progress, and buildx's metadata by target."""
    progress = Progress(targets)
    words = ["bake", "--file", BAKE_FILE, *flags, *targets]
    code, data = buildx.solve(words, progress, listener, cwd=folder, variables=rendered.variables, until=until)
    return code, progress, data


def _attempt(
    buildx: Buildx, rendered: Rendered, folder: Path, targets: list[str], listener: Listener
) -> dict[str, Outcome]:
    """Runs one bake. Returns the outcomes of all targets if it succeeded, otherwise at least that of a failed one."""
    code, progress, metadata = _bake(buildx, rendered, folder, targets, listener)
    without = _without_cache(rendered.plan)
    remarks: tuple[str, ...] = ()
    if code and is_about_cache(progress) and without:
        remarks = (without_cache_remark(progress),)
        code, progress, metadata = _bake(buildx, rendered, folder, targets, listener, without)
    if not code:
        outcomes = {name: _outcome(name, progress, metadata) for name in targets}
        first = outcomes[targets[0]]  # they share the cache
        return {**outcomes, first.target: replace(first, remarks=(*remarks, *first.remarks))}
    error = classify(progress)
    if isinstance(error, NoEngine):
        raise error
    culprit = failed_target(progress) if len(targets) > 1 else targets[0]
    if culprit:
        return {culprit: _outcome(culprit, progress, {}, error)}
    outcomes = {}
    for name in targets:
        outcomes |= _attempt(buildx, rendered, folder, [name], listener)
    return outcomes


def _outcome(name: str, progress: Progress, metadata: Mapping[str, Any], error: OhbuildError | None = None) -> Outcome:
    cached, steps = progress.counts(name)
    digest = metadata.get(name, {}).get("containerimage.digest", "")
    remarks = cache_remarks(progress).get(name, ())
    return Outcome(
        target=name,
        digest=digest,
        seconds=progress.seconds(name),
        cached=cached,
        steps=steps,
        error=error,
        remarks=remarks,
    )


def _without_cache(plan: Plan) -> list[str]:
    if not plan.cache_from and not plan.cache_to:
        return []
    return ["--set=*.cache-from=", "--set=*.cache-to="]
