"""What a run has to know of its bases to install system packages into some of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ohbuild.check import BaseReport
from ohbuild.errors import OhbuildError, UsageError
from ohbuild.model import Plan


def base_users(plan: Plan, reports: Iterable[BaseReport]) -> tuple[dict[str, str], list[OhbuildError]]:
    """The ``USER`` of each base, which the image has to have again after root has installed something.

    Returns
    -------
    Canonical reference of a base → its user, and what is wrong for bases that are to get system packages.
    """
    users: dict[str, str] = {}
    problems: list[OhbuildError] = []
    bases = [target.base for target in plan.runtimes if target.base]
    with_packages = {base.image.canonical for base in bases if base.system_packages}
    for report in reports:
        found = list(dict.fromkeys(config.user for config in report.configs.values()))
        if found:
            users[report.base.canonical] = found[0]
        if len(found) > 1 and report.base.canonical in with_packages:
            names = ", ".join(name or "root" for name in found)
            problems.append(
                UsageError(
                    f"system_packages of {report.base}: its USER is another on each platform ({names})",
                    "bake one platform at a time",
                )
            )
        if not found and not report.errors and report.base.canonical in with_packages:
            problems.append(UsageError(f"system_packages of {report.base}: its USER is not known"))
    return users, problems


def packages_note(plan: Plan) -> list[str]:
    """What system packages cost, if any are to be installed."""
    some = [str(target.base.image) for target in plan.runtimes if target.base and target.base.system_packages]
    if not some:
        return []
    return [f"system packages go into {', '.join(some)}: that pulls a base, and emulates a foreign platform"]
