"""Finds the version of a package in a lock. The functions raise ``ValueError`` if the lock does not contain it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path


def version_in(lock: Path, package: str) -> str:
    """Returns the version of a package in a lock.

    Args:
        lock: ``debian.lock``, ``poetry.lock``, ``*.txt`` (pip's requirements) or ``*.sha512`` (npm packages).
        package: Name of the package.

    Raises:
        ValueError: The lock is of another kind, or does not contain the package.
    """
    readers = {
        "debian.lock": debian_version,
        "poetry.lock": poetry_version,
        ".txt": requirements_version,
        ".sha512": tarball_version,
    }
    reader = readers.get(lock.name) or readers.get(lock.suffix)
    if reader is None:
        raise ValueError(f"{lock.name} is not a supported lock ({', '.join(readers)})")
    return reader(_read(lock), package)


@cache
def _read(lock: Path) -> str:
    return lock.read_text(encoding="utf-8")


def debian_version(text: str, name: str) -> str:
    """Returns the upstream version in a Debian lock, without epoch and Debian revision."""
    return re.sub(r"-[^-]*$", "", _find(rf"^\S+ {re.escape(name)} (?:\d+:)?(\S+) ", text, name))


def poetry_version(text: str, name: str) -> str:
    """Returns the version in a ``poetry.lock``."""
    # The lock is large, and searching for a plain string is fifty times faster than for a pattern.
    start = text.find(f'\nname = "{name}"\nversion = "')
    return _find(r'\nversion = "([^"]+)"', text[start : start + 200] if start >= 0 else "", name)


def requirements_version(text: str, name: str) -> str:
    """Returns the version in pip's requirements."""
    return _find(rf"^{re.escape(name)}==([^\s;\\]+)", text, name)


def tarball_version(text: str, name: str) -> str:
    """Returns the version of an npm package in a list of checksums, with lines of hash and ``NAME-VERSION.tgz``."""
    return _find(rf"^\S+  {re.escape(name)}-(\S+)\.tgz$", text, name)


def _find(pattern: str, text: str, name: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if not found:
        raise ValueError(f"{name} is not in the lock")
    return found[1]
