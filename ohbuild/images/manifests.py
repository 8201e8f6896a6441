"""Reads indexes and manifests as containerd does (OCI image specification 1.1, image-index.md and manifest.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ohbuild.errors import ImageNotFound, NotAnImage, OhbuildError, RegistryError
from ohbuild.images.answers import BrokenAnswer, an_object, count, is_digest, objects, parse_object, text
from ohbuild.images.config import config_platform
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.text import printable

INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
"""Media types of indexes."""
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
"""Media types of manifests."""
ACCEPT = ", ".join((*INDEXES, *MANIFESTS))
"""Value of the Accept header for what a tag can be: OCI and Docker, index and single image."""
_CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
# Prefixes of OCI's and Docker's media types for layers, non-distributable ones and all compressions included.
_LAYERS = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
# How deep indexes may be nested, and how many entries are asked for their platform.
_DEPTH, _ASKED = 4, 64

Read = Callable[[str], bytes]
"""Returns the manifest or index with a digest."""
Config = Callable[["Found", Mapping[str, Any]], Mapping[str, Any]]
"""Returns the config of a manifest, and keeps it in ``Found.read``."""


@dataclass
class Found:
    """The manifests that a reference resolves to.

    Attributes:
        digest: Digest of the index, or of the manifest if there is no index.
        manifests: Manifest digests by platform.
        read: Manifests and configs by digest, so that none is requested twice.
    """

    digest: str
    manifests: dict[Platform, str] = field(default_factory=dict)
    read: dict[str, dict[str, Any]] = field(default_factory=dict)


class Reader:
    """Reads the manifests of one reference.

    Args:
        image: The reference, for errors.
        read: Requests a manifest or an index.
        config: Requests the config of a manifest.
    """

    def __init__(self, image: ImageRef, read: Read, config: Config) -> None:
        self._image, self._read, self._config = image, read, config
        self._asked = 0
        self._problem: OhbuildError | None = None

    def find(self, body: bytes, kind: str, digest: str) -> Found:
        """Returns the manifests by platform.

        Args:
            body: What the registry returns for the reference.
            kind: Its media type according to the registry.
            digest: Its digest.

        Raises:
            NotAnImage: It is something else.
            BrokenAnswer: It is invalid.
            OhbuildError: A manifest that is needed cannot be read.
        """
        found = Found(digest)
        content = parse_object(body)
        if not _is_index(content, kind):
            found.read[digest] = image_manifest(self._image, content)
            found.manifests[config_platform(self._config(found, found.read[digest]))] = digest
            return found
        self._index(content, found, depth=1)
        if not found.manifests and self._problem:
            raise self._problem
        return found

    def _index(self, content: Mapping[str, Any], found: Found, depth: int) -> None:
        entries = content.get("manifests")
        if not isinstance(entries, list):
            raise BrokenAnswer("is invalid: manifests is not a list")
        for entry in entries:
            # Like containerd, do without what is no image: artifacts, attestations, unknown media types.
            if not isinstance(entry, dict) or not is_digest(entry.get("digest")) or entry.get("artifactType"):
                continue
            kind = text(entry.get("mediaType"))
            if kind in INDEXES and depth < _DEPTH:
                self._try(lambda entry=entry: self._nested(entry, found, depth))  # type: ignore[misc]
            elif kind in MANIFESTS or not kind:
                self._entry(entry, found)

    def _entry(self, entry: Mapping[str, Any], found: Found) -> None:
        digest, described = entry["digest"], entry.get("platform")
        if isinstance(described, dict) and text(described.get("os")):
            try:
                platform = config_platform(described)
            except ValueError:
                return
            if platform.system != "unknown":  # unless it is an attestation
                # Windows images have one entry per OS version on the same platform: use the first.
                found.manifests.setdefault(platform, digest)
            return

        def ask() -> None:  # like containerd, read the platform from the config
            found.read[digest] = image_manifest(self._image, parse_object(self._read(digest)))
            found.manifests.setdefault(config_platform(self._config(found, found.read[digest])), digest)

        self._try(ask)

    def _nested(self, entry: Mapping[str, Any], found: Found, depth: int) -> None:
        self._index(parse_object(self._read(entry["digest"])), found, depth + 1)

    def _try(self, ask: Callable[[], None]) -> None:
        """Asks about an entry. One that cannot be read does not make the others unusable."""
        self._asked += 1
        if self._asked > _ASKED:
            return
        try:
            ask()
        except (RegistryError, ImageNotFound, NotAnImage) as error:
            self._problem = self._problem or error
        except ValueError as error:
            self._problem = self._problem or RegistryError(f"{self._image}: an entry of its index {error}")


def _is_index(content: Mapping[str, Any], kind: str) -> bool:
    return (text(content.get("mediaType")) or kind) in INDEXES or "manifests" in content


def image_manifest(image: ImageRef, body: dict[str, Any]) -> dict[str, Any]:
    """Returns a manifest if it is that of an image.

    Raises:
        NotAnImage: It describes something else.
        BrokenAnswer: It is not a manifest.
    """
    if body.get("schemaVersion") == 1 or "fsLayers" in body:
        raise NotAnImage(
            f"{image} uses Docker's image format from before 2016 (schema 1), which BuildKit does not support",
            "pull it with an old Docker version and push it again with a current one",
        )
    config = an_object(body.get("config"), "config")
    kind = text(config.get("mediaType")) or _CONFIGS[0]
    other = [text(layer.get("mediaType")) for layer in objects(body.get("layers"), "layers")]
    other = [name for name in other if name and not name.startswith(_LAYERS)]
    if kind not in _CONFIGS or other:
        name = text(body.get("artifactType")) or (kind if kind not in _CONFIGS else other[0])
        raise NotAnImage(
            f"{image} is not a container image but {printable(name, 100)}", "use the reference of a container image"
        )
    if not is_digest(config.get("digest")):
        raise BrokenAnswer("is invalid: its config has no digest")
    return body


def size(manifest: Mapping[str, Any]) -> int:
    """Returns the compressed size of config and layers in bytes."""
    layers = objects(manifest.get("layers"), "layers")
    return count(manifest["config"].get("size")) + sum(count(layer.get("size")) for layer in layers)
