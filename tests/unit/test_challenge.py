"""Challenges by the grammar of RFC 9110."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohbuild.images.challenge import Challenge, parse_challenges


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("@@", []),
        ("Basic", [("basic", {})]),
        (
            'Bearer realm="https://a/t?x=y",service="s, t"',
            [("bearer", {"realm": "https://a/t?x=y", "service": "s, t"})],
        ),
        ('bearer  Realm = "x" , service=y', [("bearer", {"realm": "x", "service": "y"})]),
        ('Bearer realm="a \\"b\\" \\\\c"', [("bearer", {"realm": 'a "b" \\c'})]),
        ('Negotiate, Basic realm="x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
        ("Negotiate YWJj==, Basic realm=r", [("negotiate", {}), ("basic", {"realm": "r"})]),
        (',, Basic realm="a",, ,Bearer realm=b ,', [("basic", {"realm": "a"}), ("bearer", {"realm": "b"})]),
        (  # RFC 9110, section 11.6.1
            'Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\""',
            [("basic", {"realm": "simple"}), ("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'})],
        ),
        ('Bearer realm="one", realm="two"', [("bearer", {"realm": "one"})]),
        ('Basic realm="never ended', [("basic", {})]),
    ],
)
def test_challenges(text: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(text) == [Challenge(*pair) for pair in expected]


NAMES = st.text("abcdefghij-_", min_size=1, max_size=8)
VALUES = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=20)


@given(st.lists(st.tuples(NAMES, st.dictionaries(NAMES, VALUES, min_size=1)), min_size=1, max_size=4))
def test_what_is_written_by_the_grammar_is_read(challenges: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    text = ", ".join(
        f"{scheme} " + ",".join(f"{name}={quoted(value)}" for name, value in parameters.items())
        for scheme, parameters in challenges
    )
    assert [(found.scheme, found.parameters) for found in parse_challenges(text)] == challenges


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    parse_challenges(text)
