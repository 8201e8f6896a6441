"""Message and hint survive pydantic, whatever parentheses they have; a location is readable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohbuild.config.validation import Location, checked, message_and_hint, spoken
from ohbuild.errors import UsageError

WORDS = st.text("ab c'", min_size=1, max_size=8).map(str.strip).filter(bool)
TEXTS = st.one_of(WORDS, st.builds("{} ({}) {}".format, WORDS, WORDS, WORDS))


@given(TEXTS, st.one_of(st.just(""), TEXTS))
def test_there_and_back(message: str, hint: str) -> None:
    def make() -> None:
        raise UsageError(message, hint)

    with pytest.raises(ValueError, match=r".") as caught:
        checked(make)
    assert message_and_hint(f"Value error, {caught.value}") == (message, hint)


@pytest.mark.parametrize("text", ["", ")", "()", "a)", "(a)", "a(b)", "a (b"])
def test_a_text_without_a_hint(text: str) -> None:
    assert message_and_hint(text) == (text, "")


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ((), ""),
        (("image",), "image"),
        (("bases", 1), "bases #2"),
        (("bases", 1, "platforms"), "bases #2: platforms"),
        (("kubernetes", "tolerations", 0, "key"), "kubernetes.tolerations #1: key"),
        (("kubernetes", "labels", "a b", "[key]"), "kubernetes.labels.a b"),
    ],
)
def test_a_location_is_written_as_people_do(location: Location, text: str) -> None:
    assert spoken(location) == text
