"""A Debian lock, line by line."""

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

    Args:
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

    Raises:
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
