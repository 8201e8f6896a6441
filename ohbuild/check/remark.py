"""A remark about a base."""

from __future__ import annotations

from dataclasses import dataclass

from ohbuild.images.platform import Platform


@dataclass(frozen=True)
class Remark:
    """Something to know about a base.

    Args:
        rule: the name of what was looked at, which stays the same: ``user``, ``entrypoint``, …
        text: what was found, one line.
        meaning: what that means for the user, one line.
        fatal: no runtime can be made that would work.
        platforms: where it holds; empty for all.
    """

    rule: str
    text: str
    meaning: str
    fatal: bool = False
    platforms: tuple[Platform, ...] = ()


def short(text: str, limit: int) -> str:
    """A text on one line, cut where it is longer than that."""
    text = text.replace("\n", " ")
    return text if len(text) <= limit else text[: limit - 1] + "…"
