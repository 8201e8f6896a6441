"""``ohbuild audit``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing, nullcontext
from typing import Any

from rich.filesize import decimal

from ohbuild.audit.image import Audited, audit
from ohbuild.audit.sources import Listener, Source, open_source
from ohbuild.cli import ci, github, report
from ohbuild.cli.console import err, new_table, out, plain
from ohbuild.cli.streams import say
from ohbuild.docker.connection import Connection
from ohbuild.engine.connect import open_registry
from ohbuild.engine.errors import UnmetChoice
from ohbuild.engine.find import find
from ohbuild.errors import ExitCode, NoEngine, OhbuildError, together
from ohbuild.images.platform import parse_platforms
from ohbuild.images.reference import ImageRef, parse_references
from ohbuild.images.registry import Registry
from ohbuild.relocate.audit import Finding


def run(images: Sequence[str], platforms: Sequence[str], *, json_: bool) -> ExitCode:
    """Audits images for the given platforms, by default for all of each image."""
    wanted = parse_platforms(platforms)
    references = parse_references(images)
    try:
        connection: Connection | None = find()
    except UnmetChoice:
        raise
    except NoEngine:
        connection = None
    status = err.status("finding images")
    live = ci.is_live(err)
    with closing(open_registry(connection)) as registry, status if live else nullcontext():

        def listener(text: str) -> None:
            if live:
                status.update(plain(text))

        sources = _find(registry, connection, references, listener)
        results = [
            audit(source, reference, each, listener=listener)
            for reference, source in zip(references, sources, strict=True)
            for each in wanted or source.platforms
        ]
    code = ExitCode.BUILD_FAILED if any(result.findings for result in results) else ExitCode.OK
    if not json_:
        show(results)
    ci.annotate(github.of_audits(results))
    if json_:
        say(report.dump({"ok": not code, "images": as_data(results)}))
    return code


def _find(
    registry: Registry, connection: Connection | None, references: Iterable[ImageRef], listener: Listener
) -> list[Source]:
    sources: list[Source] = []
    wrong: list[OhbuildError] = []
    for reference in references:
        try:
            sources.append(open_source(registry, connection, reference, listener))
        except OhbuildError as error:
            wrong.append(error)
    if wrong:
        raise together("no image was audited", wrong)
    return sources


def as_data(results: Iterable[Audited]) -> list[dict[str, Any]]:
    """Returns the table as data; sizes are in bytes."""
    return [
        {
            "image": str(result.image),
            "platform": str(result.platform),
            "findings": [{"file": finding.file, "problem": finding.problem} for finding in result.findings],
            "files": result.verdict.files,
            "elf_files": result.verdict.elf_files,
            "size": result.verdict.size,
            "layers": list(result.layers),
        }
        for result in results
    ]


def show(results: Sequence[Audited]) -> None:
    """Prints a row for each image and platform, then each finding, with its images unless all of them have it."""
    table = new_table("image", "platform", "files", "ELF files", "size", "findings")
    places: dict[Finding, list[str]] = {}
    for result in results:
        verdict = result.verdict
        table.add_row(
            plain(str(result.image)), str(result.platform), f"{verdict.files:,}", f"{verdict.elf_files:,}",
            decimal(verdict.size), f"[{'red' if verdict.findings else 'green'}]{len(verdict.findings)}[/]",
        )  # fmt: skip
        for finding in verdict.findings:
            places.setdefault(finding, []).append(f"{result.image} {result.platform}")
    console = out()
    console.print(table)
    for finding, found in places.items():
        where = f" (only {', '.join(found)})" if len(found) < len(results) else ""
        console.print(f"{finding.file}: {finding.problem}{where}", markup=False, highlight=False, soft_wrap=True)
