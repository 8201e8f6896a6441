"""A remark on a base."""

from __future__ import annotations

from dataclasses import dataclass

from ohbuild.images.platform import Platform


@dataclass(frozen=True)
class Remark:
    """Something to know about a base.

    Attributes:
        rule: Stable name of the rule: ``user``, ``entrypoint``, …
        text: What was found, in one line.
        meaning: What that means for the user, in one line.
        fatal: Whether it makes a working runtime image impossible.
        platforms: Platforms that it applies to; empty for all.
    """

    rule: str
    text: str
    meaning: str
    fatal: bool = False
    platforms: tuple[Platform, ...] = ()
