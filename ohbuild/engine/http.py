"""Sends the engine's few HTTP requests: to dockerd's socket and to the registry on loopback."""

from __future__ import annotations

import http.client
import json
import socket
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple

from ohbuild.images.config import config_platform
from ohbuild.images.manifests import ACCEPT

_SECONDS = 5
_API = "1.44"  # of Docker 25, and the oldest version that Docker 29 accepts


class Reply(NamedTuple):
    """A response.

    Attributes:
        status: Status code.
        headers: Header fields; names are not case-sensitive.
        body: Body.
    """

    status: int
    headers: Message
    body: bytes


def get(where: Path | int, path: str, *, accept: str = "*/*") -> Reply | None:
    """Sends a GET request; see ``send``."""
    return send("GET", where, path, accept=accept)


def send(method: str, where: Path | int, path: str, *, accept: str = "*/*", seconds: float = _SECONDS) -> Reply | None:
    """Sends a request.

    Args:
        method: Method of the request.
        where: Path of a Unix socket, or port on loopback.
        path: Path to request.
        accept: Value of the Accept header.
        seconds: Time limit for each part of the response.

    Returns:
        The response, or None if nothing there responds to HTTP.
    """
    port = None if isinstance(where, Path) else where
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        if isinstance(where, Path):
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(seconds)
            connection.sock.connect(str(where))
        connection.request(method, path, headers={"Accept": accept})
        reply = connection.getresponse()
        return Reply(reply.status, reply.headers, reply.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def docker_answers(sock: Path) -> bool:
    """Checks whether a Docker daemon responds on this socket."""
    reply = get(sock, "/_ping")
    return reply is not None and reply.status == 200


def docker_json(sock: Path, path: str, *, method: str = "GET", seconds: float = _SECONDS) -> Any:
    """Returns Docker's response to an API request, or None if it does not respond or refuses the request.

    Args:
        sock: Docker's socket.
        path: Path without the version of the API.
        method: Method of the request.
        seconds: Time limit.
    """
    reply = send(method, sock, f"/v{_API}{path}", seconds=seconds)
    if reply is None or reply.status >= 300:
        return None
    try:
        return json.loads(reply.body)
    except ValueError:
        return None


def registry_answers(port: int) -> bool:
    """Checks whether an image registry responds on this port of loopback."""
    reply = get(port, "/v2/")
    return reply is not None and "docker-distribution-api-version" in reply.headers


def platforms_of(port: int, repository: str, tag: str) -> dict[str, str]:
    """Returns the platforms of a tag in the registry on loopback.

    Returns:
        Digest of the image manifest by platform (``linux/amd64``); empty if the tag does not exist.
    """
    reply = get(port, f"/v2/{repository}/manifests/{tag}", accept=ACCEPT)
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
