"""Creates builders: a container with limits, and a remote BuildKit."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ohbuild.docker import nodes
from ohbuild.docker.connection import Connection
from ohbuild.docker.described import Node
from ohbuild.errors import NoEngine, UsageError
from tests.engine.bridge import bridge


def docker(engine: Connection, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs a docker subcommand."""
    env = {**os.environ, **engine.environment()}
    return subprocess.run([str(engine.docker), *words], env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def name(engine: Connection) -> Iterator[str]:
    """Name of a builder that only this test uses."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    yield name
    nodes.forget(engine, name)


@pytest.fixture
def buildkit_socket(engine: Connection, tmp_path: Path) -> Iterator[str]:
    """Address of a BuildKit."""
    host = engine.host or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if not host.startswith("unix://"):
        pytest.skip("this needs an engine on a socket")
    with bridge(Path(host.removeprefix("unix://")), tmp_path / "b.sock") as address:
        yield address


@pytest.fixture
def no_buildkit(engine: Connection, tmp_path: Path) -> Iterator[str]:
    """An image that is always available but has no BuildKit, because not every machine can pull moby/buildkit."""
    if engine.registry is None:
        pytest.skip("this needs a registry (OHBUILD_ENGINE=ohbuild)")
    image = f"{engine.registry}/test-nodes/{uuid.uuid4().hex[:12]}:1"
    folder = tmp_path / "image"
    folder.mkdir()
    (folder / "Dockerfile").write_text('FROM scratch\nCOPY Dockerfile /\nENTRYPOINT ["/buildkitd"]\n')
    done = docker(engine, "buildx", "build", "--provenance=false", "--push", f"--tag={image}", str(folder))
    assert done.returncode == 0, done.stderr
    yield image
    docker(engine, "image", "rm", image)


def test_a_container_has_the_limits_that_were_asked_for(engine: Connection, name: str, no_buildkit: str) -> None:
    """The container is real, but no BuildKit starts in it, because its image is not available here."""
    options = nodes.docker_container_options(
        memory="512m", memory_swap="1g", cpus=1.5, cpuset="0", image=no_buildkit, network="host"
    )
    node = Node(name=f"{name}0", options=options)
    container = f"buildx_buildkit_{name}0"
    try:
        assert nodes.ensure(engine, name, "docker-container", [node]) is True
        with pytest.raises(NoEngine, match="does not start"):
            nodes.boot(engine, name, timeout=60)
        inspected = docker(engine, "container", "inspect", container)
        assert inspected.returncode == 0, inspected.stderr
        found: dict[str, Any] = json.loads(inspected.stdout)[0]["HostConfig"]
        assert found["Memory"] == 512 * 2**20
        assert found["MemorySwap"] == 2**30
        assert (found["CpuPeriod"], found["CpuQuota"]) == (100_000, 150_000)
        assert found["CpusetCpus"] == "0"
        assert found["NetworkMode"] == "host"
        described = nodes.describe(engine, name)
        assert described is not None
        assert described.nodes[0].options == options, "what buildx keeps is what was asked for"
    finally:
        nodes.remove(engine, name)
    assert docker(engine, "container", "inspect", container).returncode != 0
    assert docker(engine, "volume", "inspect", f"{container}_state").returncode != 0
    assert nodes.describe(engine, name) is None
    nodes.remove(engine, name)  # again: nothing to do


def test_who_comes_at_once_makes_it_once(engine: Connection, name: str, buildkit_socket: str) -> None:
    def make(number: int) -> bool:
        return nodes.ensure(engine, name, "remote", [Node(name=f"{name}{number}")], endpoint=buildkit_socket)

    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(make, range(6)))
    assert made.count(True) == 1
    described = nodes.describe(engine, name)
    assert described is not None
    assert len(described.nodes) == 1


def test_what_buildx_does_not_take_leaves_nothing(engine: Connection, name: str, tmp_path: Path) -> None:
    nowhere = {"clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:1"}}], "current-context": "a"}
    config = {**nowhere, "contexts": [{"name": "a", "context": {"cluster": "a"}}], "apiVersion": "v1", "kind": "Config"}
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    good = Node(name=f"{name}-good")
    wrong = Node(name=f"{name}-wrong", options={"memory": "much"})
    with pytest.raises(NoEngine, match="could not be created"):
        nodes.ensure(engine, name, "docker-container", [wrong])
    assert nodes.describe(engine, name) is None
    unknown = Node(name=f"{name}-wrong", options={"gravity": "9.81"})
    with pytest.raises(UsageError, match="does not support an option"):
        nodes.ensure(
            engine, name, "kubernetes", [good, unknown], environment={"KUBECONFIG": str(tmp_path / "kubeconfig")}
        )
    assert nodes.describe(engine, name) is None, "the first node is gone as well"


def test_docker_s_own_builder_is_not_taken_for_another(engine: Connection) -> None:
    with pytest.raises(UsageError, match="with the docker driver, not docker-container"):
        nodes.ensure(engine, "default", "docker-container", [Node(name="x")])
