"""``ohbuild verify``."""

from __future__ import annotations

from collections.abc import Sequence

from ohbuild.bake.job import Result
from ohbuild.bake.model import Output
from ohbuild.cli import ci, console, github, report, summary
from ohbuild.cli.streams import say
from ohbuild.cli.verdicts import View, as_data, print_verdicts
from ohbuild.engine.find import find
from ohbuild.errors import ExitCode
from ohbuild.images.platform import parse_platforms
from ohbuild.images.reference import ImageRef, parse_references
from ohbuild.text import split_list
from ohbuild.verify.find import find_subjects, subjects_of
from ohbuild.verify.model import MODES, mode_named
from ohbuild.verify.run import Subject, Verdict, verify_all


def run(
    images: Sequence[str],
    platforms: Sequence[str],
    modes: Sequence[str],
    *,
    jobs: int,
    local: bool,
    skip_missing: bool,
    json_: bool,
) -> ExitCode:
    """Starts images in each of the modes, by default only in the default one."""
    references = parse_references(images)
    wanted = parse_platforms(platforms)
    words = split_list(*modes) or [MODES[0].name]
    chosen = MODES if "all" in words else tuple(mode_named(word) for word in dict.fromkeys(words))
    connection = find()
    subjects = find_subjects(
        connection,
        references,
        platforms=wanted,
        modes=chosen,
        local=local,
        skip_missing=skip_missing,
        note=console.note,
    )
    with View(console.err, subjects) as view:
        verdicts = verify_all(connection, subjects, jobs=jobs, listener=view)
    if not json_:
        print_verdicts(console.out(), verdicts)
    report_to_ci(verdicts)
    if json_:
        say(report.dump({"ok": all_ok(verdicts), "images": as_data(verdicts)}))
    return ExitCode.OK if all_ok(verdicts) else ExitCode.BUILD_FAILED


def report_to_ci(verdicts: Sequence[Verdict]) -> None:
    """Adds the verdicts to the job summary, and annotates each image that failed."""
    ci.annotate(github.of_verdicts(verdicts))
    ci.summarize(summary.of_verdicts(as_data(verdicts)))


def all_ok(verdicts: Sequence[Verdict]) -> bool:
    """Checks whether every image passed."""
    return all(verdict.ok for verdict in verdicts)


def baked_subjects(results: Sequence[Result], output: Output) -> list[Subject]:
    """Returns each runtime image that was pushed or loaded, for each of its platforms, pinned by digest."""
    subjects: list[Subject] = []
    for result in results:
        if result.target.base and not result.outcome.error and not result.outcome.skipped:
            digest = result.outcome.digest if output is Output.PUSH else ""
            subjects += subjects_of(ImageRef.parse(result.tags[0]), result.target.platforms, MODES[:1], digest)
    return subjects


def verify_results(results: Sequence[Result], output: Output) -> list[Verdict]:
    """Verifies the images of a bake."""
    subjects = baked_subjects(results, output)
    if not subjects:
        return []
    with View(console.err, subjects) as view:
        return verify_all(find(), subjects, listener=view)
