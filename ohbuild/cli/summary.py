"""The job summary of GitHub Actions in Markdown. All functions are pure.

The format is GitHub Flavored Markdown (https://github.github.com/gfm/). The limit is that of GitHub's page "Workflow
commands for GitHub Actions", under "Job summaries".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

LIMIT = 1024 * 1024
"""Size in bytes that the summary of a step may have. GitHub drops a larger one completely."""
_LOG_SIZES = (LIMIT, 65536, 16384, 4096, 1024, 0)
_CUT = "\n**The rest is omitted: it would exceed GitHub's limit for a summary, 1 MiB.**\n"
# Numeric references are text in every place, also in the cells of a table and for the parser of inline HTML.
_SPECIAL = re.compile(r"[&<>|`\\*_\[\]~$]")
_LINE_END = re.compile(r"\r\n|\r|\n")  # and no others, unlike str.splitlines
_CONTROL = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
)  # colours; and what no viewer shows


class Log(NamedTuple):
    """Lines of a log, shown as they are; the first ones are omitted if the summary is too large."""

    lines: Sequence[str]


Part = str | Log


def escape(text: str, line_end: str = " ") -> str:
    """Returns Markdown on one line that is shown as ``text``.

    Args:
        text: Any text.
        line_end: Replaces the ends of its lines.
    """
    shown = _SPECIAL.sub(lambda match: f"&#{ord(match[0])};", _CONTROL.sub("", text))
    return _LINE_END.sub(line_end, shown)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table.

    Args:
        header: Headings of the columns.
        rows: Cells as plain text; a cell may have several lines.
    """
    lines = [header, ["---"] * len(header), *([escape(cell, "<br>") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fenced(lines: Sequence[str], size: int = LIMIT) -> str:
    """Returns a code block with the last lines.

    Args:
        lines: The lines.
        size: Number of bytes to which they are shortened from the beginning.
    """
    text = _CONTROL.sub("", _LINE_END.sub("\n", "\n".join(lines)))
    data = text.encode(errors="replace")
    note = ""
    if len(data) > size:
        text = data[len(data) - size :].decode(errors="ignore")
        text = text.partition("\n")[2] or text  # from the beginning of a line, unless the last one alone is too long
        note = f"The log is truncated: its first {len(data) - len(text.encode())} bytes are omitted.\n\n"
        if not text:
            return note.rstrip()
    runs = [len(run) for run in re.findall("`+", text)]
    fence = "`" * (max([2, *runs]) + 1)
    return f"{note}{fence}text\n{text}\n{fence}"


def fit(parts: Iterable[Part], limit: int = LIMIT) -> str:
    """Joins the parts of a summary. Logs are truncated as far as necessary, and then the end is omitted.

    Args:
        parts: The parts.
        limit: Maximum size in bytes.
    """
    parts = list(parts)
    text = ""
    for size in _LOG_SIZES:
        blocks = (fenced(part.lines, size) if isinstance(part, Log) else part for part in parts)
        # Something else may have written the beginning of a line to the file.
        text = "".join(f"\n{block}\n" for block in blocks)
        if _size(text) <= limit:
            return text
    # Now that no log is left, each line can be the last.
    left = limit - _size(_CUT)
    if left < 0:
        return ""
    kept = []
    for line in re.findall(r".*\n", text):
        left -= _size(line)
        if left < 0:
            break
        kept.append(line)
    return "".join(kept) + _CUT


def _size(text: str) -> int:
    return len(text.encode(errors="replace"))


def of_error(error: Mapping[str, Any]) -> list[Part]:
    """Returns the parts about an error.

    Args:
        error: The error as data (``report.error_data``).
    """
    place = f" (at {error['where']})" if error.get("where") else ""
    parts: list[Part] = [f"**Error:** {escape(error['message'] + place)}"]
    if error["hint"]:
        parts.append(f"**Hint:** {escape(error['hint'])}")
    for item in error.get("errors", ()):
        parts += of_error(item)
    if error.get("log"):
        parts.append(Log(error["log"]))
    return parts


def of_failure(error: Mapping[str, Any]) -> list[Part]:
    """Returns the summary of a command that an error ended, given as data (``report.error_data``)."""
    return ["### ohbuild failed", *of_error(error)]


def of_results(results: Sequence[Mapping[str, Any]]) -> list[Part]:
    """Returns the summary of a bake.

    Args:
        results: Its results as data (``report.as_data``).
    """
    states = [result["state"] for result in results]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    rows = [_target(item) for result in results for item in (*result.get("components", ()), result)]
    header = ("target", "base", "platforms", "size", "time", "cached", "state", "image")
    parts: list[Part] = [f"### Images: {counts}", table(header, rows)]
    for item in (item for result in results for item in (*result.get("components", ()), result)):
        parts += [f"**Remark:** {escape(item['target'])}: {escape(remark)}" for remark in item["remarks"]]
    for result in results:
        if result["error"]:
            parts += [f"#### {escape(result['target'])} failed", *of_error(result["error"])]
    return parts


def _target(result: Mapping[str, Any]) -> Sequence[str]:
    name, base = result["target"], result["base"] or "–"
    platforms = "\n".join(result["platforms"])
    if result["state"] != "done":
        return name, base, platforms, "–", "–", "–", result["state"], "–"
    sizes = "\n".join(_megabytes(result["sizes"].get(platform, 0)) for platform in result["platforms"])
    cached = f"{result['cached_steps']}/{result['steps']}"
    image = "\n".join([*result["tags"], *([result["digest"]] if result["digest"] else [])])
    return name, base, platforms, sizes, f"{result['seconds']:.1f} s", cached, "done", image


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size else "–"


def of_bases(bases: Sequence[Mapping[str, Any]], verdicts: Mapping[str, str]) -> list[Part]:
    """Returns the summary of a check.

    Args:
        bases: The reports as data (``ohbuild.check.base.as_data``).
        verdicts: What each state is called.
    """
    rows = []
    for base in bases:
        errors = [": ".join(text for text in (error["message"], error["hint"]) if text) for error in base["errors"]]
        remarks = [f"{remark['text']}: {remark['meaning']}" for remark in base["remarks"]]
        why = "\n".join([*errors, *remarks]) or "–"
        rows.append((base["base"], verdicts[base["state"]], "\n".join(base["wanted"]), why))
    return ["### Bases", table(("base", "verdict", "platforms", "reasons and remarks"), rows)]


def of_verdicts(images: Sequence[Mapping[str, Any]]) -> list[Part]:
    """Returns the summary of a verification.

    Args:
        images: The verdicts as data (``verdicts.as_data``).
    """
    rows = []
    logs: list[Part] = []
    for image in images:
        failed = [point for point in image["points"] if point["state"] == "failed"]
        why = "\n".join(f"{point['name']}: {'; '.join(point['reasons'])}" for point in failed) or "–"
        verdict = "ok" if image["ok"] else "failed"
        rows.append((image["image"], image["platform"], image["mode"], verdict, f"{image['seconds']:.0f} s", why))
        if image["log"]:
            logs += [f"#### Log of {escape(image['image'])} ({escape(image['mode'])})", Log(image["log"])]
    return ["### Verification", table(("image", "platform", "mode", "verdict", "time", "failed points"), rows), *logs]
