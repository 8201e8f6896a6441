"""A registry on loopback with images of JSON, whose answers a test can replace: real connections, no Docker."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True)
class Reply:
    """An answer.

    Attributes:
        status: Status code.
        body: Body.
        headers: Header fields, besides the length.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Images:
    """Manifests and blobs by digest, and digests by ``repository:tag``."""

    content: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def put(self, body: object, kind: str, tag: str = "") -> dict[str, Any]:
        """Adds an object, and returns its descriptor."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.content[digest] = data, kind
        if tag:
            self.tags[tag] = digest
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    def manifest(self, platform: str = "linux/amd64", config: dict[str, Any] | None = None) -> dict[str, Any]:
        """Adds a manifest with a layer of 10 bytes that does not exist, and returns its descriptor."""
        system, architecture = platform.split("/")
        body = {"os": system, "architecture": architecture, "config": config or {"Env": ["PATH=/bin"]}}
        layer = {"mediaType": LAYER, "digest": f"sha256:{'0' * 64}", "size": 10}
        manifest = {
            "schemaVersion": 2, "mediaType": MANIFEST, "config": self.put(body, CONFIG), "layers": [layer]
        }  # fmt: skip
        described = {"os": system, "architecture": architecture}
        return {**self.put(manifest, MANIFEST), "platform": described}

    def image(self, tag: str, *platforms: str, config: dict[str, Any] | None = None) -> str:
        """Adds an image with an index, and returns its digest."""
        entries = [self.manifest(platform, config) for platform in platforms or ("linux/amd64", "linux/arm64")]
        body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        digest: str = self.put(body, INDEX, tag)["digest"]
        return digest

    def answer(self, path: str) -> Reply:
        """Returns the answer to a request for ``/v2/…``."""
        repository, _, rest = path.removeprefix("/v2/").partition("/manifests/")
        word = rest or path.rpartition("/")[2]
        digest = word if word.startswith("sha") else self.tags.get(f"{repository}:{word}", "")
        if digest not in self.content:
            return Reply(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
        body, kind = self.content[digest]
        return Reply(200, body, {"Content-Type": kind, "Docker-Content-Digest": digest})


Answer = Callable[["Request"], Reply | None]


class Request(BaseHTTPRequestHandler):
    """A request; ``server`` is the ``Server``."""

    protocol_version = "HTTP/1.1"
    server: Server

    def _any(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        self.form = self.rfile.read(length).decode()
        self.server.requests.append(f"{self.command} {self.path}")
        reply = self.server.answer(self)
        if reply is None:  # the test has answered, or wants no answer
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    do_GET = do_HEAD = do_POST = do_CONNECT = _any

    def log_message(self, *words: object) -> None:
        """Says nothing."""


class Server(ThreadingHTTPServer):
    """The registry.

    Attributes:
        images: What it has.
        requests: Method and path of each request.
        answer: Answers a request.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, answer: Answer | None = None, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), Request)
        self.images = Images()
        self.requests: list[str] = []
        self.answer = answer or (lambda request: self.images.answer(request.path))

    @property
    def host(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing about clients that go away."""


@contextmanager
def serving(answer: Answer | None = None) -> Iterator[Server]:
    """Runs a registry in the background."""
    with Server(answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
