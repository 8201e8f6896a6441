"""Pushes images of any kind to a registry through its HTTP API, without an engine.

They include images that no Dockerfile can build: Windows, charts, Docker's older format, a config with odd values.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx

OCI = {
    "index": "application/vnd.oci.image.index.v1+json",
    "manifest": "application/vnd.oci.image.manifest.v1+json",
    "config": "application/vnd.oci.image.config.v1+json",
    "layer": "application/vnd.oci.image.layer.v1.tar",
}
DOCKER = {
    "index": "application/vnd.docker.distribution.manifest.list.v2+json",
    "manifest": "application/vnd.docker.distribution.manifest.v2+json",
    "config": "application/vnd.docker.container.image.v1+json",
    "layer": "application/vnd.docker.image.rootfs.diff.tar",
}


@dataclass(frozen=True)
class Pushed:
    """A pushed image: its reference, and the digests by kind."""

    reference: str
    manifests: tuple[str, ...]
    configs: tuple[str, ...]
    layers: tuple[str, ...]


def tar(files: Mapping[str, str]) -> bytes:
    """Returns a layer with these files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            data = text.encode()
            info.size, info.mode = len(data), 0o755
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


class Registry:
    """A registry on loopback.

    Args:
        address: Address as ``host:port``.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._client = httpx.Client(base_url=f"http://{address}/v2/", timeout=60, trust_env=False)

    def close(self) -> None:
        self._client.close()

    def image(
        self,
        name: str,
        config: Mapping[str, Any] | None = None,
        *,
        platforms: tuple[str, ...] = ("linux/amd64", "linux/arm64"),
        files: Mapping[str, str] | None = None,
        kinds: Mapping[str, str] = OCI,
        config_type: str = "",
        index: bool = True,
        created: str = "2026-11-01T00:00:00Z",
    ) -> Pushed:
        """Pushes an image with one layer per platform.

        Args:
            name: Repository and tag, without the registry.
            config: ``config`` part of the image's config.
            config_type: Media type of the config, by default that of an image.
            index: Whether to push an index. If not, only the first platform's manifest is pushed.
        """
        repository, _, tag = name.partition(":")
        manifests: list[str] = []
        configs: list[str] = []
        layers: list[str] = []
        listed: list[dict[str, Any]] = []
        for platform in platforms if index else platforms[:1]:
            system, architecture = platform.split("/")
            layer = tar({"etc/where": f"{name} {platform}\n", **(files or {})})
            body: dict[str, Any] = {
                "os": system,
                "architecture": architecture,
                "created": created,
                "config": dict(config or {}),
            }
            body["rootfs"] = {"type": "layers", "diff_ids": [_digest(layer)]}
            body["history"] = [{"created_by": "COPY where /etc/ # test"}]
            described = self._blob(repository, json.dumps(body).encode(), config_type or kinds["config"])
            layer_described = self._blob(repository, layer, kinds["layer"])
            manifest = {"schemaVersion": 2, "mediaType": kinds["manifest"]}
            data = json.dumps({**manifest, "config": described, "layers": [layer_described]}).encode()
            digest = _digest(data)
            self._manifest(repository, digest if index else tag, data, kinds["manifest"])
            manifests.append(digest)
            configs.append(described["digest"])
            layers.append(layer_described["digest"])
            place = {"os": system, "architecture": architecture}
            listed.append({"mediaType": kinds["manifest"], "digest": digest, "size": len(data), "platform": place})
        if index:
            data = json.dumps({"schemaVersion": 2, "mediaType": kinds["index"], "manifests": listed}).encode()
            self._manifest(repository, tag, data, kinds["index"])
        return Pushed(f"{self.address}/{name}", tuple(manifests), tuple(configs), tuple(layers))

    def tag(self, name: str, tags: Iterable[str]) -> list[str]:
        """Adds tags to an image and returns the new references."""
        repository, _, tag = name.partition(":")
        accept = ", ".join(kinds[kind] for kinds in (OCI, DOCKER) for kind in ("index", "manifest"))
        found = self._client.get(f"{repository}/manifests/{tag}", headers={"Accept": accept})
        made = list(tags)
        for new in made:
            self._manifest(repository, new, found.content, found.headers["content-type"])
        return [f"{self.address}/{repository}:{new}" for new in made]

    def _blob(self, repository: str, data: bytes, kind: str) -> dict[str, Any]:
        digest = _digest(data)
        started = self._client.post(f"{repository}/blobs/uploads/")
        assert started.status_code == 202, started.text
        where = started.headers["location"]
        where += ("&" if "?" in where else "?") + urlencode({"digest": digest})
        done = self._client.put(where, content=data, headers={"Content-Type": "application/octet-stream"})
        assert done.status_code == 201, done.text
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    def _manifest(self, repository: str, reference: str, data: bytes, kind: str) -> None:
        done = self._client.put(f"{repository}/manifests/{reference}", content=data, headers={"Content-Type": kind})
        assert done.status_code == 201, done.text


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
