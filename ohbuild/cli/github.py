"""The texts that GitHub's runner reads: workflow commands, annotations and outputs. All functions are pure.

The formats are those of GitHub's page "Workflow commands for GitHub Actions", and of the runner that parses them
(actions/runner: ``ActionCommand.cs``, ``ActionCommandManager.cs``, ``FileCommandManager.cs``).
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ohbuild.errors import BuildFailed, OhbuildError, Place, SeveralErrors

if TYPE_CHECKING:  # loading them takes longer than an error takes to print
    from ohbuild.audit.image import Audited
    from ohbuild.bake.job import Result
    from ohbuild.check.base import BaseReport
    from ohbuild.verify.model import Verdict

_FINDINGS = 20
"""Number of findings that an annotation lists."""


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """A message that GitHub shows in the summary of a run, and at a line of the code if it has a place.

    Attributes:
        level: ``error`` or ``warning``.
        title: Its heading.
        message: Its text; may have several lines.
        place: Line of a file, whose path is absolute or relative to the current directory.
    """

    level: Literal["error", "warning"] = "error"
    title: str
    message: str
    place: Place | None = None


def command(name: str, message: str = "", **properties: str) -> str:
    """Returns a workflow command on one line.

    Args:
        name: Name of the command, such as ``error``.
        message: Its data.
        **properties: Its properties; empty ones are omitted.
    """
    given = ",".join(f"{key}={_escape(value, '%', ':', ',')}" for key, value in properties.items() if value)
    return f"::{name}{f' {given}' if given else ''}::{_escape(message, '%')}"


def _escape(text: str, *characters: str) -> str:
    for character in (*characters, "\r", "\n"):  # the percent sign first, as the others become one
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def harmless(text: str) -> str:
    """Returns a text in which the runner finds no command, for output that cannot be put between ``stop-commands``.

    The runner accepts ``::name::`` only at the beginning of a line, and the older form ``##[name]`` anywhere. Both get
    a backslash.
    """
    return re.sub(r"(?m)(^|\r)([^\S\r\n]*)::", r"\1\2\\::", text).replace("##[", "##\\[")


def harmless_json(text: str) -> str:
    """Returns the same JSON, in which the runner finds no command. No line of JSON begins with a colon."""
    return text.replace("##[", r"#\u0023[")


def annotation(item: Annotation, workspace: str) -> str:
    """Returns the workflow command for an annotation.

    Args:
        item: The annotation.
        workspace: Path of the checked-out repository (``GITHUB_WORKSPACE``); may be empty.
    """
    where = {"file": _in_workspace(item.place.file, workspace), "line": str(item.place.line)} if item.place else {}
    return command(item.level, item.message, **where, title=item.title)


def _in_workspace(file: str, workspace: str) -> str:
    """Returns the path relative to the workspace if it is below it, or else the absolute path."""
    # Without resolving links first: a file of the repository may be a link to one outside of it.
    for full in (os.path.abspath, os.path.realpath):
        path = Path(full(file))
        if workspace and path.is_relative_to(full(workspace)):
            return str(path.relative_to(full(workspace)))
    return os.path.abspath(file)  # noqa: PTH100 — Path.resolve() resolves links too


def of_error(error: OhbuildError, title: str = "ohbuild", folder: Path | None = None) -> list[Annotation]:
    """Returns an annotation for an error, or for each error of ``SeveralErrors``.

    Args:
        error: The error.
        title: Heading of the annotations.
        folder: Build context that the place of a ``BuildFailed`` is relative to. Without it, that has no place.
    """
    if isinstance(error, SeveralErrors):
        return [found for item in error.errors for found in of_error(item, title, folder)]
    place = error.place
    if place and isinstance(error, BuildFailed):
        place = Place(str(folder / place.file), place.line) if folder else None
    return [Annotation(title=title, message=_lines(error.message, error.hint), place=place)]


def of_results(results: Iterable[Result], folder: Path) -> Iterator[Annotation]:
    """Yields an annotation for each remark, and for each target that failed.

    Args:
        results: Results of a bake.
        folder: The folder that it was built from.
    """
    for result in results:
        for item in (*result.components, result):
            for remark in item.outcome.remarks:
                yield Annotation(level="warning", title=f"Remark on {item.target.name}", message=_lines(remark))
        if result.outcome.error:
            first, *others = of_error(result.outcome.error, f"{result.target.name} failed", folder)
            message = _lines(first.message, *(item.message for item in others))
            yield Annotation(title=first.title, message=message, place=first.place)


def of_bases(reports: Iterable[BaseReport]) -> Iterator[Annotation]:
    """Yields an error for each base that is not usable or has no verdict, and a warning for each with remarks."""
    for report in reports:
        if report.errors:
            message = _lines(*(text for error in report.errors for text in (error.message, error.hint)))
            title = f"No verdict on {report.base}" if report.state == "unknown" else f"{report.base} is not usable"
            yield Annotation(title=title, message=message)
        if report.remarks:
            message = _lines(*(f"{remark.text}: {remark.meaning}" for remark in report.remarks))
            yield Annotation(level="warning", title=f"Remarks on {report.base}", message=message)


def of_verdicts(verdicts: Iterable[Verdict]) -> Iterator[Annotation]:
    """Yields an error for each image that failed verification, with the points that failed."""
    for verdict in verdicts:
        if verdict.ok:
            continue
        lines = [f"{point.name}: {'; '.join(point.reasons)}" for point in verdict.failed] or ["no point was checked"]
        title = f"{verdict.subject.title} ({verdict.subject.platform}) failed verification"
        yield Annotation(title=title, message=_lines(*lines))


def of_audits(results: Iterable[Audited]) -> Iterator[Annotation]:
    """Yields an error for each image with findings."""
    for result in results:
        if found := result.findings:
            lines = [f"{finding.file}: {finding.problem}" for finding in found[:_FINDINGS]]
            more = f"and {len(found) - _FINDINGS} more" if len(found) > _FINDINGS else ""
            title = f"{result.image} ({result.platform}) failed the audit"
            yield Annotation(title=title, message=_lines(*lines, more))


def _lines(*texts: str) -> str:
    return "\n".join(text for text in texts if text)


def outputs_of(results: Sequence[Result], *, pushed: bool) -> dict[str, str]:
    """Returns the outputs of a bake, each a JSON text on one line.

    Only targets that were built count. If there are runtime images, the deps image is not part of ``images``.

    Args:
        results: Results of a bake whose images were pushed or loaded.
        pushed: Whether they were pushed, so that their digests can be pulled.

    Returns:
        ``images``: list of references; ``tags``: lists of tags by target; ``digests``: digests by target.
    """
    built = [result for result in results if not result.outcome.error and not result.outcome.skipped]
    runtimes = any(result.target.base for result in results)
    images = [
        str(result.target.repository.pinned(result.outcome.digest)) if pushed else result.tags[0]
        for result in built
        if bool(result.target.base) == runtimes and (result.outcome.digest or not pushed)
    ]
    tags = {result.target.name: list(result.tags) for result in built}
    digests = {result.target.name: result.outcome.digest for result in built if result.outcome.digest}
    return {"images": json.dumps(images), "tags": json.dumps(tags), "digests": json.dumps(digests)}


def outputs_text(outputs: Mapping[str, str]) -> str:
    """Returns the lines that set outputs, each with a random delimiter, so that no value can set another output.

    Args:
        outputs: Values by name.
    """
    lines = []
    for name, value in outputs.items():
        delimiter = f"ghadelimiter_{uuid.uuid4()}"
        lines.append(f"{name}<<{delimiter}\n{value}\n{delimiter}\n")
    return "".join(lines)
