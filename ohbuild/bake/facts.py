"""What registries and the builder reported before the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from ohbuild.bake.model import DepsImage
from ohbuild.docker.exporters import Exporter


class Purpose(Enum):
    """What a run is prepared for. This decides what must respond."""

    BUILD = auto()
    """Images are built: a builder and, unless `preflight` is off, the registries must respond."""
    PLAN = auto()
    """Other machines will build what is missing: the registries must respond, but no builder is needed."""
    SHOW = auto()
    """Files are shown or written: neither must respond."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything that a plan needs to know about registries and the builder.

    Attributes:
        registry: ``host:port`` of the engine's own registry; empty if it has none.
        driver: The builder's buildx driver; empty if there is no builder.
        image_store: Whether the builder's Docker uses containerd's image store.
        digests: Digests of the bases and the build image by canonical reference, if a registry was queried.
        users: ``USER`` of the bases by canonical reference, if a registry was queried.
        deps_image: The ready deps image of the settings.
        images: Digests of the component images that exist, by reference; empty digests if the store has none.
    """

    registry: str = ""
    driver: str = ""
    image_store: bool = True
    digests: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict)
    deps_image: DepsImage | None = None
    images: Mapping[str, str] = field(default_factory=dict)

    @property
    def exporter(self) -> Exporter:
        """What the builder can export."""
        return Exporter(driver=self.driver, image_store=self.image_store)
