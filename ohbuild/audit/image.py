"""Runs the closure audit on a finished image: merges its layers and applies the same rules as the build.

Nothing in the image is executed or unpacked, so it works for any platform.
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
    """The result of an audit of ``/openhands``.

    Attributes:
        findings: Problems that were found.
        files: Number of files.
        elf_files: Number of ELF files.
        size: Total size of the files in bytes.
    """

    findings: tuple[Finding, ...]
    files: int
    elf_files: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Audited:
    """The audit of an image for one platform.

    Attributes:
        image: The image.
        platform: The platform.
        layers: Digests of the layers that make up ``/openhands``, lowest first. Layers that are hidden by a higher one
            or contain nothing below it are left out.
        verdict: The result.
    """

    image: ImageRef
    platform: Platform
    layers: tuple[str, ...]
    verdict: Verdict

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The problems that were found."""
        return self.verdict.findings


class Memory:
    """Remembers parsed layers and verdicts by the digests of layers. Thread-safe.

    Args:
        on_disk: Whether to keep parsed layers for later processes too.
    """

    def __init__(self, *, on_disk: bool = True) -> None:
        self._on_disk = on_disk
        # A single lock for everything, because images that are audited in parallel share most of their layers.
        self._lock = threading.RLock()
        self._layers: dict[str, Layer] = {}
        self._verdicts: dict[tuple[str, tuple[str, ...]], Verdict] = {}

    def layer(self, digest: str, read: Callable[[str], Layer]) -> Layer:
        """Returns a layer, and reads it if it is not known yet.

        Args:
            digest: Digest of the layer.
            read: Reads a layer by its digest.

        Raises:
            OhbuildError: Raised by ``read``.
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
        """Returns the verdict on layers that ``layer`` returned before.

        Args:
            layers: Digests of the layers, lowest first.
            arch: OCI architecture.
        """
        key = (arch, tuple(layers))
        with self._lock:
            if key not in self._verdicts:
                self._verdicts[key] = judge([self._layers[digest] for digest in layers], arch)
            return self._verdicts[key]


_MEMORY = Memory()


def judge(layers: Sequence[Layer], arch: str) -> Verdict:
    """Applies the rules of the audit to layers.

    Args:
        layers: The layers, lowest first.
        arch: OCI architecture.
    """
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
        source: Where to read the image.
        image: Name of the image.
        platform: Platform to audit.
        memory: What is already known of layers.
        listener: Called with a description of each layer before it is read.

    Raises:
        PlatformMissing: The image does not exist for the platform.
        RegistryError: A layer cannot be read, or is damaged.
    """
    if platform not in source.platforms:
        have = ", ".join(map(str, source.platforms)) or "none"
        raise PlatformMissing(
            f"{image} has no image for {platform}; available: {have}", "choose one of these with --platform"
        )
    digests = source.digests(platform)
    mattering: list[str] = []
    # From the top, because layers below one that hides them need not be fetched.
    for number, digest in enumerate(reversed(digests), start=1):
        listener(f"{image} ({platform}): layer {number} of {len(digests)}")
        layer = memory.layer(digest, source.layer)
        if layer != Layer():
            mattering.insert(0, digest)
        if layer.hides_all:
            break
    verdict = memory.verdict(mattering, platform.architecture)
    return Audited(image=image, platform=platform, layers=tuple(mattering), verdict=verdict)
