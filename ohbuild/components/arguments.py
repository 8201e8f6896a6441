"""What may be a build argument, and what may be a script: checks of texts that end up in a Dockerfile or beside it."""

from __future__ import annotations

import re

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# BuildKit's own rule for names that look like a secret's (SecretsUsedInArgOrEnv in dockerfile2llb/validations.go).
_SECRET = re.compile(
    r"(?:^|_)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)", re.IGNORECASE
)
_ALLOWED = re.compile(r"(?:^|_)(?:public|file|version)(?:_|$)", re.IGNORECASE)
# What the services print on their tokens so that such a check finds them, private keys, and log-ins in an address.
_SECRET_VALUE = re.compile(
    r"gh[pousr]_[A-Za-z0-9]{20}|github_pat_[A-Za-z0-9_]{20}|glpat-[\w-]{16}|AKIA[0-9A-Z]{16}|sk-[\w-]{20}|hf_[A-Za-z]{30}"
    r"|xox[abprs]-|npm_[A-Za-z0-9]{30}|pypi-AgE|-----BEGIN [A-Z ]*PRIVATE KEY|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\."
    r"|://[^/\s:@]*:[^/\s@]+@"
)
# Arguments by which the build itself is steered, ohbuild's own among them: a component may not have one of these.
_RESERVED = re.compile(
    r"BASE|FOUNDATION|SOURCE_DATE_EPOCH|DEBIAN_SNAPSHOT|PATH|(?:OHBUILD|BUILDKIT)_\w*|(?:TARGET|BUILD)(?:PLATFORM|OS|ARCH|VARIANT|STAGE)"
)
# Control characters but tabs and line ends, and halves of surrogate pairs.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def looks_secret(name: str) -> bool:
    """Whether a build argument of this name would be taken for a secret."""
    return bool(_SECRET.search(name)) and not _ALLOWED.search(name)


def holds_secret(value: str) -> bool:
    """Whether a text has something in it that looks like a token, a private key or a password."""
    return bool(_SECRET_VALUE.search(value))


def check_argument(name: str, value: str = "") -> None:
    """Refuse a name that no component's build argument can have, and a value that everybody would get to read.

    Raises:
        ValueError: the message says why; the fix is in its parentheses.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be a build argument's name (letters, digits and '_', not first a digit)")
    if looks_secret(name):
        raise ValueError(
            f"the build argument {name!r} looks like a secret, and all can read it in the image's history "
            "(give it when the image runs, or under another name if it is none)"
        )
    if holds_secret(value):  # which is not repeated: errors end in logs
        raise ValueError(
            f"the value of the build argument {name!r} looks like a secret, and all can read it in the image's history "
            "(give it when the image runs)"
        )
    if _RESERVED.fullmatch(name):
        raise ValueError(f"the build argument {name!r} belongs to the build itself (choose another name)")


def script_problem(text: str) -> str:
    """Why a text cannot be a shell script; nothing if it can."""
    text = text.replace("\r\n", "\n")
    if found := _CONTROL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        return f"line {line} has the character {found[0]!r}"
    return ""


def check_snapshot(url: str) -> str:
    """The URL of a dated Debian archive as it was given, or an empty string.

    Raises:
        ValueError: it is not one; the fix is in the message's parentheses.
    """
    if url and not re.fullmatch(r"https?://[\w.:\[\]-]+(?:/[\w.~%-]+)*/\d{8}T\d{6}Z/?", url, re.ASCII):
        example = "http://snapshot.debian.org/archive/debian/20261101T000000Z"
        raise ValueError(f"{url!r} is not a dated Debian archive (write it as {example})")
    return url
