"""Validates build arguments, scripts and archive URLs that become part of a Dockerfile or its build context."""

from __future__ import annotations

import re

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# BuildKit's rule for names that look like secrets (SecretsUsedInArgOrEnv in dockerfile2llb/validations.go).
_SECRET = re.compile(
    r"(?:^|_)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)", re.IGNORECASE
)
_ALLOWED = re.compile(r"(?:^|_)(?:public|file|version)(?:_|$)", re.IGNORECASE)
# Token prefixes that services define for secret scanners, private keys, and credentials in a URL.
_SECRET_VALUE = re.compile(
    r"gh[pousr]_[A-Za-z0-9]{20}|github_pat_[A-Za-z0-9_]{20}|glpat-[\w-]{16}|AKIA[0-9A-Z]{16}|sk-[\w-]{20}|hf_[A-Za-z]{30}"
    r"|xox[abprs]-|npm_[A-Za-z0-9]{30}|pypi-AgE|-----BEGIN [A-Z ]*PRIVATE KEY|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\."
    r"|://[^/\s:@]*:[^/\s@]+@"
)
# Arguments that control the build itself, including ohbuild's own. Components must not define them.
_RESERVED = re.compile(
    r"BASE|FOUNDATION|SOURCE_DATE_EPOCH|DEBIAN_SNAPSHOT|PATH|(?:OHBUILD|BUILDKIT)_\w*|(?:TARGET|BUILD)(?:PLATFORM|OS|ARCH|VARIANT|STAGE)"
)
# Control characters except tab and line feed, and lone surrogates.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def looks_secret(name: str) -> bool:
    """Checks whether the name of a build argument looks like a secret's."""
    return bool(_SECRET.search(name)) and not _ALLOWED.search(name)


def holds_secret(value: str) -> bool:
    """Checks whether a text contains what looks like a token, a private key or a password."""
    return bool(_SECRET_VALUE.search(value))


def check_argument(name: str, value: str = "") -> None:
    """Validates a build argument of a component.

    Args:
        name: Its name.
        value: Its value. It is visible in the image's history, so it must not be a secret.

    Raises:
        ValueError: The name or the value is not allowed. The message has the fix in parentheses.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a valid build argument name (use letters, digits and '_', no leading digit)")
    if looks_secret(name):
        raise ValueError(
            f"the build argument {name!r} looks like a secret, and would be readable in the image's history "
            "(supply it when the image runs, or rename it if it is not a secret)"
        )
    if holds_secret(value):  # the message omits the value, because errors end up in logs
        raise ValueError(
            f"the value of the build argument {name!r} looks like a secret, and would be readable in the image's "
            "history (supply it when the image runs)"
        )
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
