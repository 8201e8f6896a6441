"""Texts that people write in settings and on the command line, and texts from elsewhere that are shown."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

from ohbuild.errors import UsageError

_ESCAPED = re.compile("[\udc80-\udcff]+")
# A comma before the next `NAME=`. A name is that of a build argument, a label or an option of Kubernetes.
_SEPARATOR = re.compile(r",(?=\s*[A-Za-z_][\w./-]*\s*=)|,\s*$")


def readable(text: str) -> str:
    """Returns a text from the command line or a variable as UTF-8 where Python could not decode it.

    In the locales C and POSIX, Python keeps each byte of UTF-8 as a lone surrogate (PEP 383). Other texts are returned
    unchanged. A path must keep its surrogates, with which Python opens it.
    """
    return _ESCAPED.sub(
        lambda found: found[0].encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"), text
    )


def list_items(text: str) -> list[Any]:
    """Returns the items of a list that was written as one text.

    Items are separated by commas or line breaks. Spaces around them and empty items are dropped. A JSON list gives its
    items unchanged, whatever their type. Not every text that begins with ``[`` is one: ``[::1]:5000/base`` is an image.
    """
    text = text.strip()
    if text.startswith("["):
        with suppress(ValueError, RecursionError):  # RecursionError: a deeply nested list
            found: list[Any] = json.loads(text)
            return found
    return [word for part in re.split(r"[,\r\n]", text) if (word := part.strip())]


def table_items(text: str) -> dict[str, Any]:
    """Returns the items of a table that was written as one text.

    Items are ``NAME=VALUE``, separated by line breaks or commas. A comma separates only if ``NAME=`` follows it, so a
    value may have commas: ``A=1,2,B=3`` has two items. Spaces around items and empty items are dropped. A JSON object
    gives its items unchanged, whatever their type; a JSON list has an item ``NAME=VALUE`` in each string.

    Raises:
        ValueError: The JSON is not valid, or an item has no ``=``. The message has the fix in parentheses.
    """
    text = text.strip()
    if text.startswith(("{", "[")):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError('not valid JSON (use a JSON object such as {"NAME": "VALUE"}, or NAME=VALUE)') from None
        if isinstance(found, dict):
            return found
        items = [str(item) for item in found]
    else:
        items = [item for line in re.split(r"[\r\n]", text) for item in _SEPARATOR.split(line)]
    pairs = [item.strip().partition("=") for item in items if item.strip()]
    for name, equals, value in pairs:
        if not equals or not name.strip():
            raise ValueError(f"{name + equals + value!r} is not NAME=VALUE (use NAME=VALUE items, or a JSON object)")
    return {name.strip(): value.strip() for name, _, value in pairs}


def split_list(*texts: str) -> list[str]:
    """Returns the words of several texts, each a list as for ``list_items``.

    Raises:
        UsageError: A JSON list has something other than a string.
    """
    words = [word for text in texts for word in list_items(text)]
    for word in words:
        if not isinstance(word, str):
            raise UsageError(f"{json.dumps(word)} is not a string", 'use a JSON list of strings, such as ["a", "b"]')
    return words


LIMIT = 300
"""Length of a text that is shown, in characters."""


def printable(text: str, limit: int = LIMIT) -> str:
    """Returns a text in one line that can do no harm in a terminal: control characters are escaped.

    Args:
        text: Text from a registry, an image or a program.
        limit: Maximum length in characters.
    """
    line = re.sub(r"[ \t\r\n]+", " ", text[: 10 * limit]).strip()
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
