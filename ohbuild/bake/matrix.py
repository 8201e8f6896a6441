"""The jobs of a GitHub Actions workflow as entries of ``strategy.matrix``. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from ohbuild.bake.model import Plan, Store
from ohbuild.config.bases import BaseSetting, by_reference, settings_for
from ohbuild.errors import OhbuildError, UsageError, together
from ohbuild.images.platform import Platform
from ohbuild.text import split_list

Labels = str | list[str]
"""What ``runs-on`` takes: a label of runners, or several that a runner must have."""

JOBS = 256
"""Maximum number of jobs of a matrix.

See https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#jobsjob_idstrategymatrix.
"""
GROUP = 50
"""Number of bases that one job bakes by default. They take about as long as the job takes to start."""
RUNNERS: Mapping[Platform, Labels] = {
    Platform("linux", "amd64"): "ubuntu-24.04",
    Platform("linux", "arm64"): "ubuntu-24.04-arm",
}
"""Labels of GitHub's own runners, on which nothing is emulated."""


def read_runners(given: Mapping[str, str], platforms: Sequence[Platform]) -> dict[Platform, Labels]:
    """Returns the runners of each platform.

    Args:
        given: Labels by platform, as they were typed: one, or several as a list. They override ``RUNNERS``.
        platforms: The platforms of the run.

    Raises:
        UsageError: A platform is not valid or not one of the run, or has no label. Several problems are raised as one
            ``SeveralErrors``.
    """
    found = {platform: RUNNERS[platform] for platform in platforms if platform in RUNNERS}
    problems: list[OhbuildError] = []
    for name, text in given.items():
        try:
            platform, labels = Platform.parse(name), split_list(text)
        except OhbuildError as error:
            problems.append(UsageError(f"--runner: {error.message}", error.hint))
            continue
        if platform not in platforms:
            known = ", ".join(map(str, platforms))
            what = f"--runner: {platform} is not one of the platforms to build for ({known})"
            problems.append(UsageError(what, "add it with --platform, or omit this runner"))
        elif not labels:
            what = f"--runner {name}= has no label"
            problems.append(UsageError(what, f"use the label of a runner, such as --runner {name}=ubuntu-24.04"))
        else:
            found[platform] = labels[0] if len(labels) == 1 else labels
    problems += [
        UsageError(f"no runner is known for {platform}", f"name one with --runner {platform}=LABEL")
        for platform in platforms
        if platform not in found and not problems
    ]
    if problems:
        raise together("the runners are not valid", problems)
    return found


def component_jobs(plan: Plan, given: Mapping[str, str]) -> list[dict[str, Any]]:
    """Returns a job for each missing component image.

    Args:
        plan: The plan.
        given: As for ``read_runners``.

    Raises:
        UsageError: Component images are not kept in a registry, there are too many jobs, or a runner is not valid.
    """
    if plan.store is not Store.REGISTRY:
        raise UsageError(
            "component images would not be pushed, so no other job could use them",
            "name a registry with --image REGISTRY/NAME, or set component_repository",
        )
    runners = read_runners(given, sorted({item.platform for item in plan.images}))
    jobs = [
        {
            "component": item.component,
            "platform": str(item.platform),
            "runner": runners[item.platform],
            "image": str(item.image),
        }
        for item in plan.missing
    ]
    if len(jobs) > JOBS:
        raise UsageError(
            f"{len(jobs)} component images are missing, but a matrix of GitHub Actions has at most {JOBS} jobs",
            "plan them in parts, with --component or --platform",
        )
    return jobs


def runtime_jobs(
    bases: Sequence[BaseSetting],
    configured: Iterable[BaseSetting],
    tags: Mapping[str, str],
    groups: int | None = None,
) -> list[dict[str, Any]]:
    """Returns a job for each group of bases.

    Groups are contiguous, and their sizes differ by at most one.

    Args:
        bases: The bases, without duplicates.
        configured: The bases of the settings that the jobs will load.
        tags: Tags of the runtime images by canonical reference of the base.
        groups: Number of groups. There are never more groups than bases. By default, a group has at most ``GROUP``
            bases unless that needs more than ``JOBS`` groups.

    Raises:
        UsageError: There are too many groups.
    """
    wanted = min(JOBS, -(-len(bases) // GROUP)) if groups is None else groups
    count = min(wanted, len(bases))
    if count > JOBS:
        raise UsageError(
            f"--groups {groups}: a matrix of GitHub Actions has at most {JOBS} jobs", f"use --groups {JOBS} or less"
        )
    known = by_reference(configured)
    ends = [len(bases) * number // max(count, 1) for number in range(count + 1)]
    return [
        {
            "group": number,
            "bases": _text(bases[begin:end], known),
            "images": ",".join(tags[base.image.canonical] for base in bases[begin:end]),
        }
        for number, (begin, end) in enumerate(pairwise(ends), 1)
    ]


def _text(bases: Sequence[BaseSetting], known: Mapping[str, BaseSetting]) -> str:
    """Returns bases as an argument of ``ohbuild bake``: references, or JSON if these would lose a base's settings."""
    items = [str(base.image) if base == settings_for(base.image, known) else _table(base) for base in bases]
    texts = [item for item in items if isinstance(item, str)]
    return ",".join(texts) if len(texts) == len(items) else json.dumps(items, separators=(",", ":"))


def _table(base: BaseSetting) -> dict[str, Any]:
    data = base.model_dump(mode="json")
    return {name: value for name, value in data.items() if value}
