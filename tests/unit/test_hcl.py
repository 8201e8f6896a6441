from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ohbuild.bake.hcl import Expression, attributes, quote
from ohbuild.components.template import dockerfile_quote

_text = st.one_of(
    st.text(alphabet="$%{}\"'\\~\n\r\tab", max_size=12),
    st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=12),
)


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(_text, min_size=40, max_size=80))
def test_no_string_breaks_out(bake_print: Callable[[str], dict[str, Any]], values: list[str]) -> None:
    """Many strings per example, because buildx is started for each."""
    labels = {f"label-{number}": value for number, value in enumerate(values)}
    body = {"labels": labels, "tags": values[:3], "args": {"BASE": values[0], "OTHER": Expression("VARIABLE")}}
    text = f'variable "VARIABLE" {{\n  default = {quote(values[-1])}\n}}\ntarget "all" {{\n{attributes(body)}\n}}\n'
    target = bake_print(text)["all"]
    for name, value in labels.items():
        assert target["labels"].get(name, "") == unicodedata.normalize("NFC", value)
    assert target["args"].get("OTHER", "") == unicodedata.normalize("NFC", values[-1])


def test_quoting_is_readable_where_it_can_be() -> None:
    assert quote('say "${x}" 100% $5 %{y} \\') == '"say \\"$${x}\\" 100% $5 %%{y} \\\\"'
    assert quote("line\nline\x00") == '"line\\nline\\u0000"'
    assert quote("$${x} $$$ %%{y} ${${") == '"$\\u0024{x} $$$ %\\u0025{y} $${$${"'
    assert quote("\x1f\x7f\x9f\xa0\u2028\u2029\ufeffé😀") == '"\\u001f\\u007f\\u009f\xa0\\u2028\\u2029\\ufeffé😀"'


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(ValueError, match="not valid Unicode"):
        quote("\ud800")


def test_lines_are_laid_out_as_hclfmt_would() -> None:
    """The `=` of adjacent one-line values are aligned, a multi-line value ends the run, empty values are omitted."""
    values = {
        "inherits": ["_common"],
        "target": "deps",
        "labels": {"a.b": "1", "long.name": "2"},
        "tags": ["x" * 60, "y" * 60],
        "x": Expression("VARIABLE"),
        "longer-name": True,
        "secret": [{"type": "file", "id": "ca"}],
        "empty": [],
        "nothing": "",
    }
    assert attributes(values) == "\n".join(
        [
            '  inherits = ["_common"]',
            '  target   = "deps"',
            "  labels = {",
            '    "a.b"       = "1"',
            '    "long.name" = "2"',
            "  }",
            "  tags = [",
            f'    "{"x" * 60}",',
            f'    "{"y" * 60}",',
            "  ]",
            "  x           = VARIABLE",
            "  longer-name = true",
            '  secret      = [{ type = "file", id = "ca" }]',
        ]
    )


def test_the_work_grows_with_the_text_alone() -> None:
    """Twenty times as many attributes in a run take about twenty times as long, not four hundred times as before."""

    def seconds(count: int) -> float:
        values = {f"name-{number}": f"registry.example.com/name:{number}" for number in range(count)}
        start = time.process_time()
        attributes(values)
        return time.process_time() - start

    few, many = (min(seconds(count) for _ in range(3)) for count in (500, 10_000))
    assert many < 100 * few


def test_dockerfile_words_are_quoted() -> None:
    assert dockerfile_quote('a "$HOME" \\') == '"a \\"\\$HOME\\" \\\\"'
    with pytest.raises(ValueError, match="control character"):
        dockerfile_quote("a\nRUN rm -rf /")
