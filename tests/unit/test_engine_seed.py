"""Seeding bases: names, suites, platforms and root file systems."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from ohbuild.engine import http, rootfs, seed
from ohbuild.engine.debian import Suite
from ohbuild.errors import InvalidPlatform, InvalidReference, NoEngine, UsageError
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


@pytest.mark.parametrize(
    ("text", "path", "tag"),
    [
        ("debian:trixie", "library/debian", "trixie"),
        ("debian", "library/debian", "latest"),
        ("docker.io/org/name:1", "org/name", "1"),
    ],
)
def test_names_are_those_of_docker_hub(text: str, path: str, tag: str) -> None:
    ref = seed.base_name(text)
    assert (ref.path, ref.tag) == (path, tag)


@pytest.mark.parametrize(
    "text", ["ghcr.io/x/y:1", "localhost:5000/x:1", "debian@sha256:" + "0" * 64, "Debian:x", "a b"]
)
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(InvalidReference):
        seed.base_name(text)


@pytest.mark.parametrize(
    ("tag", "suite"),
    [
        ("trixie", Suite("trixie")),
        ("12", Suite("bookworm")),
        ("sid-slim", Suite("sid", True)),
        ("latest", Suite("trixie")),
    ],
)
def test_tags_mean_suites(tag: str, suite: Suite) -> None:
    assert Suite.of_tag(tag) == suite


@pytest.mark.parametrize("tag", ["trixy", "trixie-backports", "", "-slim", "../x"])
def test_an_unknown_suite_is_refused_with_the_nearest(tag: str) -> None:
    with pytest.raises(UsageError) as caught:
        Suite.of_tag(tag)
    assert "--from" in caught.value.hint
    if tag == "trixy":
        assert "'trixie'" in caught.value.hint


def test_sources_are_those_of_the_image_on_docker_hub() -> None:
    assert Suite("trixie").sources("http://deb.debian.org/debian").splitlines() == [
        "deb http://deb.debian.org/debian trixie main",
        "deb http://deb.debian.org/debian trixie-updates main",
        "deb http://deb.debian.org/debian-security trixie-security main",
    ]
    assert Suite("sid").sources("http://m").splitlines() == ["deb http://m sid main"]


def test_platforms_have_sensible_defaults(tmp_path: Path) -> None:
    assert seed.chosen_platforms((), None, "") == (AMD64, ARM64)
    assert seed.chosen_platforms((ARM64,), None, "") == (ARM64,)
    assert seed.chosen_platforms((), tmp_path, "arm64") == (ARM64,)


def test_a_root_is_for_one_platform_and_for_its_own(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one platform"):
        seed.chosen_platforms((AMD64, ARM64), tmp_path, "amd64")
    with pytest.raises(UsageError, match="contains programs for arm64, not for amd64"):
        seed.chosen_platforms((AMD64,), tmp_path, "arm64")
    with pytest.raises(UsageError, match="s390x"):
        seed.chosen_platforms((AMD64,), tmp_path, "s390x")


@pytest.mark.parametrize("name", ["windows/amd64", "linux/riscv64", "linux/arm/v7"])
def test_a_platform_that_cannot_be_made_is_refused(name: str) -> None:
    with pytest.raises(InvalidPlatform):
        seed.chosen_platforms((Platform.parse(name),), None, "")


def test_your_own_docker_is_not_seeded_but_may_get_the_base_by_itself(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\ncase $* in *debian:trixie) ;; *) echo no such host >&2; exit 1 ;; esac\n")
    docker.chmod(0o755)
    seed.available(docker, ImageRef.parse("debian:trixie"))
    with pytest.raises(NoEngine, match="no such host") as caught:
        seed.available(docker, ImageRef.parse("tiny:1"))
    assert "OHBUILD_ENGINE=ohbuild" in caught.value.hint


def _elf(machine: int) -> bytes:
    return b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00" + machine.to_bytes(2, "little") + bytes(44)


def _tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("prefix", ["", "./"])
def test_a_tar_tells_its_architecture_and_shell(tmp_path: Path, mode: str, prefix: str) -> None:
    files = {f"{prefix}etc/os-release": b"x", f"{prefix}usr/bin/bash": _elf(183), f"{prefix}bin/sh": b""}
    assert rootfs.look(_tar(tmp_path / "x.tar", files, mode)) == rootfs.RootFs("arm64", "bash")


def test_a_folder_tells_its_architecture_and_shell(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/busybox").write_bytes(_elf(62))
    (tmp_path / "bin/sh").symlink_to("/bin/busybox")
    assert rootfs.look(tmp_path) == rootfs.RootFs("amd64", "/bin/sh")


def test_a_root_without_programs_is_good_too(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    assert rootfs.look(tmp_path) == rootfs.RootFs("", "")


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"manifest.json": b"[]", "blobs/x": b""}, "image archive"),
        ({"oci-layout": b"{}"}, "image archive"),
        ({"readme": b""}, "not a root file system"),
        ({}, "not a root file system"),
    ],
)
def test_what_is_no_root_is_refused(tmp_path: Path, files: dict[str, bytes], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        rootfs.look(_tar(tmp_path / "x.tar", files))


def test_what_is_no_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no tar at all" * 100)
    for path in (tmp_path / "x", tmp_path / "none"):
        with pytest.raises(UsageError, match="--from"):
            rootfs.look(path)
    with pytest.raises(UsageError, match="neither a plain nor a gzip"):
        rootfs.look(_tar(tmp_path / "x.xz", {"bin/x": b""}, "w:xz"))


class _Registry(BaseHTTPRequestHandler):
    answers: ClassVar[dict[str, object]] = {}

    def do_GET(self) -> None:
        found = self.path in self.answers
        body = json.dumps(self.answers.get(self.path, {})).encode()
        self.send_response(200 if found else 404)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Docker-Content-Digest", "sha256:single")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    """Port of a fake registry."""
    _Registry.answers = {
        "/v2/": {},
        "/v2/a/manifests/index": {
            "manifests": [
                {"digest": "sha256:1", "platform": {"os": "linux", "architecture": "amd64"}},
                {"digest": "sha256:2", "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
                {"digest": "sha256:3", "platform": {"os": "unknown", "architecture": "unknown"}},
            ]
        },
        "/v2/a/manifests/one": {"config": {"digest": "sha256:c"}},
        "/v2/a/blobs/sha256:c": {"os": "linux", "architecture": "amd64"},
    }
    with HTTPServer(("127.0.0.1", 0), _Registry) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_the_registry_tells_what_is_seeded(port: int) -> None:
    assert http.registry_answers(port)
    assert http.platforms_of(port, "a", "index") == {"linux/amd64": "sha256:1", "linux/arm64": "sha256:2"}
    assert http.platforms_of(port, "a", "one") == {"linux/amd64": "sha256:single"}
    assert http.platforms_of(port, "a", "none") == {}


def test_nobody_on_the_port_is_no_registry(port: int) -> None:
    assert not http.registry_answers(1)
    assert http.platforms_of(1, "a", "index") == {}
