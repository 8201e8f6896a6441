"""Bases: as a setting, and as they are named outside of the settings, in arguments and files (``--bases-file``)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema

from ohbuild.config import values
from ohbuild.config.validation import Table, explained, spoken
from ohbuild.errors import InvalidSetting, OhbuildError, Place, together
from ohbuild.images.reference import ImageRef
from ohbuild.text import list_items, readable

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
# How a JSON list begins, and no reference does: a reference may begin with the address of a registry, `[::1]:5000/…`.
_JSON = re.compile(r'\s*\[\s*(?:["{\]]|$)')
_OBJECT = re.compile(r"\s*\{")
_HINT = "fix the JSON list, or write one base per line"


class BaseSetting(Table):
    """A base: a plain reference, or a table.

    Attributes:
        image: Reference of the base image.
        platforms: Platforms to build this base for, if the setting `platforms` requests them; by default all of those.
        system_packages: Packages to install into this base, in addition to those for every base.
    """

    image: values.Reference
    platforms: values.Platforms = ()
    system_packages: values.Packages = ()


def base_items(text: str) -> list[Any]:
    """Returns the bases that were written as one text: a list (``ohbuild.text.list_items``), or only JSON tables.

    Tables are separated by commas, line breaks or both, as no reference begins with a brace.
    """
    text = readable(text).removeprefix("\ufeff")  # of a file whose content is the text
    if _OBJECT.match(text):
        with suppress(ValueError, RecursionError):
            return list(_tables(text))
    return list_items(text)


def _tables(text: str) -> Iterator[Any]:
    place = 0
    while found := _OBJECT.match(text, place):
        item, place = json.JSONDecoder().raw_decode(text, found.end() - 1)
        yield item
        rest = text[place:]
        place += len(rest) - len(rest.lstrip(" \t\r\n,"))
    if text[place:]:
        raise json.JSONDecodeError("Expecting a table", text, place)


class _OrReference:
    """A table or a plain reference."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [values.REFERENCE, handler(schema)]}


_Base = Annotated[
    BaseSetting,
    BeforeValidator(lambda value: {"image": value} if isinstance(value, str) else value),
    _OrReference(),
]
Bases = Annotated[
    tuple[_Base, ...],
    BeforeValidator(lambda value: base_items(value) if isinstance(value, str) else value),
    Field(json_schema_extra={"type": ["array", "string"]}),
]


class Named(NamedTuple):
    """A base that was named outside of the settings.

    Attributes:
        item: A reference, or a table with the keys of ``BaseSetting``.
        place: Where it was named, such as ``bases.txt:3`` or ``bases.json: #2``; empty if the item itself shows it.
    """

    item: Any
    place: Place | str = ""


def named_bases(texts: Iterable[str] | None, file: str | None = None) -> list[Named]:
    """Returns the bases of arguments, followed by those of a file.

    Args:
        texts: Arguments. Each may hold several bases (``ohbuild.text.list_items``).
        file: File with more bases: one per line, with comments after ``#``, or a JSON list. ``-`` is standard input.

    Raises:
        InvalidSetting: An argument or the file names no base, or the file cannot be read.
    """
    found: list[Named] = []
    for text in texts or ():
        items = base_items(text)
        if not items:  # an empty variable must not mean the bases of the settings
            raise InvalidSetting(f"{text!r} names no base", "use a reference such as debian:trixie")
        found += map(Named, items)
    return found + (_read(file) if file is not None else [])


def _read(file: str) -> list[Named]:
    shown = "standard input" if file == "-" else file
    try:
        if file == "-":
            with open(0, "rb", closefd=False) as stream:
                data = stream.read()
        else:
            data = Path(file).read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        what = f"--bases-file {shown}: {error.strerror}"
        raise InvalidSetting(what, "name a readable file, or - for standard input") from error
    except UnicodeDecodeError as error:
        place = Place(shown, data.count(b"\n", 0, error.start) + 1)
        message = f"{shown}: not UTF-8 at byte {error.start}"
        raise InvalidSetting(message, "save the file as UTF-8", place=place) from error
    found = _parse(text, shown)
    if not found:
        raise InvalidSetting(f"{shown} is empty: it names no base", "write one base per line, or a JSON list")
    return found


def _parse(text: str, shown: str) -> list[Named]:
    if _JSON.match(text) or _OBJECT.match(text):
        try:
            items = _tables(text) if _OBJECT.match(text) else json.loads(text)
            return [Named(item, f"{shown}: #{number}") for number, item in enumerate(items, 1)]
        except json.JSONDecodeError as error:
            place = Place(shown, error.lineno)
            what = f"{place}:{error.colno}: not valid JSON: {error.msg}"
            raise InvalidSetting(what, _HINT, place=place) from error
        except (ValueError, RecursionError) as error:  # a number of too many digits, too many brackets
            raise InvalidSetting(f"{shown}: not valid JSON: {error}", _HINT) from error
    lines = (line.partition("#")[0] for line in _LINE_BREAK.split(text))
    return [Named(item, Place(shown, number)) for number, line in enumerate(lines, 1) for item in list_items(line)]


def chosen_bases(named: Iterable[Named], configured: Iterable[BaseSetting]) -> tuple[BaseSetting, ...]:
    """Returns the settings of named bases.

    Args:
        named: The bases. A reference has the settings that are configured for it. A table replaces these.
        configured: The bases of the settings.

    Raises:
        InvalidSetting: One of them is not valid.
        SeveralErrors: More than one of them are not valid.
    """
    known = by_reference(configured)
    found: list[BaseSetting] = []
    problems: list[OhbuildError] = []
    for base in named:
        try:
            found.append(_chosen(base, known))
        except OhbuildError as error:
            problems.append(error)
    if problems:
        raise together(f"{len(problems)} bases are invalid", problems)
    return tuple(found)


def _chosen(base: Named, known: Mapping[str, BaseSetting]) -> BaseSetting:
    if isinstance(base.item, str):
        try:
            image = ImageRef.parse(base.item)
        except OhbuildError as error:
            raise InvalidSetting.at(base.place, error.message, error.hint) from error
        return settings_for(image, known)
    written = json.dumps(base.item)
    place = base.place or written
    if not isinstance(base.item, dict):
        what = f"expected a base, not {written}" if base.place else f"{written} is not a base"
        raise InvalidSetting.at(base.place, what, 'use a reference, or a table such as {"image": "debian:trixie"}')
    try:
        return BaseSetting.model_validate(base.item)
    except ValidationError as error:
        problems = explained(error, lambda location: (place, spoken(location)))
        raise together(f"{place}: {len(problems)} values are invalid", problems) from error


def by_reference(bases: Iterable[BaseSetting]) -> dict[str, BaseSetting]:
    """Returns bases by their canonical references."""
    return {base.image.canonical: base for base in bases}


def settings_for(image: ImageRef, configured: Mapping[str, BaseSetting]) -> BaseSetting:
    """Returns what a reference alone means: the base configured for it, or one without settings of its own."""
    return configured.get(image.canonical) or BaseSetting(image=image)
