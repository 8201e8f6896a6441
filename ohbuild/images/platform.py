"""Image platforms in OCI notation."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ohbuild.errors import InvalidPlatform, did_you_mean, nearest
from ohbuild.text import split_list

# Architectures and operating systems of the OCI image specification and containerd's `platforms` package.
_ARCHITECTURES = ("amd64", "arm64", "arm", "386", "ppc64le", "riscv64", "s390x", "loong64", "mips64le", "mips64")
_SYSTEMS = ("linux", "windows", "darwin", "freebsd")
# containerd/platforms/database.go, normalizeArch and normalizeOS
_ARCHITECTURE_ALIASES = {
    "x86_64": "amd64", "x86-64": "amd64", "x64": "amd64", "aarch64": "arm64", "i386": "386", "i686": "386",
    "x86": "386", "armhf": "arm/v7", "armel": "arm/v6", "armv7l": "arm/v7", "armv6l": "arm/v6",
}  # fmt: skip
_SYSTEM_ALIASES = {"macos": "darwin"}
# Variants that containerd omits because the plain architecture implies them.
_PLAIN_VARIANTS = {"arm64": ("8", "v8"), "amd64": ("1", "v1")}
_PLATFORM = (
    rf"(?:(?:{'|'.join((*_SYSTEMS, *_SYSTEM_ALIASES))})/)?"
    rf"(?:{'|'.join((*_ARCHITECTURES, *_ARCHITECTURE_ALIASES))})(?:/v?[0-9]+(?:\.[0-9]+)?)?"
)
PATTERN = rf"[A-Z]|^\s*\[|^(?:[^\S\r\n]*(?:{_PLATFORM})?[^\S\r\n]*(?:[,\r\n]|$))+$"
"""Matches all that ``parse_platforms`` accepts, for JSON Schema. A pattern cannot ignore case or read JSON, so anything
with a capital or a bracket at its start matches."""


@dataclass(frozen=True, order=True)
class Platform:
    """An operating system, an architecture and an optional variant, in normal form.

    Attributes:
        system: Operating system, such as ``linux``.
        architecture: Architecture, such as ``amd64``.
        variant: Variant, such as ``v7``; empty if the architecture implies it.
    """

    system: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Parses ``os/arch[/variant]`` or ``arch[/variant]`` in any common spelling.

        Raises:
            InvalidPlatform: A part is unknown, with the nearest known name in the hint, or the form is wrong.
        """
        parts = text.strip().lower().split("/")
        bare = _ARCHITECTURE_ALIASES.get(parts[0], parts[0]).partition("/")[0]
        if len(parts) == 1 or (len(parts) == 2 and bare in _ARCHITECTURES):
            parts = ["linux", *parts]
        system = _SYSTEM_ALIASES.get(parts[0], parts[0])
        if len(parts) > 3 or not all(parts):
            raise InvalidPlatform(f"{text!r} is not a platform", "use os/architecture, for example linux/amd64")
        if system not in _SYSTEMS:
            raise InvalidPlatform(
                f"unknown operating system {parts[0]!r} in platform {text!r}", nearest(parts[0], _SYSTEMS)
            )
        architecture, _, implied = _ARCHITECTURE_ALIASES.get(parts[1], parts[1]).partition("/")
        if architecture not in _ARCHITECTURES:
            hint = did_you_mean(parts[1], [*_ARCHITECTURES, *_ARCHITECTURE_ALIASES])
            raise InvalidPlatform(
                f"unknown architecture {parts[1]!r} in platform {text!r}", hint or nearest(parts[1], _ARCHITECTURES)
            )
        variant = parts[2] if len(parts) == 3 else implied
        if variant in _PLAIN_VARIANTS.get(architecture, ()):
            variant = ""
        if architecture == "arm":
            variant = "v" + (variant or "v7").removeprefix("v")
        if variant and not re.fullmatch(r"v?[0-9]+(\.[0-9]+)?", variant):
            raise InvalidPlatform(f"unknown variant {variant!r} in platform {text!r}", "use a variant such as v7")
        return cls(system, architecture, variant)

    def __str__(self) -> str:
        """Returns ``os/arch[/variant]``."""
        return "/".join(part for part in (self.system, self.architecture, self.variant) if part)

    @property
    def word(self) -> str:
        """The architecture in a form for tags: ``amd64``, ``arm-v7``."""
        return "-".join(part for part in (self.architecture, self.variant) if part)


def parse_platforms(texts: Iterable[str]) -> tuple[Platform, ...]:
    """Parses platforms from texts that may each hold several (``ohbuild.text.list_items``).

    Duplicates are dropped and the order is kept.

    Raises:
        InvalidPlatform: One of them is invalid.
        UsageError: A JSON list has something other than a string.
    """
    return tuple(dict.fromkeys(map(Platform.parse, split_list(*texts))))


def native_platform() -> Platform:
    """Returns the platform of Linux containers that run natively on this machine."""
    return Platform.parse(platform.machine() or "amd64")
