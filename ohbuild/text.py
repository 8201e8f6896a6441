"""Texts that people write in settings and on the command line, and texts from elsewhere that are shown."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

from ohbuild.errors import UsageError


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
