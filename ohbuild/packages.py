"""What a run has to know of its bases to execute something in them: an installation, a user's commands. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ohbuild.check import BaseReport
from ohbuild.errors import OhbuildError, RegistryError, UsageError
from ohbuild.model import Plan


def base_users(plan: Plan, reports: Iterable[BaseReport]) -> tuple[dict[str, str], list[OhbuildError]]:
    """The ``USER`` of each base, which the image has to have again after root has installed something.

    Returns
    -------
    Canonical reference of a base → its user, and what is wrong for bases that something is executed in.
    """
    users: dict[str, str] = {}
    problems: list[OhbuildError] = []
    bases = [target.base for target in plan.runtimes if target.base]
    executing = {base.image.canonical for base in bases if base.system_packages or plan.extra_deps}
    what = "extra_deps" if plan.extra_deps else "system_packages"
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


def packages_note(plan: Plan) -> list[str]:
    """What it costs that something is executed in a base, if it is."""
    bases = [target.base for target in plan.runtimes if target.base]
    some = [str(base.image) for base in bases if base.system_packages]
    cost = "that pulls a base, and emulates a foreign platform"
    notes = [f"system packages go into {', '.join(some)}: {cost}"] if some else []
    if plan.extra_deps and bases:
        notes.append(f"extra_deps are run in {', '.join(str(base.image) for base in bases)}: {cost}")
    return notes
