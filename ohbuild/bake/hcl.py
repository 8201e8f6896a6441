"""Writes HCL in the layout of ``hclfmt``, with every string safely quoted.

Sources: the HCL native syntax specification (templates, quoted literals) and hclwrite/format.go (alignment).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Characters that may need an escape: delimiters, control characters, line breaks, and `$` and `%` before a brace.
_SPECIAL = re.compile(r'["\\$%\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]')
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_WIDTH = 110
_INDENT = "  "


@dataclass(frozen=True)
class Expression:
    """A piece of HCL that is written verbatim, such as a variable's name. Never made from user input.

    Attributes:
        text: The HCL.
    """

    text: str


def quote(text: str) -> str:
    """Returns a quoted HCL string that evaluates to ``text``, normalized to NFC as HCL does with all strings.

    Quotes, backslashes, ``${``, ``%{`` and all control characters are escaped.

    Raises:
        ValueError: The text has a lone surrogate, which UTF-8 cannot encode.
    """
    return f'"{_SPECIAL.sub(_escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    character, text, index = match[0], match.string, match.start()
    if character in "$%":
        if not text.startswith("{", index + 1):
            return character
        # `$${` is the escape of `${`. It is ambiguous after another `$`, so a code point is used there.
        if text[index - 1 : index] != character:
            return character * 2
    elif "\ud800" <= character <= "\udfff":
        raise ValueError(f"{text!r} is not valid Unicode")
    return _ESCAPES.get(character) or f"\\u{ord(character):04x}"


def attributes(values: Mapping[str, object], depth: int = 1) -> str:
    """Returns attributes as lines of ``name = value``, without a final newline.

    The ``=`` of adjacent one-line values are aligned. ``None`` and empty strings, sequences and mappings are omitted.

    Args:
        values: Values by name.
        depth: Level of indentation.
    """
    return "\n".join(_lines({name: value for name, value in values.items() if not _empty(value)}, depth, quoted=False))


def line(values: Mapping[str, object]) -> str:
    """Returns a mapping on one line of any length."""
    items = (
        f"{name if _IDENTIFIER.fullmatch(name) else quote(name)} = {_inline(value)}" for name, value in values.items()
    )
    return f"{{ {', '.join(items)} }}" if values else "{}"


def _inline(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return line(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return _value(value, 0)


def _empty(value: object) -> bool:
    return value is None or (not isinstance(value, bool | int | Expression) and not value)


def _lines(values: Mapping[str, object], depth: int, *, quoted: bool) -> list[str]:
    rendered = [(quote(name) if quoted else name, _value(value, depth)) for name, value in values.items()]
    out: list[str] = []
    # hclfmt aligns a run of one-line values; a multi-line value ends the run.
    for several_lines, run in itertools.groupby(rendered, lambda pair: "\n" in pair[1]):
        pairs = list(run)
        width = 0 if several_lines else max(len(name) for name, _ in pairs)
        out += [f"{_INDENT * depth}{name.ljust(width)} = {text}" for name, text in pairs]
    return out


def _value(value: object, depth: int) -> str:
    if isinstance(value, Expression):
        return value.text
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, Mapping):
        # If one key must be quoted (it has a dot), all are.
        quoted = not all(_IDENTIFIER.fullmatch(name) for name in value)
        return "{\n" + "\n".join(_lines(value, depth + 1, quoted=quoted)) + f"\n{_INDENT * depth}}}"
    assert isinstance(value, Sequence)
    items = [_item(item, depth + 1) for item in value]
    line = "[" + ", ".join(items) + "]"
    fits = len(line) + len(_INDENT) * depth <= _WIDTH - 20
    if fits and "\n" not in line and (len(items) == 1 or not any(item.startswith("{") for item in items)):
        return line
    return "[\n" + "".join(f"{_INDENT * (depth + 1)}{item},\n" for item in items) + f"{_INDENT * depth}]"


def _item(value: object, depth: int) -> str:
    """Returns an item of a list: a mapping on one line if it is short."""
    if isinstance(value, Mapping):
        line = "{ " + ", ".join(f"{name} = {_value(item, 0)}" for name, item in value.items()) + " }"
        if len(line) <= _WIDTH - 20:
            return line
    return _value(value, depth)
