"""The registry client, against a server on loopback."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from ohbuild.errors import ImageNotFound, NotAnImage, RegistryError
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Registry
from ohbuild.images.registry_config import Registries, RegistryConfig
from tests.registry_server import CONFIG, INDEX, LAYER, MANIFEST, Images, Reply, Server, serving

AMD64, ARM64 = Platform.parse("amd64"), Platform.parse("arm64")
EMPTY = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": f"sha256:{'1' * 64}", "size": 2}


@contextmanager
def client(registries: Registries | None = None, **environ: str) -> Iterator[Registry]:
    with closing(Registry(registries, Path("/nowhere"), environ=environ, sleep=lambda _: None)) as made:
        yield made


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        made.images.image("c:1", config={"Env": ["PATH=/x", "A=b=c"], "Labels": {"a": "b"}})
        yield made


def test_an_index_has_platforms_sizes_labels_and_layers(server: Server) -> None:
    with client() as registry:
        reference = ImageRef.parse(f"{server.host}/c:1")
        assert registry.resolve(reference).platforms == (AMD64, ARM64)
        found = registry.inspect(reference)
        assert found.digest == server.images.tags["c:1"]
        assert set(found.sizes) == {AMD64, ARM64}
        assert all(size > 100 for size in found.sizes.values())
        assert found.labels == {"a": "b"}
        assert found.env == {"PATH": "/x", "A": "b=c"}
        assert registry.layers(reference, ARM64) == (f"sha256:{'0' * 64}",)


def test_only_manifests_and_configs_of_the_platforms_are_requested_and_each_once(server: Server) -> None:
    with client() as registry:
        reference = ImageRef.parse(f"{server.host}/c:1")
        found = registry.describe(reference, (ARM64, Platform.parse("s390x")))
        kinds = [line.split("/")[3] for line in server.requests]
        assert kinds == ["manifests", "manifests", "blobs"]
        assert list(found.configs) == [ARM64]
        assert found.configs[ARM64].env["A"] == "b=c"
        assert found.sizes[AMD64] == 0 < found.sizes[ARM64] == found.configs[ARM64].size
        server.requests.clear()
        single = server.images.manifest("linux/arm64")
        server.images.tags["c:single"] = single["digest"]
        assert registry.describe(ImageRef.parse(f"{server.host}/c:single"), (ARM64,)).configs[ARM64].size > 10
        assert [line.split("/")[3] for line in server.requests] == ["manifests", "blobs"]


def test_existence_and_digest_are_one_head_request(server: Server) -> None:
    with client() as registry:
        there, gone = ImageRef.parse(f"{server.host}/c:1"), ImageRef.parse(f"{server.host}/c:2")
        assert registry.exists(there)
        assert registry.digest(there) == server.images.tags["c:1"]
        assert not registry.exists(gone)
        assert registry.digest(gone) is None
        assert {line.split()[0] for line in server.requests} == {"HEAD"}
        assert len(server.requests) == 4


def index(*entries: dict[str, Any] | str) -> Callable[[Images], object]:
    return lambda images: {"mediaType": INDEX, "manifests": list(entries)}


def with_artifact(images: Images) -> object:
    artifact = images.put({"artifactType": "application/x.sbom", "config": EMPTY, "layers": []}, MANIFEST)
    unknown = images.put(b"\x00\x01", "application/x-rubbish")
    attestation = {**images.put({}, MANIFEST), "platform": {"os": "unknown", "architecture": "unknown"}}
    gone = {"mediaType": MANIFEST, "digest": f"sha256:{'9' * 64}", "size": 1}
    odd = [{"platform": 3}, {"digest": 1}, {**artifact, "digest": "sha256:short"}, {**unknown, "mediaType": None}]
    controls = {**images.manifest(), "platform": {"os": "\x1b[31mlinux", "architecture": "amd64"}}
    return {"manifests": [artifact, unknown, attestation, gone, *odd, controls, images.manifest("linux/arm64")]}


def nested(images: Images) -> object:
    inner = images.put({"mediaType": INDEX, "manifests": [images.manifest("linux/arm64")]}, INDEX)
    outer = images.put({"mediaType": INDEX, "manifests": [inner]}, INDEX)
    return {"mediaType": INDEX, "manifests": [outer]}


def endless(images: Images) -> object:
    inner: dict[str, Any] = images.put({"mediaType": INDEX, "manifests": []}, INDEX)
    for _ in range(20):
        inner = images.put({"mediaType": INDEX, "manifests": [inner, inner]}, INDEX)
    return {"mediaType": INDEX, "manifests": [inner, images.manifest("linux/arm64")]}


def many(images: Images) -> object:
    manifest = images.manifest("linux/arm64")
    entries = [{key: value for key, value in manifest.items() if key != "platform"}] * 5000
    return {"mediaType": INDEX, "manifests": [*entries, manifest]}


@pytest.mark.parametrize("make", [with_artifact, nested, endless, many])
def test_an_index_may_hold_what_is_no_image(make: Callable[[Images], object]) -> None:
    with serving() as server, client() as registry:
        server.images.put(make(server.images), INDEX, "c:1")
        found = registry.describe(ImageRef.parse(f"{server.host}/c:1"), (ARM64,))
        assert found.platforms == (ARM64,)
        assert found.configs[ARM64].env == {"PATH": "/bin"}
        assert len(server.requests) < 150


def test_an_entry_without_a_platform_is_of_that_of_its_config(server: Server) -> None:
    entry = server.images.manifest("linux/arm64")
    del entry["platform"]
    server.images.put({"manifests": [entry]}, INDEX, "c:2")
    with client() as registry:
        assert list(registry.describe(ImageRef.parse(f"{server.host}/c:2"), (ARM64,)).configs) == [ARM64]


@pytest.mark.parametrize(
    ("manifest", "text"),
    [
        ({"schemaVersion": 1, "fsLayers": []}, "schema 1"),
        ({"config": {"mediaType": "application/vnd.cncf.helm.config.v1+json"}, "layers": []}, "helm.config"),
        ({"artifactType": "application/x.sbom", "config": EMPTY, "layers": []}, "x.sbom"),
        (
            {"config": {"mediaType": CONFIG}, "layers": [{"mediaType": "application/wasm\x1b"}]},
            r"application/wasm\\x1b",
        ),
    ],
)
def test_what_is_no_image_is_named(manifest: dict[str, Any], text: str) -> None:
    with serving() as server, client(Registries().with_mirror(server.host)) as registry:
        server.images.put(manifest, MANIFEST, "library/debian:1")
        with pytest.raises(NotAnImage, match=text):
            registry.resolve(ImageRef.parse("debian:1"))


@pytest.mark.parametrize("family", ["oci.image", "docker"])
def test_layers_of_either_family_are_layers(server: Server, family: str) -> None:
    kinds = {
        "oci.image": ("oci.image.config.v1+json", "oci.image.layer.v1.tar+zstd",
            "oci.image.layer.nondistributable.v1.tar"),
        "docker": ("docker.container.image.v1+json",
            "docker.image.rootfs.diff.tar.gzip", "docker.image.rootfs.foreign.diff.tar.gzip"),
    }[family]  # fmt: skip
    kind, *others = [f"application/vnd.{name}" for name in kinds]
    config = {**server.images.put({"os": "linux", "architecture": "arm64"}, kind), "mediaType": kind}
    server.images.put({"config": config, "layers": [{"mediaType": name} for name in others]}, MANIFEST, "c:2")
    with client() as registry:
        assert registry.resolve(ImageRef.parse(f"{server.host}/c:2")).platforms == (ARM64,)


def broken(change: Callable[[Images, str], bytes]) -> Callable[[Server], None]:
    def make(server: Server) -> None:
        digest = server.images.image("c:1")
        body, kind = server.images.content[digest]
        server.images.content[digest] = change(server.images, digest) or body, kind

    return make


def config_of(value: object) -> Callable[[Server], None]:
    def make(server: Server) -> None:
        config = server.images.put(value, CONFIG)
        layer = {"mediaType": LAYER, "size": 1}
        server.images.put({"config": config, "layers": [layer]}, MANIFEST, "c:1")

    return make


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (broken(lambda images, digest: b"<html>"), "does not have the digest"),
        (broken(lambda images, digest: images.content[digest][0] + b" "), "does not have the digest"),
        (lambda server: server.images.put(b"<html>", INDEX, "c:1"), "is not JSON"),
        (lambda server: server.images.put(b"[" * 100_000, INDEX, "c:1"), "is not JSON"),
        (lambda server: server.images.put([], INDEX, "c:1"), "it is not an object"),
        (lambda server: server.images.put({"manifests": {}}, INDEX, "c:1"), "manifests is not a list"),
        (lambda server: server.images.put({"manifests": None}, INDEX, "c:1"), "manifests is not a list"),
        (lambda server: server.images.put({"config": 1}, MANIFEST, "c:1"), "config is not an object"),
        (lambda server: server.images.put({"config": {}, "layers": 1}, MANIFEST, "c:1"), "layers is not a list"),
        (lambda server: server.images.put({"config": {}, "layers": [1]}, MANIFEST, "c:1"), "an item of layers"),
        (lambda server: server.images.put({"config": {}, "layers": []}, MANIFEST, "c:1"), "its config has no digest"),
        (lambda server: server.images.put(b" " * (9 * 2**20), INDEX, "c:1"), "larger than 8 MiB"),
        (config_of([]), "it is not an object"),
        (config_of({"os": ["linux"], "architecture": "arm64"}), "os has the wrong type"),
        (config_of({"os": "linux", "architecture": "arm64", "config": {"Env": {"a": "b"}}}), "Env has the wrong type"),
        (config_of({"os": "linux", "architecture": "arm64", "config": {"User": 0.5}}), "User has the wrong type"),
        (config_of({"os": "linux", "architecture": "arm64", "config": {"Labels": {"a": 1}}}), "a label has"),
    ],
)
def test_a_broken_answer_is_described(make: Callable[[Server], object], reason: str) -> None:
    with serving() as server, client() as registry:
        make(server)
        with pytest.raises(RegistryError, match=reason) as caught:
            registry.describe(ImageRef.parse(f"{server.host}/c:1"), (ARM64, AMD64))
        assert server.host in caught.value.message


def test_a_digest_is_checked_where_the_reference_has_one(server: Server) -> None:
    digest = server.images.image("c:1")
    other = hashlib.sha256(b"other").hexdigest()
    server.images.content[f"sha256:{other}"] = server.images.content[digest]
    with client() as registry:
        assert registry.resolve(ImageRef.parse(f"{server.host}/c@{digest}")).digest == digest
        with pytest.raises(RegistryError, match="does not have the digest"):
            registry.resolve(ImageRef.parse(f"{server.host}/c@sha256:{other}"))


def test_a_base_image_is_asked_of_the_mirror_then_of_the_next_one_with_its_path() -> None:
    with serving() as first, serving() as second:
        second.images.image("hub/library/debian:trixie")
        config = RegistryConfig(mirrors=(first.host, f"http://{second.host}/v2/hub/"))
        with client(Registries({"docker.io": config})) as registry:
            registry.resolve(ImageRef.parse("debian:trixie"))
        assert first.requests == ["GET /v2/library/debian/manifests/trixie"]
        assert second.requests == ["GET /v2/hub/library/debian/manifests/trixie"]


def test_docker_hub_out_of_reach_is_reported_with_its_mirror() -> None:
    with serving() as server:
        proxy = {"HTTPS_PROXY": f"http://{server.host}"}  # which refuses to connect to Docker Hub
        with client(Registries().with_mirror(server.host), **proxy) as registry, pytest.raises(ImageNotFound) as caught:
            registry.resolve(ImageRef.parse("nosuch:tag"))
    assert "ohbuild engine seed" in caught.value.hint


def test_a_proxy_is_used_for_other_machines_only(server: Server) -> None:
    with serving() as proxy:
        proxy.answer = lambda request: Reply(404)
        environ = {"HTTP_PROXY": f"http://me:pass@{proxy.host}"}
        registries = Registries({"plain.example": RegistryConfig(http=True)})
        with client(registries, **environ) as registry:
            assert registry.resolve(ImageRef.parse(f"{server.host}/c:1")).platforms == (AMD64, ARM64)
            with pytest.raises(ImageNotFound, match=r"plain\.example has no such image"):
                registry.resolve(ImageRef.parse("plain.example/x"))
        assert proxy.requests == ["GET http://plain.example/v2/x/manifests/latest"]


def test_connections_are_kept_for_the_next_request(server: Server) -> None:
    """A connection to a remote registry takes longer than a request, so each thread reuses its own."""
    threads, made = 32, list[object]()
    plain = server.answer
    server.answer = lambda request: made.append(request.connection) or plain(request)  # type: ignore[func-returns-value]
    images = [ImageRef.parse(f"{server.host}/c:1")] * (10 * threads)
    with client() as registry, ThreadPoolExecutor(max_workers=threads) as pool:
        assert all(pool.map(registry.exists, images))
    assert len(made) == 10 * threads
    assert len(set(map(id, made))) <= threads


def test_a_transport_of_the_caller_is_used() -> None:
    manifest = json.dumps({"config": {"digest": f"sha256:{hashlib.sha256(b'{}').hexdigest()}"}, "layers": []})

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text="{}" if "/blobs/" in request.url.path else manifest)

    with closing(Registry(config_dir=Path("/nowhere"), transport=httpx.MockTransport(handler))) as registry:
        assert registry.resolve(ImageRef.parse("a.b/c")).digest.startswith("sha256:")
