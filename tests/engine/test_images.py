"""The images of `make bake` in the registry: platforms, layers and sizes, and how they are built."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from ohbuild.components.choice import choose
from ohbuild.docker.connection import Connection
from tests.engine.baked import COMPONENTS, ROOT, Baked
from tests.engine.runtime import docker

PLATFORMS = {"debian:trixie": {"linux/amd64", "linux/arm64"}, "alpine:3.23": {"linux/amd64"}}
WHOLE, SMALL, ALPINE_SIZE = 420_000_000, 170_000_000, 4_000_000
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
        assert len(own) == 2 + len(COMPONENTS), "the opaque whiteout, a layer for each component, the clients' paths"
        assert [layer["digest"] for layer in manifest["layers"]][-len(own) :] == own


@pytest.mark.parametrize("base", PLATFORMS)
def test_the_agent_server_is_small(engine: Connection, baked: Baked, base: str) -> None:
    """An image on Alpine, which has 4 MB itself; with the layers of Debian, it is larger by the base alone."""
    names = [item.name for item in COMPONENTS]
    small = {item.name for item in choose(COMPONENTS, components=["agent-server"]).components}
    assert small == set(names) - {"chromium", "node", "vscode"}
    for platform, manifest in manifests(engine, baked.image(base)).items():
        sizes = [layer["size"] for layer in manifest["layers"]]
        own = dict(zip(names, sizes[-len(names) - 1 : -1], strict=True))
        rest = sum(size for name, size in own.items() if name in small)
        print(f"\n{base} {platform}: {sum(own.values()) / 1e6:.0f} MB, {rest / 1e6:.0f} MB without browser and VS Code")
        assert 200_000_000 < sum(own.values()) + ALPINE_SIZE < WHOLE
        assert 100_000_000 < rest + ALPINE_SIZE < SMALL


def test_nothing_is_executed_in_a_base(baked: Baked) -> None:
    lines = (ROOT / ".ohbuild/Dockerfile").read_text().splitlines()
    words = {line.split()[0] for line in lines if line and not line.startswith("#")}
    assert words <= {
        "ARG",
        "FROM",
        "ADD",
        "COPY",
        "ENV",
        "ENTRYPOINT",
        "CMD",
        "LABEL",
        "HEALTHCHECK",
        "STOPSIGNAL",
        "WORKDIR",
        "EXPOSE",
    }
    assert [line for line in lines if line.startswith("WORKDIR")] == ["WORKDIR /"], "this folder exists"
    assert {line.split()[1] for line in lines if line.startswith(("COPY", "ADD"))} == {"--link"}
    assert not [line for line in lines if "--chown" in line.split("#")[0] or "--chmod" in line.split("#")[0]]


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
