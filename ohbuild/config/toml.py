"""TOML files that people write: read with errors that say where, and lines of keys for errors that come later."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from ohbuild.errors import InvalidSetting


def read_toml(path: Path, shown: str = "") -> tuple[str, dict[str, Any]]:
    """The text of a file, and what it says.

    Args:
        shown: the file's name in errors; the path if empty.

    Raises:
        InvalidSetting: the file cannot be read or is no TOML, with line and column.
    """
    shown = shown or str(path)
    try:
        text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except OSError as error:
        raise InvalidSetting(f"{shown}: {error.strerror}", "name a readable TOML file") from error
    except UnicodeDecodeError as error:
        raise InvalidSetting(f"{shown}: not UTF-8 at byte {error.start}", "save the file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        message, line, column = _position(str(error), text)
        raise InvalidSetting(f"{shown}:{line}:{column}: {message}", "fix the TOML syntax at this position") from error


def line_of(text: str, table: str, key: str) -> int:
    """The line (from 1) of ``key =`` in ``[table]``, or else of the table; 1 if they are written in another way."""
    here, found = False, 1
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(rf"\s*\[\s*{re.escape(table)}\s*\]", line):
            here, found = True, number
        elif re.match(r"\s*\[\[?\s*[\w.\"'-]", line):
            here = False
        elif here and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*[=.]""", line):
            return number
    return found


def _position(message: str, text: str) -> tuple[str, int, int]:
    """What tomllib's message says, the line and the column (from 1); the end of the file where it gives none."""
    found = re.search(r"\s*\(at line (\d+), column (\d+)\)", message)
    if found:
        return message[: found.start()], int(found[1]), int(found[2])
    lines = text.splitlines() or [""]
    return re.sub(r"\s*\(at end of document\)", ": the file ends too early", message), len(lines), len(lines[-1]) + 1
