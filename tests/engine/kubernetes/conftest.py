"""A cluster for ``KubernetesBuilder``: an API server double with a real BuildKit behind it.

The double checks the token and records all objects and calls. buildx reaches BuildKit through ``exec``, as in a
cluster. No test shows whether a real cluster would accept these objects.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ohbuild.builders.kubernetes import KubernetesBuilder
from ohbuild.docker.connection import Connection
from tests.engine.kubernetes_api import Cluster, serve


@pytest.fixture
def docker_socket(engine: Connection) -> Path:
    """Socket of the engine."""
    host = engine.host or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if not host.startswith("unix://") or engine.registry is None:
        pytest.skip("this needs an engine on a socket, with a registry (OHBUILD_ENGINE=ohbuild)")
    return Path(host.removeprefix("unix://"))


@pytest.fixture
def client(engine: Connection, docker_socket: Path, tmp_path: Path) -> Connection:
    """The engine with a separate client configuration, so that no one else sees this test's builders."""
    own = engine.config_dir or Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    folder = tmp_path / "docker"
    folder.mkdir()
    for name in ("cli-plugins", "config.json"):
        if (own / name).exists():
            (folder / name).symlink_to(own / name)
    return replace(engine, config_dir=folder, host=f"unix://{docker_socket}")


@pytest.fixture
def cluster(docker_socket: Path, tmp_path: Path) -> Iterator[Cluster]:
    """The double. ``tmp_path / "kubeconfig"`` points to it."""
    with serve(docker_socket, tmp_path) as double:
        yield double


@pytest.fixture
def make(client: Connection, tmp_path: Path) -> Callable[..., KubernetesBuilder]:
    """Creates builders on the double."""

    def builder(builder: str = "k8s", **options: Any) -> KubernetesBuilder:
        given = {"kubeconfig": tmp_path / "kubeconfig", "timeout": 5, **options}
        return KubernetesBuilder(builder=builder, options=given, connect=lambda: client)

    return builder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A build context that builds quickly, with different layers in each test and for each platform."""
    place = tmp_path / "context"
    place.mkdir()
    (place / "Dockerfile").write_text("FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /architecture\n")
    for architecture in ("amd64", "arm64"):
        (place / architecture).write_text(f"{architecture} {uuid.uuid4()}\n")
    return place


@pytest.fixture
def tag(engine: Connection) -> Iterator[str]:
    """A unique tag in the engine's registry. Docker's BuildKit keeps pushed images, so they are removed at the end."""
    repository = f"{engine.registry}/test-kubernetes/{uuid.uuid4().hex[:12]}"
    yield f"{repository}:1"
    env = {**os.environ, **engine.environment()}
    docker = [str(engine.docker), "image"]
    kept = subprocess.run([*docker, "ls", "--quiet", repository], env=env, capture_output=True, text=True, check=True)
    for image in set(kept.stdout.split()):
        subprocess.run([*docker, "rm", "--force", image], env=env, capture_output=True, check=False)
