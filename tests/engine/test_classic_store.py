"""Docker's classic image store (containerd-snapshotter off): bake, deps, --deps-image, --load and DockerBuilder.

The images go through the registry of the first engine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ohbuild.bake.model import Store
from ohbuild.builders import AgentRuntimeBuildError, DockerBuilder
from ohbuild.docker.buildx import Buildx
from ohbuild.docker.connection import Connection
from ohbuild.engine.state import layout
from ohbuild.errors import UsageError
from tests.engine.contexts import SETTINGS, make_context
from tests.engine.places import own_client
from tests.engine.second import second_engine
from tests.engine.tiny import AMD64, Docker, inspect, job, layers, succeeded
from tests.fakes import FAKES, fake_components


@pytest.fixture(scope="module")
def classic(engine: Connection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    if engine.origin != "ohbuild":
        pytest.skip("the second engine is made of the private engine's programs (OHBUILD_ENGINE=ohbuild)")
    folder = tmp_path_factory.mktemp("classic")
    with second_engine(layout(), folder / "engine", image_store=False) as socket:
        made = replace(engine, host=f"unix://{socket}", config_dir=own_client(engine, folder))
        described = Buildx(made).describe()
        assert (described.driver, described.image_store) == ("docker", False)
        yield made


@pytest.fixture
def base(docker: Docker, place: str, tmp_path: Path) -> str:
    return docker.base(f"{place}/base:1", tmp_path)


def loaded(connection: Connection, image: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Docker(connection)("image", "inspect", image))[0]
    return found


def test_bake_pushes_and_finds_its_components_again(classic: Connection, base: str, place: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"bases": [base], "image": f"{place}/runtime", "platforms": "linux/amd64"}
    prepared = job(classic, tmp_path, **options)
    assert any("cannot export a build cache" in remark for remark in prepared.remarks)
    deps, runtime = succeeded(prepared)
    assert len(deps.components) == len(FAKES)
    image = inspect(runtime.tags[0])
    assert image.digest == runtime.outcome.digest
    assert image.sizes == runtime.sizes
    assert image.labels["org.opencontainers.image.base.name"] == base
    assert len(layers(runtime.tags[0], AMD64)) == len(layers(base, AMD64)) + 1 + len(FAKES)
    assert {inspect(tag).digest for tag in runtime.tags} == {image.digest}
    assert not job(classic, tmp_path, **options).plan.missing


def test_a_deps_image_is_made_and_used(classic: Connection, base: str, place: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"image": f"{place}/runtime", "platforms": "linux/amd64"}
    (deps,) = succeeded(job(classic, tmp_path, deps_only=True, build_image=base, **options))
    ready = job(classic, tmp_path, bases=[base], deps_image=deps.tags[0], **options)
    assert ready.plan.deps is None
    (runtime,) = succeeded(ready)
    assert inspect(runtime.tags[0]).labels["dev.ohbuild.deps.ref"].startswith(f"{place}/deps")


@pytest.mark.parametrize("store", [Store.REGISTRY, Store.DOCKER])
def test_images_are_loaded_with_and_without_a_registry(
    classic: Connection, base: str, place: str, tmp_path: Path, store: Store
) -> None:
    connection = classic if store is Store.REGISTRY else replace(classic, registry=None)
    known = fake_components(tmp_path / "fakes", seed=place)
    options: dict[str, Any] = {"bases": [base], "image": f"{place.partition('/')[2]}/runtime", "output": "load"}
    prepared = job(connection, tmp_path, known, platforms="linux/amd64", **options)
    assert prepared.plan.store is store
    deps, runtime = succeeded(prepared)
    assert runtime.sizes[AMD64] > 0
    found = loaded(connection, runtime.tags[0])
    assert found["Config"]["Labels"]["org.opencontainers.image.base.name"] == base
    ours = loaded(connection, deps.tags[0])["RootFS"]["Layers"]
    assert found["RootFS"]["Layers"][-len(ours) :] == ours
    if store is Store.DOCKER:
        ready = job(connection, tmp_path, known, platforms="linux/amd64", deps_image=deps.tags[0], **options)
        succeeded(ready)


@pytest.mark.parametrize(("push", "load"), [(True, False), (False, True), (True, True)])
def test_a_runtime_builder_pushes_and_loads(
    classic: Connection, place: str, tmp_path: Path, push: bool, load: bool
) -> None:
    tags = [f"{place}/a:1", f"{place}/a:2"]
    context = make_context(tmp_path / "context")
    with DockerBuilder(settings=SETTINGS, push=push, load=load, connect=lambda: classic) as builder:
        assert builder.build(str(context), tags, "linux/amd64", use_local_cache=True) == tags[0]
        assert all(builder.image_exists(tag, push) for tag in tags)
    if push:
        assert len({inspect(tag).digest for tag in tags}) == 1
    if load:
        assert loaded(classic, tags[0])["Id"] == loaded(classic, tags[1])["Id"]


def test_what_it_cannot_do_is_refused_before_anything_is_built(
    classic: Connection, base: str, place: str, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"bases": [base], "image": f"{place}/runtime"}
    with pytest.raises(UsageError, match="one platform at a time"):
        job(classic, tmp_path, platforms="linux/amd64,linux/arm64", **options)
    with pytest.raises(UsageError, match="cannot attach provenance"):
        job(classic, tmp_path, platforms="linux/amd64", provenance=True, **options)
    context = make_context(tmp_path / "context")
    with (
        DockerBuilder(settings=SETTINGS, push=True, connect=lambda: classic) as builder,
        pytest.raises(AgentRuntimeBuildError, match="one platform at a time"),
    ):
        builder.build(str(context), [f"{place}/a:1"], "linux/amd64,linux/arm64")
