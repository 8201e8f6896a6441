"""Turns ohbuild's errors into pydantic's and back, as pydantic keeps nothing of an error but its text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from ohbuild.errors import InvalidSetting, OhbuildError, Place, nearest

T = TypeVar("T")
Location = tuple[int | str, ...]
MISSPELT = 0.85
"""How similar a name must be to one of ours to be a misspelling of it rather than somebody else's name."""
# Where pydantic's own text has Python's names of types.
_EXPECTED = {"tuple_type": "expected a list", "dict_type": "expected a table", "model_type": "expected a table"}


class Table(BaseModel):
    """A table of settings. An unknown key is an error that suggests the nearest known one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, data: Any) -> Any:
        for name in data if isinstance(data, Mapping) else ():
            if name not in cls.model_fields:
                raise ValueError(f"unknown key {name!r} ({nearest(str(name), list(cls.model_fields))})")
        return data


def checked(make: Callable[[], T]) -> T:
    """Calls ``make`` and returns its result.

    Raises:
        ValueError: Replaces an ``OhbuildError``; its text ends with the hint in parentheses.
    """
    try:
        return make()
    except OhbuildError as error:
        raise ValueError(error.message + (f" ({error.hint})" if error.hint else "")) from error


def message_and_hint(text: str) -> tuple[str, str]:
    """Splits the text of a ``ValueError``, as pydantic reports it, into message and hint; the hint may be empty."""
    text = text.removeprefix("Value error, ")
    depth = 0
    for place in range(len(text) - 1 if text.endswith(")") else 0, 0, -1):
        depth += {")": 1, "(": -1}.get(text[place], 0)
        if depth == 0:
            return (text[: place - 1], text[place + 1 : -1]) if text[place - 1] == " " else (text, "")
    return text, ""


def explained(error: ValidationError, typed: Callable[[Location], tuple[Place | str, str]]) -> list[OhbuildError]:
    """Turns each of pydantic's findings into an error of ours.

    Args:
        error: What pydantic raised.
        typed: Returns where the user typed it (see ``InvalidSetting.at``), and its name, for a location such as
            ``("bases", 1, "image")``.
    """
    problems: list[OhbuildError] = []
    for item in error.errors(include_url=False):
        message, hint = message_and_hint(_EXPECTED.get(item["type"], item["msg"]))
        where, name = typed(item["loc"])
        problems.append(InvalidSetting.at(where, f"{name}: {message}" if name else message, hint))
    return problems


def spoken(location: Location) -> str:
    """Writes a location as users do: ``kubernetes.limits.cpu``, ``bases #2: image`` for the second of the bases."""
    names = [part for part in location if part != "[key]"]  # where pydantic adds that it is the key that is wrong
    text = "".join(f" #{part + 1}: " if isinstance(part, int) else f".{part}" for part in names)
    return text.replace(": .", ": ").strip(".: ")
