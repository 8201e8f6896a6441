from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from ohbuild.errors import ImageNotFound, NotAnImage, RegistryError, RegistryRefused
from ohbuild.images.credentials import Credentials
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Registry, is_loopback

AMD64, ARM64 = Platform.parse("amd64"), Platform.parse("arm64")
INDEX = {
    "mediaType": "application/vnd.oci.image.index.v1+json",
    "manifests": [
        {"digest": "sha256:a", "platform": {"os": "linux", "architecture": "amd64"}},
        {"digest": "sha256:b", "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
        {"digest": "sha256:c", "platform": {"os": "unknown", "architecture": "unknown"}},
    ],
}
MANIFEST = {
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "config": {"digest": "sha256:cfg", "size": 5},
    "layers": [{"digest": "sha256:l1", "size": 10}, {"digest": "sha256:l2", "size": 20}],
}
CONFIG = {"os": "linux", "architecture": "arm64", "config": {"Labels": {"a": "b"}, "Env": ["PATH=/x", "A=b=c"]}}
Handler = Callable[[httpx.Request], httpx.Response]


@contextmanager
def registry(
    handler: Handler, mirrors: tuple[str, ...] = (), config_dir: Path = Path("/nowhere")
) -> Iterator[Registry]:
    made = Registry(mirrors, config_dir, transport=httpx.MockTransport(handler))
    yield made
    made.close()


def image(request: httpx.Request) -> httpx.Response:
    body: dict[str, Any] = INDEX
    if "/blobs/" in request.url.path:
        body = CONFIG
    elif request.url.path.endswith(("sha256:a", "sha256:b", "single")):
        body = MANIFEST
    return httpx.Response(200, json=body, headers={"docker-content-digest": "sha256:index"})


def test_an_index_has_platforms_sizes_labels_and_layers() -> None:
    with registry(image) as client:
        reference = ImageRef.parse("a.b/c:1")
        assert client.resolve(reference).platforms == (AMD64, ARM64)
        found = client.inspect(reference)
        assert found.digest == "sha256:index"
        assert found.sizes == {AMD64: 35, ARM64: 35}
        assert found.labels == {"a": "b"}
        assert found.env == {"PATH": "/x", "A": "b=c"}
        assert client.layers(reference, ARM64) == ("sha256:l1", "sha256:l2")


def test_a_single_manifest_is_of_the_platform_of_its_config() -> None:
    with registry(image) as client:
        assert client.resolve(ImageRef.parse("a.b/c:single")).platforms == (ARM64,)


def test_only_manifests_and_configs_of_the_platforms_are_asked_for_and_each_once() -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path.removeprefix("/v2/c/"))
        return image(request)

    with registry(handler) as client:
        found = client.describe(ImageRef.parse("a.b/c:1"), (ARM64, Platform.parse("s390x")))
        assert asked == ["manifests/1", "manifests/sha256:b", "blobs/sha256:cfg"]
        assert found.sizes == {AMD64: 0, ARM64: 35}
        assert list(found.configs) == [ARM64]
        assert found.configs[ARM64].env["A"] == "b=c"
        asked.clear()
        assert client.describe(ImageRef.parse("a.b/c:single"), (ARM64,)).configs[ARM64].size == 35
        assert asked == ["manifests/single", "blobs/sha256:cfg"]


def test_an_entry_of_an_index_without_a_platform_is_of_that_of_its_config() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("manifests/1"):
            return httpx.Response(200, json={"manifests": [{"digest": "sha256:a"}]})
        return image(request)

    with registry(handler) as client:
        assert client.describe(ImageRef.parse("a.b/c:1"), (ARM64,)).configs[ARM64].size == 35


@pytest.mark.parametrize(
    ("manifest", "text"),
    [
        ({"schemaVersion": 1, "fsLayers": []}, "schema 1"),
        ({"config": {"mediaType": "application/vnd.cncf.helm.config.v1+json"}, "layers": []}, "helm.config"),
        (
            {
                "artifactType": "application/x.sbom",
                "config": {"mediaType": "application/vnd.oci.empty.v1+json"},
                "layers": [],
            },
            "x.sbom",
        ),
        (
            {
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json"},
                "layers": [{"mediaType": "application/wasm"}],
            },
            "application/wasm",
        ),
    ],
)
def test_what_is_no_image_is_told(manifest: dict[str, Any], text: str) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=manifest)

    with registry(handler, ("127.0.0.1:5000",)) as client, pytest.raises(NotAnImage, match=text):
        client.resolve(ImageRef.parse("debian:1"))


@pytest.mark.parametrize("family", ["oci.image", "docker"])
def test_layers_of_either_family_are_layers(family: str) -> None:
    kinds = {
        "oci.image": ("oci.image.config.v1+json", "oci.image.layer.v1.tar+zstd",
            "oci.image.layer.nondistributable.v1.tar"),
        "docker": ("docker.container.image.v1+json",
            "docker.image.rootfs.diff.tar.gzip", "docker.image.rootfs.foreign.diff.tar.gzip"),
    }[family]  # fmt: skip
    config, *others = [f"application/vnd.{kind}" for kind in kinds]
    manifest = {"config": {"mediaType": config, "digest": "x"}, "layers": [{"mediaType": kind} for kind in others]}

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=CONFIG if "/blobs/" in request.url.path else manifest)

    with registry(handler) as client:
        assert client.resolve(ImageRef.parse("a.b/c")).platforms == (ARM64,)


def test_docker_hub_is_asked_after_the_mirror_and_loopback_by_http() -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(404) if "127.0.0.1" in str(request.url) else image(request)

    with registry(handler, ("127.0.0.1:5000", "http://mirror.example/")) as client:
        client.resolve(ImageRef.parse("debian:trixie"))
        client.resolve(ImageRef.parse("localhost:5000/x"))
    assert asked == [
        "http://127.0.0.1:5000/v2/library/debian/manifests/trixie",
        "http://mirror.example/v2/library/debian/manifests/trixie",
        "http://localhost:5000/v2/x/manifests/latest",
    ]


def test_no_proxy_for_this_machine_and_http_where_docker_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return image(request)

    client = Registry((), Path("/nowhere"), insecure=["plain.example"], transport=httpx.MockTransport(handler))
    client.resolve(ImageRef.parse("localhost:5000/x"))
    client.resolve(ImageRef.parse("plain.example/x"))
    client.close()
    assert [url.partition("/v2")[0] for url in asked] == ["http://localhost:5000", "http://plain.example"]


def test_docker_hub_out_of_reach_is_told_with_its_stand_in() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.host == "127.0.0.1":
            return httpx.Response(404)
        raise httpx.ConnectError("no such host")

    with registry(handler, ("127.0.0.1:5000",)) as client, pytest.raises(ImageNotFound) as caught:
        client.resolve(ImageRef.parse("nosuch:tag"))
    assert "ohbuild engine seed" in caught.value.hint


def test_a_token_is_fetched_with_the_credentials(tmp_path: Path) -> None:
    auth = base64.b64encode(b"me:secret").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"a.b": {"auth": auth}}}))

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.host == "auth.example":
            assert request.headers["authorization"] == f"Basic {auth}"
            assert request.url.params["scope"] == "repository:c:pull"
            assert request.url.params["service"] == "s"
            return httpx.Response(200, json={"token": "T"})
        if request.headers.get("authorization") == "Bearer T":
            return image(request)
        challenge = 'Bearer realm="https://auth.example/token",service="s",scope="x"'
        return httpx.Response(401, headers={"www-authenticate": challenge})

    with registry(handler, config_dir=tmp_path) as client:
        assert client.resolve(ImageRef.parse("a.b/c")).digest == "sha256:index"


def test_basic_authentication(tmp_path: Path) -> None:
    auth = base64.b64encode(b"me:secret").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"a.b": {"auth": auth}}}))

    def handler(request: httpx.Request) -> httpx.Response:
        if request.headers.get("authorization") == f"Basic {auth}":
            return image(request)
        return httpx.Response(401, headers={"www-authenticate": 'Basic realm="r"'})

    with registry(handler, config_dir=tmp_path) as client:
        client.resolve(ImageRef.parse("a.b/c"))
    with registry(handler) as client, pytest.raises(RegistryError, match="requires a login"):
        client.resolve(ImageRef.parse("a.b/c"))


@pytest.mark.parametrize(("status", "refused"), [(401, True), (403, True), (429, False), (500, False), (503, False)])
def test_a_login_service_that_is_down_refuses_nothing(status: int, refused: bool) -> None:
    """A refusal may mean that an image is missing. This must not."""

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/token":
            return httpx.Response(status)
        return httpx.Response(401, headers={"www-authenticate": 'Bearer realm="https://a.b/token"'})

    with registry(handler) as client, pytest.raises(RegistryError) as caught:
        client.digest(ImageRef.parse("a.b/c"))
    assert isinstance(caught.value, RegistryRefused) is refused
    assert ("rejected the login" if refused else f"could not check the login: {status}") in caught.value.message


@pytest.mark.parametrize(
    ("status", "reference", "kind"),
    [
        (404, "a.b/c", ImageNotFound),
        (403, "a.b/c", RegistryError),
        (403, "me/private", ImageNotFound),
        (500, "a.b/c", RegistryError),
    ],
)
def test_refusals_are_told_apart(status: int, reference: str, kind: type[Exception]) -> None:
    with registry(lambda request: httpx.Response(status)) as client, pytest.raises(kind):
        client.resolve(ImageRef.parse(reference))


def test_a_registry_that_does_not_answer() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    with registry(handler) as client, pytest.raises(RegistryError, match=r"a\.b cannot be reached"):
        client.resolve(ImageRef.parse("a.b/c"))


def test_rubbish_is_no_image() -> None:
    with registry(lambda request: httpx.Response(200, text="<html>")) as client, pytest.raises(RegistryError):
        client.resolve(ImageRef.parse("a.b/c"))


def test_credential_helpers_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-test"
    helper.write_text('#!/bin/sh\nread host\necho "{\\"Username\\": \\"me\\", \\"Secret\\": \\"$host!\\"}"\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "config.json").write_text(
        json.dumps({"credHelpers": {"a.b": "test"}, "auths": {"c.d": {"identitytoken": "t"}}})
    )
    credentials = Credentials(tmp_path)
    assert credentials.get("a.b") == ("me", "a.b!")
    assert credentials.get("c.d") == ("<token>", "t")
    assert credentials.get("e.f") is None


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.8.9.1", True),
        ("[::1]:5000", True),
        ("ghcr.io", False),
        ("10.0.0.1:5000", False),
        ("localhost.example", False),
    ],
)
def test_loopback(name: str, answer: bool) -> None:
    assert is_loopback(name) is answer


def test_connections_are_kept_for_the_next_request() -> None:
    """A connection to a remote registry takes longer than a request, so each thread reuses its own."""
    threads, made = 32, list[object]()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            made.append(self)

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, closing(Registry()) as registry:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        images = [ImageRef.parse(f"127.0.0.1:{server.server_port}/x:{number}") for number in range(10 * threads)]
        with ThreadPoolExecutor(max_workers=threads) as pool:
            assert all(pool.map(registry.exists, images))
        server.shutdown()
    assert len(made) <= threads
