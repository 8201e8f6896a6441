"""The images of `make bake` in the registry: platforms, layers and sizes, and how they are built."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ohbuild.components.builtin import BUILTIN
from ohbuild.docker.connection import Connection
from ohbuild.locks import held
from tests.engine.baked import ROOT, Baked, bake
from tests.engine.runtime import docker

PLATFORMS = {"debian:trixie": {"linux/amd64", "linux/arm64"}, "alpine:3.23": {"linux/amd64"}}
LIMIT = 700_000_000
BINFMT = Path("/proc/sys/fs/binfmt_misc")


def raw(engine: Connection, reference: str) -> dict[str, Any]:
    """Returns a manifest or index from the registry."""
    answer: dict[str, Any] = json.loads(docker(engine, "buildx", "imagetools", "inspect", "--raw", reference))
    return answer


def manifests(engine: Connection, reference: str) -> dict[str, dict[str, Any]]:
    """Returns the image manifests by platform."""
    found = {}
    name = reference.rpartition(":")[0]
    for entry in raw(engine, reference)["manifests"]:
        platform = f"{entry['platform']['os']}/{entry['platform']['architecture']}"
        found[platform] = raw(engine, f"{name}@{entry['digest']}")
    return found


@pytest.mark.parametrize("base", PLATFORMS)
def test_platforms(engine: Connection, baked: Baked, base: str) -> None:
    assert set(manifests(engine, baked.image(base))) == PLATFORMS[base]


@pytest.mark.parametrize("base", PLATFORMS)
def test_deps_and_runtime_carry_the_same_layers(engine: Connection, baked: Baked, base: str) -> None:
    deps = manifests(engine, baked.image(None))
    for platform, manifest in manifests(engine, baked.image(base)).items():
        own = [layer["digest"] for layer in deps[platform]["layers"]]
        assert len(own) == 1 + len(BUILTIN), "the opaque whiteout and a layer for each component"
        assert [layer["digest"] for layer in manifest["layers"]][-len(own) :] == own


def test_deps_is_small_enough(engine: Connection, baked: Baked) -> None:
    for platform, manifest in manifests(engine, baked.image(None)).items():
        total = sum(layer["size"] for layer in manifest["layers"])
        assert 300_000_000 < total < LIMIT, f"{platform}: {total} bytes"


def test_nothing_is_executed_in_a_base(baked: Baked) -> None:
    lines = (ROOT / ".ohbuild/Dockerfile").read_text().splitlines()
    words = {line.split()[0] for line in lines if line and not line.startswith("#")}
    assert words <= {"ARG", "FROM", "ADD", "COPY", "ENV", "ENTRYPOINT", "CMD", "LABEL", "HEALTHCHECK", "STOPSIGNAL"}
    assert {line.split()[1] for line in lines if line.startswith(("COPY", "ADD"))} == {"--link"}
    assert not [line for line in lines if "--chown" in line.split("#")[0] or "--chmod" in line.split("#")[0]]


@contextmanager
def without_emulation() -> Iterator[None]:
    """Disables emulation within the context: all interpreters of foreign programs."""
    entries = [path for path in BINFMT.iterdir() if path.name not in ("register", "status")]
    on = [path for path in entries if path.read_text().startswith("enabled")]
    for path in on:
        path.write_text("0")
    try:
        yield
    finally:
        for path in on:
            path.write_text("1")


@pytest.mark.skipif(os.geteuid() != 0 or not BINFMT.is_dir(), reason="only root may switch emulation off")
@pytest.mark.exclusive
def test_arm64_is_built_without_emulation(
    engine: Connection, baked: Baked, emulation_lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = baked.image("debian:trixie")
    foreign = ["run", "--rm", "--platform", "linux/arm64", "--entrypoint", "/bin/true", image]
    docker(engine, *foreign)
    # A new timestamp for all files makes every step run again. --no-cache would leave the builder with two results of
    # the same steps. Bytecode is not always reproducible, so deps and runtime images could then get different ones.
    monkeypatch.setenv("OHBUILD_SOURCE_DATE_EPOCH", str(int(time.time())))
    with held(emulation_lock, on_wait=lambda: None), without_emulation():
        # Proves that the test can fail: foreign programs do not run now.
        with pytest.raises(AssertionError, match="exec format error"):
            docker(engine, *foreign)
        own = bake(
            engine, "debian:trixie", "--platform", "linux/arm64", "--cache-to", "off", "--cache-from", "off",
            "--image", f"{engine.registry}/unemulated/runtime", folder=tmp_path,
        )  # fmt: skip
    built = own.target(None)["components"]
    assert len(built) == len(BUILTIN), "nothing was built"
    assert sum(item["steps"] - item["cached_steps"] for item in built) > len(BUILTIN)
    sizes = [
        [layer["size"] for layer in manifests(engine, tag)["linux/arm64"]["layers"][-len(BUILTIN) :]]
        for tag in (image, own.image("debian:trixie"))
    ]
    for component, size, unemulated in zip(BUILTIN, *sizes, strict=True):
        assert abs(size - unemulated) < 0.01 * size, component.name


def test_the_wheel_works_outside_the_checkout(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    done = subprocess.run(
        [tmp_path / "venv/bin/ohbuild", "render", "debian:trixie", "--image", "localhost:5000/a/b"],
        # a repository without component images, so that the folder has all components
        env={**os.environ, "OHBUILD_COMPONENT_REPOSITORY": "localhost:1/none"},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    folder = tmp_path / ".ohbuild"
    assert 'image = "debian:trixie"' in (folder / "docker-bake.hcl").read_text()
    for name in ("Dockerfile", "Dockerfile.components", "context/wrappers/oh-python", "context/relocate/audit.py"):
        assert (folder / name).is_file()
