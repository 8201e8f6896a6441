"""``ohbuild deps``, ``bake`` and ``render``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ohbuild.bake.facts import Purpose
from ohbuild.bake.job import Job, prepare
from ohbuild.bake.model import Output
from ohbuild.bake.run import parse
from ohbuild.cli import ci, github, report, summary
from ohbuild.cli.console import err, note, out
from ohbuild.cli.streams import say
from ohbuild.cli.verdicts import as_data, print_verdicts
from ohbuild.cli.verify import all_ok, report_to_ci, verify_results
from ohbuild.config.bases import named_bases
from ohbuild.config.settings import load_for_bases
from ohbuild.errors import ExitCode, OhbuildError, UsageError


def run(
    flags: Mapping[str, Any],
    bases: Sequence[str] | None = None,
    *,
    bases_file: str | None = None,
    config: Path | None,
    deps_only: bool = False,
    components_only: bool = False,
    no_cache: bool,
    verify: bool = False,
    print_: bool,
    json_: bool,
) -> ExitCode:
    """Builds the deps image and, unless ``deps_only`` is set, the runtime images.

    With ``components_only``, builds only the component images that are missing for these.
    """
    settings = load_for_bases(flags, named_bases(bases, bases_file), config=config)
    # Only the flag names single images: a setting names the components of the images that all jobs are for.
    only = (settings.components if "components" in flags else ()) if components_only else None
    purpose = Purpose.SHOW if print_ else Purpose.BUILD
    job = prepare(settings, deps_only=deps_only, only=only, purpose=purpose, no_cache=no_cache)
    note(*job.remarks)
    if print_:
        _show(job, json_=json_)
        return ExitCode.OK
    names = [target.name for target in job.plan.targets or [item.target for item in job.plan.missing]]
    with report.make_view(err, names) as view:
        results = job.run(view)
    if not json_:
        out().print(report.table(results) if results else "nothing to build: all component images exist")
    # Before anything is verified: that may end with an error, and the images are there nevertheless.
    output = job.plan.output
    ci.write_outputs(github.outputs_of([] if output is Output.NONE else results, pushed=output is Output.PUSH))
    ci.summarize(summary.of_results(report.as_data(results)))
    note(*report.remarks(results))
    for result in results:
        if result.outcome.error:
            report.print_error(err, result.outcome.error, f"error: {result.target.name}")
    ci.annotate(github.of_results(results, job.folder))
    data = {"folder": str(job.folder), "targets": report.as_data(results)}
    try:
        verdicts = verify_results(results, job.plan.output) if verify else []
    except (OhbuildError, KeyboardInterrupt) as error:
        raise report.Partial(error, data) from error
    code = report.exit_code(results) or (ExitCode.OK if all_ok(verdicts) else ExitCode.BUILD_FAILED)
    if verdicts and not json_:
        print_verdicts(out(), verdicts)
    if verdicts:
        report_to_ci(verdicts)
    if json_:
        say(report.dump({"ok": not code, **data, **({"verify": as_data(verdicts)} if verify else {})}))
    return code


def render(
    flags: Mapping[str, Any], bases: Sequence[str] | None, *, bases_file: str | None, config: Path | None
) -> None:
    """Writes the folder and prints its path."""
    settings = load_for_bases(flags, named_bases(bases, bases_file), config=config)
    job = prepare(settings, purpose=Purpose.SHOW)
    note(*job.remarks)
    job.write()
    say(job.folder)


def _show(job: Job, *, json_: bool) -> None:
    if not json_:
        sys.stdout.write(job.rendered.hcl)
        return
    if job.buildx is None:
        raise UsageError(
            "--print --json needs buildx to read the bake file", "install the Docker client, or remove --json"
        )
    say(report.dump(parse(job.buildx, job.rendered)))
