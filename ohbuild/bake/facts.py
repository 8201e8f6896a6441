"""What registries and the builder said before the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ohbuild.bake.model import DepsImage


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The answers; nothing is asked for after them.

    Args:
        registry: ``host:port`` of the engine's own registry; empty if it has none.
        driver: buildx's driver of the builder; empty if there is no builder.
        image_store: whether the builder's Docker has containerd's image store.
        digests: canonical reference of a base or of the build image → digest, as far as a registry was asked.
        users: canonical reference of a base → its ``USER``, as far as a registry was asked.
        deps_image: the ready deps image of the settings.
        images: component images that exist, by reference → digest (empty in a store that has none).
    """

    registry: str = ""
    driver: str = ""
    image_store: bool = True
    digests: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict)
    deps_image: DepsImage | None = None
    images: Mapping[str, str] = field(default_factory=dict)
