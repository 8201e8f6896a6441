"""Decides what a builder can export: pushed and loaded images, annotations, attestations and caches. Pure.

Docker's classic image store is the exception. It stores single images, so buildx supports neither an index nor what is
part of one, and Docker itself pushes the image. Source: buildx, build/opt.go and driver/docker/driver.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ohbuild.errors import UsageError

_OTHERWISE = "enable Docker's containerd image store, or use a builder with another driver"


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """What a builder can export.

    Attributes:
        driver: Its buildx driver; empty if there is no builder, which is treated as a Docker Engine.
        image_store: Whether the ``docker`` driver's Engine uses containerd's image store; true for other drivers.
    """

    driver: str = ""
    image_store: bool = True

    @property
    def classic(self) -> bool:
        """Whether images go through Docker's classic image store."""
        return self.driver in ("docker", "") and not self.image_store

    @property
    def caches(self) -> bool:
        """Whether a build cache can be exported. Every builder can import one."""
        return not self.classic

    @property
    def index(self) -> bool:
        """Whether a pushed image gets an index, which can have annotations, even for a single platform."""
        return not self.classic

    def pushed(self, compression: str) -> dict[str, object]:
        """Returns the output that pushes an image.

        Args:
            compression: Compression of new layers. The classic image store always uses gzip.
        """
        if self.classic:
            return {"type": "registry"}
        # By default, the Docker Engine also unpacks every image into its own store: 1.7 GB and 10 s per base.
        return {"type": "registry", "store": False, "compression": compression, "oci-mediatypes": True}

    def outputs(self, *, push: bool, load: bool, compression: str) -> list[Mapping[str, object]]:
        """Returns the outputs that push an image, load it into Docker, or both."""
        if push and load and self.driver in ("docker", ""):
            return [{"type": "image", "push": True}]  # it supports one output, and keeps what it pushes
        return [*([{"type": "docker"}] if load else []), *([self.pushed(compression)] if push else [])]

    def check(self, name: str, platforms: int, *, load: bool, provenance: bool) -> None:
        """Checks that the builder can export an image.

        Args:
            name: Name of the builder, for the error.
            platforms: Number of platforms of the image.
            load: Whether the image is loaded into Docker.
            provenance: Whether provenance is attached.

        Raises:
            UsageError: It cannot.
        """
        who = f"builder {name!r} ({self.driver or 'docker'} driver)"
        if self.classic and platforms > 1:
            raise UsageError(f"{who} builds for one platform at a time", _OTHERWISE)
        if self.classic and provenance:
            raise UsageError(f"{who} cannot attach provenance", f"{_OTHERWISE}, or turn provenance off")
        if self.driver not in ("docker", "") and load and platforms > 1:
            raise UsageError(f"{who} cannot load a multi-platform image", "push it instead, or build for one platform")
