"""Where the layers of an image come from: a registry, or ``docker image save`` for what only the local Docker has."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import IO, Any, Protocol

from ohbuild.audit.layers import Layer, layer_of
from ohbuild.docker.buildx import Buildx
from ohbuild.docker.connection import Connection
from ohbuild.errors import ImageNotFound, OhbuildError, RegistryError
from ohbuild.images.config import config_platform
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Registry

Listener = Callable[[str], None]
_CHUNK = 1 << 18
# What a manifest or a config may have; a larger blob is no such thing (OCI's registries take manifests of up to 4 MB).
_DOCUMENT = 4 << 20


class Source(Protocol):
    """One image, for all its platforms."""

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """The platforms that it is there for."""

    def digests(self, platform: Platform) -> tuple[str, ...]:
        """The digests of its layers, the lowest first."""

    def layer(self, digest: str) -> Layer:
        """One of its layers, checked against the digest."""


class RegistrySource:
    """An image in a registry.

    Raises:
        OhbuildError: as ``Registry.resolve``.
    """

    def __init__(self, registry: Registry, image: ImageRef) -> None:
        found = registry.resolve(image)
        self.platforms = found.platforms
        self._registry = registry
        # By its digest from now on: a tag may move meanwhile.
        self._image = image.pinned(found.digest)

    def digests(self, platform: Platform) -> tuple[str, ...]:
        return self._registry.layers(self._image, platform)

    def layer(self, digest: str) -> Layer:
        with self._registry.blob(self._image, digest) as chunks:
            return layer_of(chunks, digest)


class DockerSource:
    """An image in Docker's own store. All of it is read at once, as what ``docker image save`` writes has no order.

    That is an OCI image layout (https://github.com/opencontainers/image-spec/blob/main/image-layout.md). Platforms
    whose layers Docker does not have are left out.

    Raises:
        ImageNotFound: Docker has no such image.
        RegistryError: what it writes cannot be read.
    """

    def __init__(self, connection: Connection, image: ImageRef) -> None:
        self._documents: dict[str, dict[str, Any]] = {}
        self._layers: dict[str, Layer | RegistryError] = {}
        environment = {**os.environ, **connection.environment()}
        command = [str(connection.docker), "image", "save", str(image)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                index = self._read(process.stdout)
            except tarfile.TarError as error:
                process.kill()
                said = process.stderr.read().decode(errors="replace").strip().splitlines()
                raise ImageNotFound(f"{image}: docker says: {said[-1] if said else error}", "check the name") from error
            except BaseException:
                process.kill()
                raise
        if index is None:
            raise RegistryError(
                f"{image}: what `docker image save` writes is no OCI image layout",
                "Docker writes one since version 25; or push the image and name it with its registry",
            )
        self._digests = dict(self._manifests(index))
        self.platforms = tuple(sorted(self._digests))

    def digests(self, platform: Platform) -> tuple[str, ...]:
        return self._digests[platform]

    def layer(self, digest: str) -> Layer:
        found = self._layers[digest]
        if isinstance(found, RegistryError):
            raise found
        return found

    def _read(self, stream: IO[bytes]) -> dict[str, Any] | None:
        """Reads the whole archive; returns its index.json."""
        index = None
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK) as archive:
            for member in archive:
                parts = member.name.split("/")
                content = archive.extractfile(member)
                if content is None or not member.isreg():
                    continue
                if parts == ["index.json"]:
                    index = _document(content.read(_DOCUMENT))
                elif parts[0] == "blobs" and len(parts) == 3:
                    self._blob(f"{parts[1]}:{parts[2]}", member.size, content)
        return index

    def _blob(self, digest: str, size: int, content: IO[bytes]) -> None:
        head = b""
        if size <= _DOCUMENT:
            head = content.read()
            if (document := _document(head)) is not None:
                self._documents[digest] = document
                return
        try:
            self._layers[digest] = layer_of(chain((head,), iter(partial(content.read, _CHUNK), b"")), digest)
        except RegistryError as error:
            self._layers[digest] = error  # it may be something that no manifest names

    def _manifests(self, index: dict[str, Any]) -> Iterator[tuple[Platform, tuple[str, ...]]]:
        """Platform and layers of every manifest below an index."""
        for item in index.get("manifests") or ():
            document = self._documents.get(item.get("digest", ""), {})
            if "manifests" in document:
                yield from self._manifests(document)
            config = self._documents.get((document.get("config") or {}).get("digest", ""), {})
            digests = tuple(layer["digest"] for layer in document.get("layers") or ())
            # An attestation is for the system "unknown".
            if config.get("os", "unknown") != "unknown" and all(digest in self._layers for digest in digests):
                yield config_platform(config), digests


def _document(data: bytes) -> dict[str, Any] | None:
    with suppress(ValueError):
        return dict(json.loads(data)) if data.startswith(b"{") else None
    return None


def open_source(
    registry: Registry, connection: Connection | None, image: ImageRef, listener: Listener = lambda text: None
) -> Source:
    """An image, out of its registry if that has it, otherwise out of the local Docker.

    Args:
        listener: is told when something takes long.

    Raises:
        OhbuildError: neither has it.
    """
    try:
        return RegistrySource(registry, image)
    except OhbuildError as error:
        if connection is None or not Buildx(connection).local_config(image):
            raise error
    listener(f"{image}: reading all of it out of Docker")
    return DockerSource(connection, image)
