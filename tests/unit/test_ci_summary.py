"""The job summary is what it was made of, as a Markdown parser reads it, and never too large."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ohbuild.cli import ci, report, summary
from ohbuild.cli.verdicts import as_data
from ohbuild.errors import NoEngine, SeveralErrors
from tests.finished import BROKEN, FAILED, results

SHOWN = st.text(
    st.one_of(st.characters(exclude_categories=["Cs", "Cc"]), st.sampled_from("|<>&`\\*_[]~$#-\n")), min_size=1
).filter(lambda text: text == text.strip())
CODE = st.one_of(st.text(st.characters(exclude_categories=["Cs", "Cc"])), st.text(st.sampled_from("`~ a\n")))


def markdown(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(text)


def cells(text: str) -> list[str]:
    """The texts of the cells of all tables."""
    tokens = markdown(text)
    inline = [after for before, after in pairwise(tokens) if before.type in ("th_open", "td_open")]
    kinds = {child.type for token in inline for child in token.children or ()}
    assert kinds <= {"text", "html_inline"}, kinds
    return ["".join("\n" if c.type == "html_inline" else c.content for c in t.children or ()) for t in inline]


def blocks(text: str, kind: str) -> list[Token]:
    return [token for token in markdown(text) if token.type == kind]


@given(st.lists(st.tuples(SHOWN, SHOWN), min_size=1))
def test_a_cell_shows_its_text(rows: list[tuple[str, str]]) -> None:
    text = summary.table(("a", "b"), rows)
    assert len(blocks(text, "table_open")) == 1
    assert cells(text) == ["a", "b", *(cell for row in rows for cell in row)]


@given(st.text())
def test_any_text_is_one_cell_and_one_line(text: str) -> None:
    assert len(cells(summary.table(("a",), [(text,)]))) == 2
    assert not re.search(r"[\r\n|<`]", summary.escape(text))


@given(st.lists(CODE, min_size=1))
@example(["```", "x", "````"])
def test_a_log_is_one_block(lines: list[str]) -> None:
    fences = [token for token in markdown(f"before\n\n{summary.fenced(lines)}\n\nafter") if token.nesting == 0]
    assert [token.type for token in fences] == ["inline", "fence", "inline"]
    assert fences[1].content == "\n".join(lines) + "\n"


def test_colours_are_not_shown() -> None:
    assert summary.fenced(["\x1b[1;31mred\x1b[0m", "a\rb"]) == "```text\nred\na\nb\n```"


PARTS = st.lists(
    st.one_of(
        st.builds(summary.Log, st.lists(st.one_of(st.text(), st.just("é" * 999)), max_size=30)),
        st.builds(summary.escape, st.text()),
        st.just(summary.table(("a",), [("b" * 99,)] * 20)),
    )
)


@given(PARTS, st.integers(-5, 20_000))
def test_a_summary_is_never_larger_than_the_limit(parts: list[summary.Part], limit: int) -> None:
    text = summary.fit(parts, limit)
    assert len(text.encode()) <= max(limit, 0)
    whole = summary.fit(parts, 10**9)
    assert text == whole or re.search(r"truncated|omitted", text) or limit < 200
    assert len(blocks(text, "fence")) <= len(blocks(whole, "fence"))


def test_a_log_is_truncated_from_its_beginning() -> None:
    lines = [f"line {number}" for number in range(300_000)]
    text = summary.fit(["first", summary.Log(lines), summary.Log(["short"]), "last"])
    assert len(text.encode()) <= summary.LIMIT
    long, short = blocks(text, "fence")
    kept = long.content.splitlines()
    assert kept == lines[-len(kept) :]
    assert len(kept) > 1000
    omitted = re.search(r"truncated: its first (\d+) bytes", text)
    assert omitted
    assert int(omitted[1]) + len(long.content) == len("\n".join(lines)) + 1
    assert short.content == "short\n"
    assert text.endswith("last\n")
    assert "b" * 9 in summary.fenced(["a" * 999 + "b" * 9], 100)


def test_the_limit_is_that_of_all_commands_of_a_step(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    path.write_bytes(b"x" * (summary.LIMIT - 500))
    environment = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(path)}
    for _ in range(3):
        ci.summarize([summary.table(("a",), [("b" * 50,)] * 20)], environment)
    data = path.read_bytes()
    assert len(data) <= summary.LIMIT
    assert b"The rest is omitted" in data


def test_the_summary_of_a_bake() -> None:
    text = summary.fit(summary.of_results(report.as_data(results(error=FAILED))))
    rows = cells(text)
    assert rows[:8] == ["target", "base", "platforms", "size", "time", "cached", "state", "image"]
    assert rows[16:23] == ["runtime-debian-trixie", "debian:trixie", "linux/amd64", "–", "0.0 s", "0/0", "done"]
    assert rows[23].splitlines()[0] == "a.b/c:debian-trixie"
    assert rows[23].splitlines()[2].startswith("sha256:")
    assert rows[24:] == ["runtime-alpine-3-23", "alpine:3.23", "linux/amd64", "–", "–", "–", "failed", "–"]
    assert "### Images: 2 done, 1 failed" in text
    assert "**Error:** it &#124; failed (at Dockerfile:7)" in text
    assert "**Hint:** fix &#96;it&#96;" in text
    assert [token.content for token in blocks(text, "fence")] == ["##[error]x\n``` `\n"]


def test_sizes_and_components_are_shown() -> None:
    (deps, *_) = report.as_data(results())
    part: dict[str, Any] = {**deps, "target": "component-core", "sizes": {"linux/amd64": 123_000_000}}
    rows = cells(summary.fit(summary.of_results([{**deps, "components": [part]}])))
    assert rows[8:12] == ["component-core", "–", "linux/amd64", "123.0 MB"]
    assert rows[16] == "deps"


def test_the_summary_of_an_error_has_all_errors() -> None:
    data = report.error_data(SeveralErrors("two problems", [NoEngine("one"), NoEngine("two", "start it")]))
    text = summary.fit(summary.of_failure(data))
    assert re.findall(r"\*\*(?:Error|Hint):\*\* (.*)", text) == ["two problems", "one", "two", "start it"]


@pytest.mark.parametrize("log", [True, False])
def test_the_summary_of_a_verification(log: bool) -> None:
    data = as_data([BROKEN])
    if not log:
        data[0]["log"] = []
    text = summary.fit(summary.of_verdicts(data))
    assert cells(text)[6:] == ["a.b/c:1", "linux/amd64", "default", "failed", "0 s", "server: dead|; gone"]
    assert [token.content for token in blocks(text, "fence")] == ["::error::from the server\n"] * log
