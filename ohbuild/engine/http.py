"""The few HTTP requests the engine makes: to a daemon's socket and to its own registry on loopback."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Every kind of manifest a tag of ours can be: OCI and Docker, index and single image.
INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass(frozen=True)
class Reply:
    """Status, header fields in lower case, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; ValueError if it is none."""
        return json.loads(self.body)


def get(where: Path | int, path: str, *, accept: str = "*/*", timeout: float = 5) -> Reply | None:
    """GET from a Unix socket (a path) or a port on loopback (a number); None if nobody answers in HTTP."""
    connection = (
        _UnixConnection(where, timeout)
        if isinstance(where, Path)
        else http.client.HTTPConnection("127.0.0.1", where, timeout=timeout)
    )
    try:
        connection.request("GET", path, headers={"Accept": accept})
        reply = connection.getresponse()
        return Reply(reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def docker_answers(sock: Path) -> bool:
    """Whether a Docker daemon answers on this socket."""
    reply = get(sock, "/_ping")
    return reply is not None and reply.status == 200


def registry_answers(port: int) -> bool:
    """Whether an image registry answers on this port of loopback."""
    reply = get(port, "/v2/")
    return reply is not None and "docker-distribution-api-version" in reply.headers


def platforms_of(port: int, repository: str, tag: str) -> dict[str, str]:
    """What the registry has under a tag.

    Returns
    -------
    Digest of the image manifest for each platform (``linux/amd64``); empty if there is no such tag.
    """
    accept = ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))
    reply = get(port, f"/v2/{repository}/manifests/{tag}", accept=accept)
    if reply is None or reply.status != 200:
        return {}
    data = reply.json()
    if "manifests" in data:
        entries = ((_platform(entry.get("platform", {})), entry["digest"]) for entry in data["manifests"])
        return {name: digest for name, digest in entries if "unknown" not in name}
    config = get(port, f"/v2/{repository}/blobs/{data['config']['digest']}")
    if config is None or config.status != 200:
        return {}
    return {_platform(config.json()): reply.headers["docker-content-digest"]}


def _platform(entry: Mapping[str, str]) -> str:
    words = (entry.get("os", "unknown"), entry.get("architecture", "unknown"), entry.get("variant", ""))
    # arm64's only variant, v8, is left out by containerd, which is what we compare with
    return "/".join(word for word in words if word and word != "v8")
