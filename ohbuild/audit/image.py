"""The closure audit on a finished image: its layers are read and laid over each other, and the build's rules applied.

Nothing of the image is run or unpacked, so it works for any platform.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ohbuild.audit import cache as layer_cache
from ohbuild.audit.layers import Layer, merge
from ohbuild.audit.sources import Listener, Source
from ohbuild.errors import PlatformMissing
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.relocate.audit import Finding, findings
from ohbuild.relocate.pin import PREFIX


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found below ``/openhands``.

    Args:
        files, elf_files: how many were looked at.
        size: bytes of all files.
    """

    findings: tuple[Finding, ...]
    files: int
    elf_files: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Audited:
    """The audit of an image for one platform.

    Args:
        layers: digests of the layers that make up ``/openhands``, the lowest first: those below a layer that hides
            them, and those without anything there, are not among them.
    """

    image: ImageRef
    platform: Platform
    layers: tuple[str, ...]
    verdict: Verdict

    @property
    def findings(self) -> tuple[Finding, ...]:
        return self.verdict.findings


class Memory:
    """What was read and found, by the digests of layers, which stand for their content. For several threads at once.

    Args:
        on_disk: keep what was read for the next process, too.
    """

    def __init__(self, *, on_disk: bool = True) -> None:
        self._on_disk = on_disk
        # One for all: images that are audited at once have most of their layers in common.
        self._lock = threading.RLock()
        self._layers: dict[str, Layer] = {}
        self._verdicts: dict[tuple[str, tuple[str, ...]], Verdict] = {}

    def layer(self, digest: str, read: Callable[[str], Layer]) -> Layer:
        """A layer; ``read`` is called if it is not known.

        Raises:
            OhbuildError: what ``read`` raises.
        """
        with self._lock:
            layer = self._layers.get(digest) or (layer_cache.load(digest) if self._on_disk else None)
            if layer is None:
                layer = read(digest)
                if self._on_disk:
                    layer_cache.save(digest, layer)
            self._layers[digest] = layer
            return layer

    def verdict(self, layers: Sequence[str], arch: str) -> Verdict:
        """The verdict on layers that ``layer`` returned before, the lowest first."""
        key = (arch, tuple(layers))
        with self._lock:
            if key not in self._verdicts:
                self._verdicts[key] = judge([self._layers[digest] for digest in layers], arch)
            return self._verdicts[key]


_MEMORY = Memory()


def judge(layers: Sequence[Layer], arch: str) -> Verdict:
    """Applies the rules to layers, the lowest first."""
    tree = merge(layers)
    if "" not in tree:
        return Verdict(findings=(Finding(PREFIX, "is not in this image"),), files=0, elf_files=0, size=0)
    files = [entry for entry in tree.values() if entry.kind == "file"]
    return Verdict(
        findings=tuple(findings(tree, arch)),
        files=len(files),
        elf_files=sum(1 for entry in files if entry.content and entry.content.elf),
        size=sum(entry.size for entry in files),
    )


def audit(
    source: Source,
    image: ImageRef,
    platform: Platform,
    *,
    memory: Memory = _MEMORY,
    listener: Listener = lambda text: None,
) -> Audited:
    """Audits an image for one platform.

    Args:
        source: where it is.
        image: its name.
        memory: what is known already.
        listener: is told what is being read.

    Raises:
        PlatformMissing: the image is not there for it.
        RegistryError: a layer cannot be had, or is damaged.
    """
    if platform not in source.platforms:
        have = ", ".join(map(str, source.platforms)) or "none"
        raise PlatformMissing(f"{image} is not there for {platform}; it has {have}", "ask for one that it has")
    digests = source.digests(platform)
    mattering: list[str] = []
    # From the top, as what lies below a layer that hides it need not be fetched.
    for number, digest in enumerate(reversed(digests), start=1):
        listener(f"{image} ({platform}): layer {number} of {len(digests)}")
        layer = memory.layer(digest, source.layer)
        if layer != Layer():
            mattering.insert(0, digest)
        if layer.hides_all:
            break
    verdict = memory.verdict(mattering, platform.architecture)
    return Audited(image=image, platform=platform, layers=tuple(mattering), verdict=verdict)
