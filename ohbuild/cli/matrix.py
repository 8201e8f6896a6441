"""``ohbuild matrix``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ohbuild.bake.facts import Purpose
from ohbuild.bake.job import prepare, runtime_tags
from ohbuild.bake.matrix import component_jobs, runtime_jobs
from ohbuild.bake.request import wanted_platforms
from ohbuild.cli.ci import write_outputs
from ohbuild.cli.console import note
from ohbuild.cli.streams import say
from ohbuild.config.bases import Named, named_bases
from ohbuild.config.flags import pairs
from ohbuild.config.settings import Settings, load, load_for_bases
from ohbuild.errors import UsageError
from ohbuild.images.platform import native_platform

KINDS = ("components", "runtimes")


def run(
    flags: Mapping[str, Any],
    bases: Sequence[str] | None,
    *,
    bases_file: str | None,
    config: Path | None,
    for_: str | None,
    runner: Sequence[str] | None,
    groups: int | None,
) -> None:
    """Prints the matrix of jobs as a line of JSON, and sets it as an output of the step in GitHub Actions."""
    if for_ not in KINDS:
        given = f"--for {for_!r} is not a kind of job" if for_ else "--for is missing"
        raise UsageError(given, "use --for components or --for runtimes")
    if runner and for_ != "components":
        raise UsageError("--runner only applies to --for components", "omit it")
    if groups is not None and for_ != "runtimes":
        raise UsageError("--groups only applies to --for runtimes", "omit it")
    if groups is not None and groups < 1:
        raise UsageError(f"--groups {groups} is not a number of groups", "use 1 or more")
    runners = pairs(runner or (), "--runner", "PLATFORM=LABEL")
    named = named_bases(bases, bases_file)
    settings = load_for_bases(flags, named, config=config)
    jobs = _components(settings, runners) if for_ == "components" else _runtimes(settings, flags, named, config, groups)
    text = json.dumps({"include": jobs}, separators=(",", ":"))
    say(text)
    write_outputs({"matrix": text, "empty": "false" if jobs else "true"}, required=True)


def _components(settings: Settings, runners: Mapping[str, str]) -> list[dict[str, Any]]:
    if settings.deps_image:
        note(f"all images use the deps image {settings.deps_image}, so no component is built")
        return []
    if settings.bases:  # the components are needed for the platforms of all bases
        wanted = wanted_platforms(settings, native_platform())
        platforms = {platform for _, each in wanted for platform in each}
        settings = settings.model_copy(update={"platforms": tuple(sorted(platforms))})
    job = prepare(settings, only=(), purpose=Purpose.PLAN)
    jobs = component_jobs(job.plan, runners)
    note(*job.remarks)
    return jobs


def _runtimes(
    settings: Settings, flags: Mapping[str, Any], named: Sequence[Named], config: Path | None, groups: int | None
) -> list[dict[str, Any]]:
    if not settings.bases:
        note("no base is named and `bases` is not set, so there is no job")
        return []
    wanted_platforms(settings, native_platform())  # what is wrong is reported here, before the jobs start
    configured = load(flags, config=config).settings.bases if named else settings.bases
    return runtime_jobs(tuple(dict.fromkeys(settings.bases)), configured, runtime_tags(settings), groups)
