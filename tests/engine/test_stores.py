"""Builds without a registry: component images in Docker's own store, or in OCI layouts for a remote builder."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ohbuild.bake.job import Job, prepare
from ohbuild.bake.model import Store
from ohbuild.bake.render import standalone
from ohbuild.config.settings import Settings
from ohbuild.docker.connection import Connection
from ohbuild.folder import write_folder
from tests.engine.bridge import bridge
from tests.engine.places import own_client
from tests.engine.tiny import succeeded
from tests.fakes import FAKES, fake_components


@pytest.fixture
def alone(engine: Connection, tmp_path: Path) -> Connection:
    """The engine as if it had no registry, with a separate client configuration."""
    if not engine.registry:
        pytest.skip("the base of this test is in the engine's registry (OHBUILD_ENGINE=ohbuild)")
    return replace(engine, registry=None, config_dir=own_client(engine, tmp_path))


@pytest.fixture
def far(engine: Connection, alone: Connection) -> Iterator[str]:
    """A builder with the ``remote`` driver."""
    assert engine.host is not None
    socket = Path(f"/run/ohbuild/{uuid.uuid4().hex[:8]}.sock")
    with bridge(Path(engine.host.removeprefix("unix://")), socket) as address:
        docker(alone, "buildx", "create", "--name", "far", "--driver", "remote", address)
        yield "far"


def docker(connection: Connection, *words: str) -> str:
    environment = {**os.environ, **connection.environment()}
    done = subprocess.run(
        [str(connection.docker), *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def make(connection: Connection, folder: Path, name: str, **more: Any) -> Job:
    values: dict[str, Any] = {
        "bases": ["debian:trixie"], "image": name, "output": "load", "platforms": "linux/amd64",
        "ca_bundle": "off", "folder": folder / "rendered", "component_cache": "off", **more,
    }  # fmt: skip
    return prepare(Settings(**values), known=fake_components(folder / "fakes", seed=name), connect=lambda: connection)


def layers(connection: Connection, image: str) -> list[str]:
    found: list[str] = json.loads(docker(connection, "image", "inspect", image))[0]["RootFS"]["Layers"]
    return found


@pytest.mark.parametrize("kind", [Store.DOCKER, Store.LAYOUT])
def test_the_two_passes_without_a_registry(
    alone: Connection, far: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Store
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    name = f"ohbuild-test/{uuid.uuid4().hex[:12]}"
    more = {"builder": far} if kind is Store.LAYOUT else {}
    job = make(alone, tmp_path, name, **more)
    assert job.plan.store is kind
    deps, runtime = succeeded(job)
    assert [result.target.component for result in deps.components] == [component.name for component in FAKES]
    again = make(alone, tmp_path, name, **more)
    assert not again.plan.missing, "they are found again"
    assert succeeded(again)[1].components == ()
    # one layer per component, the same in both images
    ours = layers(alone, deps.tags[0])
    assert len(ours) == 1 + len(FAKES)
    assert layers(alone, runtime.tags[0])[-len(ours) :] == ours
    # a standalone folder uses them too
    write_folder(standalone(again.plan, again.plan.runtimes[0]), tmp_path / "alone", 0)
    builder = ["--builder", far] if kind is Store.LAYOUT else []
    words = [*builder, *again.context_options, "--load", "--provenance=false", f"--tag={name}:alone"]
    docker(alone, "buildx", "build", *words, str(tmp_path / "alone"))
    assert layers(alone, f"{name}:alone") == layers(alone, runtime.tags[0])
    images = {tag for result in (deps, runtime) for tag in result.tags} | {f"{name}:alone"}
    if kind is Store.DOCKER:
        images |= {tag for result in deps.components for tag in result.tags}
        # a deps image that exists only in Docker's store refers to them
        ready = make(alone, tmp_path, name, deps_image=deps.tags[0])
        assert layers(alone, succeeded(ready)[0].tags[0]) == layers(alone, runtime.tags[0])
    docker(alone, "image", "rm", "--force", *images)
