"""``ohbuild check``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from ohbuild.bake.preflight import check_bases
from ohbuild.check import base as check
from ohbuild.check.base import BaseReport, State
from ohbuild.cli import ci, github, report, summary
from ohbuild.cli.console import new_table, out, plain
from ohbuild.cli.streams import say
from ohbuild.config.bases import named_bases
from ohbuild.config.settings import load_for_bases
from ohbuild.errors import ExitCode

_VERDICTS = {
    State.OK: ("ok", "green"),
    State.REMARKS: ("ok with remarks", "yellow"),
    State.WONT_WORK: ("won't work", "bold red"),
    State.UNKNOWN: ("cannot tell", "red"),
}


def run(
    flags: Mapping[str, Any],
    bases: Sequence[str] | None,
    *,
    bases_file: str | None,
    config: Path | None,
    json_: bool,
) -> ExitCode:
    """Checks bases, by default those in the settings."""
    reports = check_bases(load_for_bases(flags, named_bases(bases, bases_file), config=config))
    code = check.exit_code(reports)
    data = check.as_data(reports)
    if not json_:
        _print(reports)
    ci.annotate(github.of_bases(reports))
    ci.summarize(summary.of_bases(data, {state: words for state, (words, _) in _VERDICTS.items()}))
    if json_:
        say(report.dump({"ok": not code, "bases": data}))
    return code


def _print(reports: list[BaseReport]) -> None:
    """Prints a table with a row for each base, then the errors and remarks for each, one per line."""
    table = new_table("base", "verdict", "platforms", "user", "size", "created")
    for item in reports:
        verdict, style = _VERDICTS[item.state]
        configs = list(item.configs.values())
        users = dict.fromkeys(config.user or "root" for config in configs)
        dates = dict.fromkeys(f"{config.created:%Y-%m-%d}" if config.created else "–" for config in configs)
        table.add_row(
            plain(str(item.base)),
            f"[{style}]{verdict}[/]",
            "\n".join(str(platform) for platform in item.wanted),
            plain("\n".join(users) or "–"),
            "\n".join(
                decimal(item.configs[platform].size) if platform in item.configs else "–" for platform in item.wanted
            ),
            "\n".join(dates) or "–",
        )
    console = out()
    console.print(table)

    def line(text: str, style: str = "") -> None:
        console.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)

    for item in reports:
        if item.state is State.OK:
            continue
        line(f"\n{item.base}: {_VERDICTS[item.state][0]}", _VERDICTS[item.state][1])
        for error in item.errors:
            line(f"  ✗ {error.message}" + (f" → {error.hint}" if error.hint else ""))
        for remark in item.remarks:
            where = f" ({', '.join(str(platform) for platform in remark.platforms)})" if remark.platforms else ""
            line(f"  • {remark.text}{where}: {remark.meaning}")
