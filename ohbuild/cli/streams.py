"""Standard output and error: whatever their encoding, nothing that is reported is lost.

What an encoding lacks is replaced: typographic characters by ASCII ones, all others by escapes.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import sys

_HANDLER = "ohbuild"
_PLAIN = {
    **dict.fromkeys("─━┄┅┈┉╌╍═╴╶╸╺–—‐‑‒−", "-"),
    **dict.fromkeys("│┃┆┇┊┋╎╏║╵╷╹╻", "|"),
    **{"…": "...", "→": "->", "✓": "+", "✗": "x", "▸": ">", "·": ".", "•": "*", "\xa0": " "},
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”", '"'),
}
_RANGES = (("─", "╿", "+"), ("▀", "▟", "#"), ("⠀", "⣿", "*"))  # corners of boxes, bars, the spinner


def make_safe() -> None:
    """Lets standard output and error accept every text."""
    codecs.register_error(_HANDLER, _replace)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # its descriptor is closed
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        stream = getattr(sys, name)
        if reconfigure := getattr(stream, "reconfigure", None):  # a replaced stream may be any object
            reconfigure(errors=_HANDLER)


def _replace(error: UnicodeError) -> tuple[bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    from ohbuild.text import readable  # `--help` needs none of this

    text = readable(error.object[error.start : error.end])
    encoding = "ascii" if error.encoding == "charmap" else error.encoding  # the family's name instead of the codec's
    # As bytes: the codec of UTF-8 accepts no other characters from here than ASCII.
    return "".join(_shown(character, encoding) for character in text).encode(encoding), error.end


def _shown(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        ranges = (plain for first, last, plain in _RANGES if first <= character <= last)
        escaped = character.encode("ascii", "backslashreplace").decode()
        return _PLAIN.get(character) or next(ranges, escaped)
    return character


def say(text: object) -> None:
    """Prints a line to standard output."""
    print(text, flush=True)


def encodable_json(text: str) -> str:
    """Returns JSON in a spelling that standard output can encode: an escape is valid only as JSON's own."""
    from ohbuild.text import readable

    text = readable(text)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return re.sub(r"[^\x00-\x7f]", lambda match: json.dumps(match[0])[1:-1], text)
    return text
