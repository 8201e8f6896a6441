"""What a Debian base is made of: suites, sources, and the mmdebstrap call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ohbuild.errors import UsageError, nearest

# Suites that are in the archive with packages for amd64 and arm64, and the names Docker Hub has for them.
SUITES = ("bullseye", "bookworm", "trixie", "forky", "sid")
_ALIASES = {
    "11": "bullseye", "12": "bookworm", "13": "trixie", "14": "forky",
    "oldoldstable": "bullseye", "oldstable": "bookworm", "stable": "trixie", "latest": "trixie",
    "testing": "forky", "unstable": "sid",
}  # fmt: skip
_SECURITY = "http://deb.debian.org/debian-security"
# Every file time above this is set to it, so that the same packages give the same layer. 2025-01-01T00:00:00Z
EPOCH = 1_735_689_600
_SLIM = (
    "path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright", "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*", "path-exclude=/usr/share/locale/*", "path-exclude=/usr/share/lintian/*",
    "path-exclude=/usr/share/groff/*", "path-exclude=/usr/share/linda/*",
)  # fmt: skip


@dataclass(frozen=True)
class Suite:
    """A Debian suite, and whether without documentation (`-slim`)."""

    name: str
    slim: bool = False

    @classmethod
    def of_tag(cls, tag: str) -> Suite:
        """The suite that a tag of Docker Hub's `debian` means.

        Raises:
            UsageError: there is no such suite.
        """
        word = tag.removesuffix("-slim")
        name = _ALIASES.get(word, word)
        if name not in SUITES:
            raise UsageError(
                f"debian:{tag} cannot be bootstrapped: there is no Debian suite {word!r}",
                nearest(word, [*SUITES, *_ALIASES]) + "; or give its root file system with --from",
            )
        return cls(name, tag.endswith("-slim"))

    def sources(self, mirror: str) -> str:
        """sources.list of the suite, as in the image on Docker Hub."""
        lines = [f"deb {mirror} {self.name} main"]
        if self.name != "sid":
            lines += [f"deb {mirror} {self.name}-updates main", f"deb {_SECURITY} {self.name}-security main"]
        return "\n".join(lines) + "\n"

    def command(
        self, *, architecture: str, sources: Path, hook: Path, target: Path, stale: bool
    ) -> tuple[str | Path, ...]:
        """The mmdebstrap call that writes the suite's root as a tar.

        Args:
            architecture: in Debian's words.
            sources: file with the text of `sources`.
            hook: script that makes the root fit for containers.
            target: the tar to write.
            stale: whether release files past their date are good here, in the image too.
        """
        return (
            "mmdebstrap", "--variant=minbase", "--mode=root", "--format=tar", f"--architectures={architecture}",
            "--skip=check/qemu", "--aptopt=Acquire::Retries \"3\"", "--aptopt=Acquire::Check-Valid-Until \"false\"",
            *(f"--dpkgopt={option}" for option in (_SLIM if self.slim else ())),
            f"--customize-hook=sh {hook} \"$1\" {'stale' if stale else 'fresh'}",
            self.name, target, sources,
        )  # fmt: skip
