"""`--system-packages` on a real engine: from Debian's mirror, and for Alpine from a signed repository made here."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ohbuild.bake.job import Job, prepare
from ohbuild.cli.report import as_data
from ohbuild.config.settings import Settings
from ohbuild.docker.connection import Connection
from ohbuild.docker.progress import Event
from ohbuild.errors import BuildFailed
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Registry
from ohbuild.images.registry_config import Registries
from tests.engine.runtime import docker
from tests.engine.tiny import succeeded
from tests.fakes import fake_components

AMD64 = Platform.parse("linux/amd64")

# A repository with one package, signed with a generated key. Installing from it needs no network.
ALPINE = """\
FROM debian:trixie AS key
RUN apt-get -q update && apt-get -q install -y --no-install-recommends openssl
RUN openssl genrsa -out /test.rsa 2048 && openssl rsa -in /test.rsa -pubout -out /test.rsa.pub

FROM alpine:3.23
COPY --from=key /test.rsa.pub /etc/apk/keys/
RUN mkdir -p /repo/x86_64 /made/usr/bin && printf '#!/bin/sh\\necho hello\\n' >/made/usr/bin/hello && \\
    chmod 755 /made/usr/bin/hello && touch -d @0 /made/usr/bin/hello
RUN --mount=from=key,target=/key cd /repo/x86_64 && \\
    apk mkpkg --sign-key /key/test.rsa --info name:hello --info version:1.0-r0 --info arch:x86_64 \\
        --info description:test --files /made --output hello-1.0-r0.apk && \\
    apk mkndx --keys-dir /etc/apk/keys --sign-key /key/test.rsa --output APKINDEX.tar.gz hello-1.0-r0.apk && \\
    echo /repo >/etc/apk/repositories && find / -xdev -mtime -2 -exec touch -h -d @0 {} + 2>/dev/null || true
USER nobody
"""
BASES = {
    # Its user and environment hinder the package manager, and a Dockerfile with arguments of these names.
    "nonroot": "FROM debian:trixie\nUSER 1234:1234\nWORKDIR /w\n"
    'ENV PATH= KEPT="a b" BASE=x BASE_USER=y SYSTEM_PACKAGES=z\n',
    "alpine": ALPINE,
    "shellless": "FROM scratch\nCOPY --from=debian:trixie /etc/os-release /etc/os-release\n",
    "arch": "FROM alpine:3.23\nRUN echo ID=arch >/etc/os-release\n",
}


@pytest.fixture(scope="module")
def place(own_registry: str) -> str:
    return f"{own_registry}/test-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="module")
def bases(engine: Connection, place: str) -> dict[str, str]:
    """The pushed bases by name."""
    for name, text in BASES.items():
        words = ["buildx", "build", "--quiet", "--provenance=false", "--platform=linux/amd64"]
        subprocess.run(
            [str(engine.docker), *words, "--output=type=registry,store=false", "--tag", f"{place}/{name}:1", "-"],
            env={**os.environ, **engine.environment()}, input=text, text=True, check=True,
        )  # fmt: skip
    return {name: f"{place}/{name}:1" for name in BASES}


def job(engine: Connection, place: str, folder: Path, bases: list[Any], **settings: Any) -> Job:
    values = {"folder": folder / "rendered", "platforms": "linux/amd64", "image": f"{place}/runtime", "bases": bases}
    fakes = fake_components(folder / "fakes", seed=place)
    return prepare(Settings(**{**values, **settings}), known=fakes, connect=lambda: engine)


def layers(image: str, place: str) -> tuple[str, ...]:
    with closing(Registry(Registries().with_mirror(place.partition("/")[0]))) as registry:
        return registry.layers(ImageRef.parse(image), AMD64)


@pytest.fixture(scope="module")
def installed(
    engine: Connection, bases: dict[str, str], place: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Runtime images of one bake by base: two with packages, and one without, named ``plain``."""
    wanted = [
        {"image": bases["nonroot"], "system_packages": ["jq", "tree=2.*"]},
        {"image": bases["alpine"], "system_packages": ["hello"]},
        "debian:trixie",
    ]
    prepared = job(engine, place, tmp_path_factory.mktemp("bake"), wanted)
    assert "system packages are installed in" in prepared.remarks[-1]
    _, *runtimes = succeeded(prepared)
    images = dict(zip(("nonroot", "alpine", "plain"), (item.tags[1] for item in runtimes), strict=True))
    yield images
    docker(engine, "image", "rm", "--force", *images.values(), check=False)


def shell(engine: Connection, image: str, script: str, *options: str) -> str:
    return docker(engine, "run", "--rm", "--network=none", *options, image, "/bin/sh", "-c", script)


def test_apt_installs_as_root_and_the_user_is_the_bases_again(
    engine: Connection, installed: dict[str, str], bases: dict[str, str]
) -> None:
    image = installed["nonroot"]
    assert shell(engine, image, "jq --version; tree --version; id -u; pwd; echo $KEPT").splitlines()[0].startswith("jq")
    assert shell(engine, image, "id -u; pwd; echo $KEPT").split("\n") == ["1234", "/w", "a b", ""]
    config = json.loads(docker(engine, "image", "inspect", image))[0]["Config"]
    assert config["User"] == "1234:1234"
    assert config["Labels"]["dev.ohbuild.system-packages"] == "jq tree=2.*"
    names = [item.partition("=")[0] for item in config["Env"]]
    assert names == ["PATH", "KEPT", "BASE", "BASE_USER", "SYSTEM_PACKAGES", "OH_TMUX"], (
        "a variable of the build is in the image"
    )


def test_apk_installs(engine: Connection, installed: dict[str, str]) -> None:
    assert shell(engine, installed["alpine"], "hello; id -un").split() == ["hello", "nobody"]


@pytest.mark.parametrize("name", ["nonroot", "alpine"])
def test_no_cache_no_certificate_and_no_time_of_the_build_is_left(
    engine: Connection, installed: dict[str, str], name: str
) -> None:
    image = installed[name]
    caches = "find /var/lib/apt/lists /var/cache/apt /var/cache/apk /run /tmp /var/log/apt -type f ! -name lock"
    assert shell(engine, image, f"{caches} 2>/dev/null; true", "--user=0") == ""
    assert shell(engine, image, "ls -d /run/ohbuild /run/secrets 2>/dev/null; true", "--user=0") == ""
    # Files newer than two days: only those that Docker mounts or creates when the container starts.
    found = shell(engine, image, "find / -xdev -type f -mtime -2", "--user=0").split()
    assert set(found) <= {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/.dockerenv"}


def test_the_layers_of_openhands_are_the_same_and_the_others_have_no_more(
    installed: dict[str, str], bases: dict[str, str], place: str
) -> None:
    plain, ours = layers(installed["plain"], place), layers(f"{place}/deps:latest", place)
    assert plain == layers("debian:trixie", place) + ours
    for name in ("nonroot", "alpine"):
        base, made = layers(bases[name], place), layers(installed[name], place)
        assert made[: len(base)] == base
        assert made[-len(ours) :] == ours
        assert len(made) == len(base) + 1 + len(ours)


def test_it_is_built_once(
    engine: Connection, installed: dict[str, str], bases: dict[str, str], place: str, tmp_path: Path
) -> None:
    wanted = {"image": bases["nonroot"], "system_packages": ["tree=2.*", "jq"]}
    events: list[Event] = []
    result = job(engine, place, tmp_path, [wanted]).run(events.append)[1]
    assert result.tags[1] == installed["nonroot"]
    assert [event.kind for event in events if "RUN" in event.step] == ["cached"]
    other = succeeded(job(engine, place, tmp_path, [bases["nonroot"]]))[1]
    assert other.tags[1] != installed["nonroot"]
    assert layers(other.tags[1], place) == layers(bases["nonroot"], place) + layers(f"{place}/deps:latest", place)


@pytest.mark.parametrize(
    ("name", "package", "told"),
    [
        ("nonroot", "no-such-package", "apt-get failed with exit code 100"),
        ("alpine", "no-such-package", "apk failed with exit code"),
        ("arch", "git", "os-release says ID=arch: no supported package manager"),
        ("shellless", "git", "the base has no shell (/bin/sh)"),
    ],
)
def test_what_cannot_be_installed_is_told_and_the_others_are_baked(
    engine: Connection, bases: dict[str, str], place: str, tmp_path: Path, name: str, package: str, told: str
) -> None:
    wanted = [{"image": bases[name], "system_packages": [package]}, "debian:trixie"]
    # There is no CA bundle either, so the script must work without the secret.
    prepared = job(engine, place, tmp_path, wanted, image=f"{place}/wrong/runtime", ca_bundle="off")
    results = prepared.run(lambda event: None)
    assert [item["state"] for item in as_data(results)] == ["done", "failed", "done"]
    error = results[1].outcome.error
    assert isinstance(error, BuildFailed)
    assert told in error.message
    assert error.hint
    if name != "shellless":
        assert bases[name] in error.message
    if package != "git":
        assert package in "\n".join(error.log)
