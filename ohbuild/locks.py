"""What the locks below ``dockerfiles/`` say: the packages of a Debian lock, and the version of one package. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FIELDS = {
    "architecture": r"[a-z0-9]+",
    "name": r"[a-z0-9][a-z0-9+.-]+",
    "version": r"(?:\d+:)?[0-9A-Za-z.+~-]+",
    "sha256": r"[0-9a-f]{64}",
    "path": r"pool/[0-9A-Za-z+~._/-]+\.deb",
}
_LINE = re.compile(" ".join(f"(?P<{name}>{pattern})" for name, pattern in _FIELDS.items()))


@dataclass(frozen=True)
class DebianPackage:
    """One line of a Debian lock.

    Parameters
    ----------
    architecture: what it is installed for, also where the file is for all architectures.
    version: Debian's own, with epoch and revision.
    path: from the root of the archive.
    """

    architecture: str
    name: str
    version: str
    sha256: str
    path: str

    def __str__(self) -> str:
        return f"{self.architecture} {self.name} {self.version} {self.sha256} {self.path}"


def debian_packages(text: str) -> tuple[DebianPackage, ...]:
    """The packages of a Debian lock, in its order.

    Raises
    ------
    ValueError: a line is not one of a lock (with its number).
    """
    packages = []
    for number, line in enumerate(text.split("\n"), 1):
        if line and not line.startswith("#"):
            found = _LINE.fullmatch(line)
            if not found:
                raise ValueError(f"line {number} is not of a Debian lock: {line!r}")
            packages.append(DebianPackage(**found.groupdict()))
    return tuple(packages)


def debian_version(text: str, name: str) -> str:
    """The upstream version of a package of a Debian lock: without epoch and Debian revision.

    Raises
    ------
    ValueError: the lock does not have it.
    """
    return re.sub(r"-[^-]*$", "", _find(rf"^\S+ {re.escape(name)} (?:\d+:)?(\S+) ", text, name))


def poetry_version(text: str, name: str) -> str:
    """The version of a package of a poetry.lock.

    Raises
    ------
    ValueError: the lock does not have it.
    """
    # The lock is large, and a search for a plain text is fifty times quicker than one for a pattern.
    start = text.find(f'\nname = "{name}"\nversion = "')
    return _find(r'\nversion = "([^"]+)"', text[start : start + 200] if start >= 0 else "", name)


def requirements_version(text: str, name: str) -> str:
    """The version of a package of a requirements.txt.

    Raises
    ------
    ValueError: it does not have the package.
    """
    return _find(rf"^{re.escape(name)}==([^\s;\\]+)", text, name)


def tarball_version(text: str, name: str) -> str:
    """The version of an npm package in a list of checksums: lines of hash and ``NAME-VERSION.tgz``.

    Raises
    ------
    ValueError: the list does not have it.
    """
    return _find(rf"^\S+  {re.escape(name)}-(\S+)\.tgz$", text, name)


def _find(pattern: str, text: str, name: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if not found:
        raise ValueError(f"{name} is not in the lock")
    return found[1]
