"""Parses ``WWW-Authenticate`` (RFC 9110, sections 5.6, 11.2 and 11.6.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SPACE = re.compile(r"[ \t,]*")
_SCHEME = re.compile(rf"({_TOKEN})(?:[ \t]+|(?=[ \t]*(?:,|$)))")
_PARAMETER = re.compile(rf'({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))[ \t]*(?=,|$)', re.DOTALL)
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$)")


@dataclass(frozen=True)
class Challenge:
    """A way to authenticate.

    Attributes:
        scheme: Name of the scheme in small letters, such as ``bearer``.
        parameters: Parameters; names are in small letters.
    """

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_challenges(text: str) -> list[Challenge]:
    """Returns the challenges of a header field, whose lines are joined by commas. Ends at the first invalid one."""
    found: list[Challenge] = []
    place = _skip(text, 0)
    while place < len(text):
        scheme = _SCHEME.match(text, place)
        if scheme is None:
            break
        place = scheme.end()
        parameters: dict[str, str] = {}
        if (blob := _TOKEN68.match(text, place)) and not _PARAMETER.match(text, place):
            place = _skip(text, blob.end())
        while item := _PARAMETER.match(text, place):
            quoted, plain = item[2], item[3]
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
            parameters.setdefault(item[1].lower(), value)
            place = _skip(text, item.end())
        found.append(Challenge(scheme[1].lower(), parameters))
        place = _skip(text, place)
    return found


def _skip(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place
