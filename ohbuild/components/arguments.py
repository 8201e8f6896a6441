"""Validates build arguments, scripts and archive URLs that become part of a Dockerfile or its build context."""

from __future__ import annotations

import re

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Arguments that control the build itself, including ohbuild's own. Components must not define them.
_RESERVED = re.compile(
    r"BASE|FOUNDATION|SOURCE_DATE_EPOCH|DEBIAN_SNAPSHOT|PATH|(?:OHBUILD|BUILDKIT)_\w*|(?:TARGET|BUILD)(?:PLATFORM|OS|ARCH|VARIANT|STAGE)"
)
# Control characters except tab and line feed, and lone surrogates.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def check_argument(name: str) -> None:
    """Validates the name of a component's build argument.

    Args:
        name: The name.

    Raises:
        ValueError: The name is not allowed. The message has the fix in parentheses.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a valid build argument name (use letters, digits and '_', no leading digit)")
    if _RESERVED.fullmatch(name):
        raise ValueError(f"the build argument {name!r} is reserved for the build itself (choose another name)")


def script_problem(text: str) -> str:
    """Returns why a text is not usable as a shell script; empty if it is."""
    text = text.replace("\r\n", "\n")
    if found := _CONTROL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        return f"line {line} contains the character {found[0]!r}"
    return ""


def check_snapshot(url: str) -> str:
    """Validates the URL of a dated Debian archive.

    Args:
        url: The URL, or an empty string.

    Returns:
        The URL, unchanged.

    Raises:
        ValueError: It has another form. The message has the fix in parentheses.
    """
    if url and not re.fullmatch(r"https?://[\w.:\[\]-]+(?:/[\w.~%-]+)*/\d{8}T\d{6}Z/?", url, re.ASCII):
        example = "http://snapshot.debian.org/archive/debian/20261101T000000Z"
        raise ValueError(f"{url!r} is not a dated Debian archive (write it as {example})")
    return url
