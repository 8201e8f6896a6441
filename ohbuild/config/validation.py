"""Errors of ohbuild's through pydantic and back: it keeps nothing of an error but its text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ohbuild.errors import OhbuildError

T = TypeVar("T")


def checked(make: Callable[[], T]) -> T:
    """What ``make`` returns.

    Raises:
        ValueError: instead of an ``OhbuildError``, with the hint in parentheses at the end of its text.
    """
    try:
        return make()
    except OhbuildError as error:
        raise ValueError(error.message + (f" ({error.hint})" if error.hint else "")) from error


def message_and_hint(text: str) -> tuple[str, str]:
    """The two parts of a ``ValueError``'s text as pydantic gives it; the hint is empty if there is none."""
    text = text.removeprefix("Value error, ")
    depth = 0
    for place in range(len(text) - 1 if text.endswith(")") else 0, 0, -1):
        depth += {")": 1, "(": -1}.get(text[place], 0)
        if depth == 0:
            return (text[: place - 1], text[place + 1 : -1]) if text[place - 1] == " " else (text, "")
    return text, ""
