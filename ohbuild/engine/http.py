"""The few HTTP requests the engine makes: to a daemon's socket and to its own registry on loopback."""

from __future__ import annotations

import http.client
import json
import socket
from email.message import Message
from pathlib import Path
from typing import NamedTuple

from ohbuild.images.config import config_platform

# Every kind of manifest a tag of ours can be: OCI and Docker, index and single image.
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
)
_SECONDS = 5


class Reply(NamedTuple):
    """Status, header fields (in any case), body."""

    status: int
    headers: Message
    body: bytes


def get(where: Path | int, path: str, *, accept: str = "*/*") -> Reply | None:
    """GET from a Unix socket (a path) or a port on loopback (a number); None if nobody answers in HTTP."""
    port = None if isinstance(where, Path) else where
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        if isinstance(where, Path):
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(_SECONDS)
            connection.sock.connect(str(where))
        connection.request("GET", path, headers={"Accept": accept})
        reply = connection.getresponse()
        return Reply(reply.status, reply.headers, reply.read())
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

    Returns:
        Digest of the image manifest for each platform (``linux/amd64``); empty if there is no such tag.
    """
    reply = get(port, f"/v2/{repository}/manifests/{tag}", accept=_MANIFESTS)
    if reply is None or reply.status != 200:
        return {}
    data = json.loads(reply.body)
    if "manifests" in data:
        entries = ((str(config_platform(entry.get("platform", {}))), entry["digest"]) for entry in data["manifests"])
        return {name: digest for name, digest in entries if "unknown" not in name}
    config = get(port, f"/v2/{repository}/blobs/{data['config']['digest']}")
    if config is None or config.status != 200:
        return {}
    return {str(config_platform(json.loads(config.body))): reply.headers["docker-content-digest"]}
