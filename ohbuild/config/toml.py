"""TOML files that users write: reading them, and finding the line of a key for later errors."""

from __future__ import annotations

import re
import tomllib
from os.path import commonprefix
from pathlib import Path
from typing import Any

from ohbuild.errors import InvalidSetting, Place

_NAME = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_NAME}(?:\s*\.\s*{_NAME})*"
_TABLE = re.compile(rf"\s*\[\[?\s*({_DOTTED})\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")


def read_toml(path: Path, shown: str = "") -> tuple[str, dict[str, Any]]:
    """Reads a TOML file.

    Args:
        path: The file.
        shown: The file's name in errors; by default its path.

    Returns:
        The file's text and its contents.

    Raises:
        InvalidSetting: The file cannot be read, or is not valid TOML (with line and column).
    """
    shown = shown or str(path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors for Windows begin a file with a byte order mark
        return text, tomllib.loads(text)
    except OSError as error:
        raise InvalidSetting(f"{shown}: {error.strerror}", "name a readable TOML file") from error
    except UnicodeDecodeError as error:
        message, place = f"not UTF-8 at byte {error.start}", Place(shown, error.object.count(b"\n", 0, error.start) + 1)
        raise InvalidSetting(f"{shown}: {message}", "save the file as UTF-8", place=place) from error
    except tomllib.TOMLDecodeError as error:
        message, line, column = _position(str(error), text)
        message = f"{shown}:{line}:{column}: {message}"
        raise InvalidSetting(message, "fix the TOML syntax at this position", place=Place(shown, line)) from error


def line_of(text: str, *path: str) -> int:
    """Returns the line (from 1) of a key, or else of the innermost table around it; 1 if neither is found.

    Args:
        text: A valid TOML text.
        path: The names of the tables and the key, such as ``"tool", "ohbuild", "image"``.
    """
    wanted = list(path)
    table: list[str] = []
    line, depth = 1, 0
    for number, content in enumerate(text.splitlines(), 1):
        if found := _TABLE.match(content):
            here = table = _names(found[1])
        elif found := _KEY.match(content):
            here = table + _names(found[1])
        else:
            continue
        if (common := len(commonprefix([here, wanted]))) > depth:
            line, depth = number, common
    return line


def _names(dotted: str) -> list[str]:
    return [name.strip("\"'") for name in re.findall(_NAME, dotted)]


def _position(message: str, text: str) -> tuple[str, int, int]:
    """Splits tomllib's message into text, line and column (from 1); at the end of the file if it gives no position."""
    found = re.search(r"\s*\(at line (\d+), column (\d+)\)", message)
    if found:
        return message[: found.start()], int(found[1]), int(found[2])
    lines = text.splitlines() or [""]
    return re.sub(r"\s*\(at end of document\)", ": unexpected end of file", message), len(lines), len(lines[-1]) + 1
