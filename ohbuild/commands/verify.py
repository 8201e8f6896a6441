"""``ohbuild verify``: starts images and prints what came of each point of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from ohbuild import report
from ohbuild.commands import console
from ohbuild.engine import find
from ohbuild.errors import ExitCode
from ohbuild.job import Result
from ohbuild.model import ImageRef, parse_platforms
from ohbuild.targets import Output
from ohbuild.verify import JOBS, Subject, Verdict, show, verify_all
from ohbuild.verify.container import ACTION_SECONDS, EMULATED, START_SECONDS
from ohbuild.verify.find import find_subjects, subjects_of
from ohbuild.verify.model import MODES, mode_named

_PARAGRAPHS = (
    "Start images and check the contract of a runtime image, point by point.",
    "Exit code 0: every point holds for every image. 1: one does not. In the table ✓ holds, ✗ does not (the reasons "
    "are below it), – does not apply.",
    "An image is what its registry has under the name; where no registry has it, the copy in Docker's own store. What "
    "had to be pulled is removed afterwards, containers always, on Ctrl-C too.",
    f"The server has {START_SECONDS:.0f} s to answer, an action {ACTION_SECONDS:.0f} s, {EMULATED:.0f} times that "
    "under emulation.",
    "Ways of starting (--mode):",
    # \b: the lines stay as they are
    "\b\n" + "\n".join(f"- {mode.name}: {mode.description}" for mode in MODES),
)


def verify_(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Runtime images.")],
    platform: console.PlatformOption = None,
    mode: Annotated[
        list[str] | None, typer.Option("--mode", metavar="MODE", help="Ways of starting, by comma or repeated, or all.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="How many images run at a time.")] = JOBS,
    local: Annotated[
        bool, typer.Option("--local", help="Take the copies in Docker's own store and ask no registry.")
    ] = False,
    json_: console.JsonOption = False,
) -> None:
    references = [ImageRef.parse(text) for text in images]
    platforms = parse_platforms(platform or ())
    words = [word for text in mode or (MODES[0].name,) for word in text.split(",") if word]
    modes = MODES if "all" in words else tuple(mode_named(word) for word in dict.fromkeys(words))
    connection = find()
    subjects = find_subjects(connection, references, platforms=platforms, modes=modes, local=local, note=console.note)
    with show.View(console.err, subjects) as view:
        verdicts = verify_all(connection, subjects, jobs=jobs, listener=view)
    if json_:
        typer.echo(report.dump({"ok": all_ok(verdicts), "images": show.as_data(verdicts)}))
    else:
        show.print_verdicts(console.out(), verdicts)
    raise typer.Exit(int(ExitCode.OK if all_ok(verdicts) else ExitCode.BUILD_FAILED))


verify_.__doc__ = "\n\n".join(_PARAGRAPHS)


def all_ok(verdicts: Sequence[Verdict]) -> bool:
    return all(verdict.ok for verdict in verdicts)


def baked_subjects(results: Sequence[Result], output: Output) -> list[Subject]:
    """Each runtime image that was pushed or loaded, for each of its platforms, pinned by digest."""
    subjects: list[Subject] = []
    for result in results:
        if result.target.base and not result.outcome.error and not result.outcome.skipped:
            digest = result.outcome.digest if output is Output.PUSH else ""
            subjects += subjects_of(ImageRef.parse(result.tags[0]), result.target.platforms, MODES[:1], digest)
    return subjects


def verify_results(results: Sequence[Result], output: Output) -> list[Verdict]:
    """Verify what was baked."""
    subjects = baked_subjects(results, output)
    if not subjects:
        return []
    with show.View(console.err, subjects) as view:
        return verify_all(find(), subjects, listener=view)
