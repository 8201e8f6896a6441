"""Describes the Debian bases that can be seeded: suites, package sources and the mmdebstrap command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ohbuild.errors import UsageError, nearest

# The suites in the archive with packages for amd64 and arm64, and Docker Hub's other names for them.
SUITES = ("bullseye", "bookworm", "trixie", "forky", "sid")
_ALIASES = {
    "11": "bullseye", "12": "bookworm", "13": "trixie", "14": "forky",
    "oldoldstable": "bullseye", "oldstable": "bookworm", "stable": "trixie", "latest": "trixie",
    "testing": "forky", "unstable": "sid",
}  # fmt: skip
_SECURITY = "http://deb.debian.org/debian-security"
# Later file times are clamped to this, so that the same packages give the same layer. 2025-01-01T00:00:00Z
EPOCH = 1_735_689_600
_SLIM = (
    "path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright", "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*", "path-exclude=/usr/share/locale/*", "path-exclude=/usr/share/lintian/*",
    "path-exclude=/usr/share/groff/*", "path-exclude=/usr/share/linda/*",
)  # fmt: skip


@dataclass(frozen=True)
class Suite:
    """A Debian suite.

    Attributes:
        name: Code name of the suite.
        slim: Whether documentation is left out (Docker Hub's ``-slim``).
    """

    name: str
    slim: bool = False

    @classmethod
    def of_tag(cls, tag: str) -> Suite:
        """Returns the suite for a tag of Docker Hub's ``debian``.

        Raises:
            UsageError: The suite does not exist.
        """
        word = tag.removesuffix("-slim")
        name = _ALIASES.get(word, word)
        if name not in SUITES:
            raise UsageError(
                f"debian:{tag} cannot be bootstrapped: unknown Debian suite {word!r}",
                nearest(word, [*SUITES, *_ALIASES]) + "; or pass its root file system with --from",
            )
        return cls(name, tag.endswith("-slim"))

    def sources(self, mirror: str) -> str:
        """Returns the suite's sources.list, as in the image on Docker Hub."""
        lines = [f"deb {mirror} {self.name} main"]
        if self.name != "sid":
            lines += [f"deb {mirror} {self.name}-updates main", f"deb {_SECURITY} {self.name}-security main"]
        return "\n".join(lines) + "\n"

    def command(
        self, *, architecture: str, sources: Path, hook: Path, target: Path, stale: bool
    ) -> tuple[str | Path, ...]:
        """Returns the mmdebstrap command line that writes the suite's root file system to a tar archive.

        Args:
            architecture: Debian's name of the architecture.
            sources: File with the text of ``sources``.
            hook: Script that adapts the root to containers.
            target: Archive to write.
            stale: Whether this machine's apt accepts expired release files; the image's apt then does too.
        """
        return (
            "mmdebstrap", "--variant=minbase", "--mode=root", "--format=tar", f"--architectures={architecture}",
            "--skip=check/qemu", "--aptopt=Acquire::Retries \"3\"", "--aptopt=Acquire::Check-Valid-Until \"false\"",
            *(f"--dpkgopt={option}" for option in (_SLIM if self.slim else ())),
            f"--customize-hook=sh {hook} \"$1\" {'stale' if stale else 'fresh'}",
            self.name, target, sources,
        )  # fmt: skip
