"""Checks whether a runtime image has too many layers to be unpacked."""

from __future__ import annotations

from collections.abc import Iterator

from ohbuild.check.remark import Remark

# Docker's overlay2 accepts 128 lower folders, one of which is the container's own (`maxDepth` in
# daemon/graphdriver/overlay2). Its classic image store registers 125 layers (`maxLayerDepth` in layer/layer_store.go).
_MOST = 127
_CLASSIC = 125
_NEAR = 115
MANY = 64
"""Up to this number of layers in a base, no choice of components comes near the limits."""


def depth_remarks(layers: int, added: int) -> Iterator[Remark]:
    """Yields a remark if a base's layers and those of ohbuild come near the limits.

    Args:
        layers: Number of layers of the base.
        added: Number of layers that the runtime image has above it.
    """
    total = layers + added
    if total <= _NEAR:
        return
    if total > _MOST:
        meaning = (
            f"Docker unpacks at most {_MOST} layers, so the image may not run: flatten the base, or combine its steps"
        )
    elif total > _CLASSIC:
        meaning = (
            f"Docker's classic image store accepts {_CLASSIC}: use the containerd image store, or combine its steps"
        )
    else:
        meaning = f"Docker unpacks at most {_MOST} layers, {_CLASSIC} in its classic image store"
    yield Remark("layers", f"its {layers} layers and ohbuild's {added} are {total}", meaning)
