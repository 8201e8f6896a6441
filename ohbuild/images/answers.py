"""Reads what a registry answers: JSON, errors and digests. It may be anything, so each field is checked.

Errors: OCI distribution specification 1.1, "Error Codes"; the token server's: docker/distribution and OAuth 2.0.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from ohbuild.text import printable

MANIFEST_BYTES = 8 * 2**20
"""Maximum size of a manifest or an index; that of containerd."""
CONFIG_BYTES = 32 * 2**20
"""Maximum size of a config."""
TOKEN_BYTES = 2**20
"""Maximum size of a token server's answer."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
# What registries report if an account may do no more for now, some with the status of a refusal.
_QUOTA_CODES = ("TOOMANYREQUESTS", "TOO_MANY_REQUESTS", "QUOTA_EXCEEDED", "RESOURCE_EXHAUSTED")
_QUOTA = re.compile(
    r"\b(quota|rate.?limit|pull rate|limit (was )?(exceeded|reached)|too many requests)\b", re.IGNORECASE
)


class BrokenAnswer(ValueError):
    """A registry's answer is not what it should be; the message is a clause about the answer."""


def parse_object(body: bytes) -> dict[str, Any]:
    """Parses a JSON object.

    Raises:
        BrokenAnswer: It is none.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BrokenAnswer("is not JSON") from error
    return an_object(found, "it")


def an_object(value: object, name: str) -> dict[str, Any]:
    """Returns a JSON object.

    Raises:
        BrokenAnswer: It is none.
    """
    if not isinstance(value, dict):
        raise BrokenAnswer(f"is invalid: {name} is not an object")
    return value


def objects(value: object, name: str) -> list[dict[str, Any]]:
    """Returns a list of JSON objects; ``null`` is an empty list.

    Raises:
        BrokenAnswer: It is none.
    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise BrokenAnswer(f"is invalid: {name} is not a list")
    return [an_object(item, f"an item of {name}") for item in value]


def text(value: object) -> str:
    """Returns a string, or an empty one for anything else."""
    return value if isinstance(value, str) else ""


def count(value: object) -> int:
    """Returns a number of bytes, or 0 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else 0


def is_digest(value: object) -> bool:
    """Whether a value is a digest with a registered algorithm (OCI image specification, descriptor.md)."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def digest_of(body: bytes, algorithm: str = "sha256") -> str:
    """Returns the digest of an answer."""
    return f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"


def check_digest(body: bytes, digest: str) -> None:
    """Checks that an answer has a digest.

    Raises:
        BrokenAnswer: It has another one.
    """
    if is_digest(digest) and digest_of(body, digest.partition(":")[0]) != digest:
        raise BrokenAnswer(f"does not have the digest {digest[:19]}…")


def error_of(body: bytes) -> tuple[str, str]:
    """Returns the code and the message of an error; empty for what it has not."""
    try:
        found = parse_object(body)
    except BrokenAnswer:
        return "", ""
    errors = found.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else found
    names = ("message", "error_description", "details", "error")
    message = next((text(first.get(name)) for name in names if text(first.get(name))), "")
    return printable(text(first.get("code")), 60), printable(message)


def is_quota(status: int, body: bytes) -> bool:
    """Whether an error is about a limit on requests, and not about this image or this account's rights."""
    code, message = error_of(body)
    return status == 429 or (status == 403 and (code.upper() in _QUOTA_CODES or _QUOTA.search(message) is not None))
