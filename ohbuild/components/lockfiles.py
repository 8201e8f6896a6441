"""The version of a package, as a lock below ``dockerfiles/`` says it. Pure; if it has none, a ``ValueError``."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path


def version_in(lock: Path, package: str) -> str:
    """The version of a package in a lock.

    Args:
        lock: ``debian.lock``, ``poetry.lock``, ``*.txt`` (pip's requirements) or ``*.sha512`` (npm packages).
        package: its name.

    Raises:
        ValueError: the lock is of another kind, or does not have the package.
    """
    readers = {
        "debian.lock": debian_version,
        "poetry.lock": poetry_version,
        ".txt": requirements_version,
        ".sha512": tarball_version,
    }
    reader = readers.get(lock.name) or readers.get(lock.suffix)
    if reader is None:
        raise ValueError(f"{lock.name} is not a lock ({', '.join(readers)})")
    return reader(_read(lock), package)


@cache
def _read(lock: Path) -> str:
    return lock.read_text(encoding="utf-8")


def debian_version(text: str, name: str) -> str:
    """Of a Debian lock: the upstream version, without epoch and Debian revision."""
    return re.sub(r"-[^-]*$", "", _find(rf"^\S+ {re.escape(name)} (?:\d+:)?(\S+) ", text, name))


def poetry_version(text: str, name: str) -> str:
    """Of a poetry.lock."""
    # The lock is large, and a search for a plain text is fifty times quicker than one for a pattern.
    start = text.find(f'\nname = "{name}"\nversion = "')
    return _find(r'\nversion = "([^"]+)"', text[start : start + 200] if start >= 0 else "", name)


def requirements_version(text: str, name: str) -> str:
    """Of a requirements.txt."""
    return _find(rf"^{re.escape(name)}==([^\s;\\]+)", text, name)


def tarball_version(text: str, name: str) -> str:
    """Of an npm package in a list of checksums: lines of hash and ``NAME-VERSION.tgz``."""
    return _find(rf"^\S+  {re.escape(name)}-(\S+)\.tgz$", text, name)


def _find(pattern: str, text: str, name: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if not found:
        raise ValueError(f"{name} is not in the lock")
    return found[1]
