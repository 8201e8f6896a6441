"""Reads the layers of an image from a registry, or from ``docker image save`` if only the local Docker has it."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import tempfile
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
# Maximum size of a manifest or config; larger blobs are layers. (Registries accept manifests of up to 4 MB.)
_DOCUMENT = 4 << 20


class Source(Protocol):
    """One image with all its platforms."""

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """The available platforms."""

    def digests(self, platform: Platform) -> tuple[str, ...]:
        """Returns the digests of the layers for a platform, lowest first."""

    def layer(self, digest: str) -> Layer:
        """Returns a layer by its digest; its content is checked against the digest."""


class RegistrySource:
    """An image in a registry.

    Args:
        registry: Registry client.
        image: Name of the image.

    Attributes:
        platforms: The available platforms.

    Raises:
        OhbuildError: As for ``Registry.resolve``.
    """

    def __init__(self, registry: Registry, image: ImageRef) -> None:
        found = registry.resolve(image)
        self.platforms = found.platforms
        self._registry = registry
        # The digest is used from here on, because the tag may move.
        self._image = image.pinned(found.digest)

    def digests(self, platform: Platform) -> tuple[str, ...]:
        """Returns the digests of the layers for a platform, lowest first."""
        return self._registry.layers(self._image, platform)

    def layer(self, digest: str) -> Layer:
        """Fetches a layer and checks it against its digest."""
        with self._registry.blob(self._image, digest) as chunks:
            return layer_of(chunks, digest)


class DockerSource:
    """An image in the local Docker's store.

    All of it is read at once, because ``docker image save`` writes an OCI image layout in no particular order
    (https://github.com/opencontainers/image-spec/blob/main/image-layout.md). Platforms whose layers Docker does not
    have are left out.

    Args:
        connection: How to reach Docker.
        image: Name of the image.

    Attributes:
        platforms: The available platforms.

    Raises:
        ImageNotFound: Docker does not have the image.
        RegistryError: ``docker image save`` failed, or its output is not supported.
    """

    def __init__(self, connection: Connection, image: ImageRef) -> None:
        self._documents: dict[str, dict[str, Any]] = {}
        self._layers: dict[str, Layer | RegistryError] = {}
        environment = {**os.environ, **connection.environment()}
        command = [str(connection.docker), "image", "save", str(image)]
        # In a file, because Docker would stop at a full pipe that is only read at the end.
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment) as process,
        ):
            assert process.stdout is not None

            def reason(otherwise: str) -> str:
                errors.seek(0)
                said = errors.read().decode(errors="replace").strip().splitlines()
                return said[-1] if said else otherwise

            try:
                index = self._read(process.stdout)
                while process.stdout.read(_CHUNK):
                    pass  # the padding behind the archive
            except tarfile.TarError as error:
                process.kill()
                process.wait()
                what = f"`docker image save {image}` failed: {reason(str(error))}"
                raise ImageNotFound(what, "check the name") from error
            except BaseException:
                process.kill()
                raise
            if code := process.wait():
                what = f"`docker image save {image}` failed: {reason(f'exit code {code}')}"
                raise RegistryError(what, "check that Docker responds, and try again")
        if index is None:
            raise RegistryError(
                f"`docker image save {image}` did not write an OCI image layout",
                "update Docker to version 25 or later, or push the image and use its name in the registry",
            )
        self._digests = dict(self._manifests(index))
        self.platforms = tuple(sorted(self._digests))

    def digests(self, platform: Platform) -> tuple[str, ...]:
        """Returns the digests of the layers for a platform, lowest first."""
        return self._digests[platform]

    def layer(self, digest: str) -> Layer:
        """Returns a layer.

        Raises:
            RegistryError: It is damaged or cannot be read.
        """
        found = self._layers[digest]
        if isinstance(found, RegistryError):
            raise found
        return found

    def _read(self, stream: IO[bytes]) -> dict[str, Any] | None:
        """Reads the whole archive and returns its index.json, if there is one."""
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
            self._layers[digest] = error  # only raised if a manifest refers to the blob

    def _manifests(self, index: dict[str, Any]) -> Iterator[tuple[Platform, tuple[str, ...]]]:
        """Yields the platform and layers of each manifest in an index."""
        for item in index.get("manifests") or ():
            document = self._documents.get(item.get("digest", ""), {})
            if "manifests" in document:
                yield from self._manifests(document)
            config = self._documents.get((document.get("config") or {}).get("digest", ""), {})
            digests = tuple(layer["digest"] for layer in document.get("layers") or ())
            # Attestations have the OS "unknown".
            if config.get("os", "unknown") != "unknown" and all(digest in self._layers for digest in digests):
                yield config_platform(config), digests


def _document(data: bytes) -> dict[str, Any] | None:
    with suppress(ValueError):
        return dict(json.loads(data)) if data.startswith(b"{") else None
    return None


def open_source(
    registry: Registry, connection: Connection | None, image: ImageRef, listener: Listener = lambda text: None
) -> Source:
    """Opens an image in its registry, or in the local Docker if the registry does not have it.

    Args:
        registry: Registry client.
        connection: How to reach the local Docker, if there is one.
        image: Name of the image.
        listener: Called with a description of a slow step before it starts.

    Raises:
        OhbuildError: Neither has it.
    """
    try:
        return RegistrySource(registry, image)
    except OhbuildError as error:
        if connection is None or not Buildx(connection).local_config(image):
            raise error
    listener(f"{image}: reading it from the local Docker")
    return DockerSource(connection, image)
