"""The real components: what a change builds and uploads, and that two builders produce the same images."""

from __future__ import annotations

import shutil
import uuid
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ohbuild.bake.job import Job, Result, prepare
from ohbuild.components.builtin import BUILTIN
from ohbuild.config.settings import Settings
from ohbuild.docker.connection import Connection
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Registry
from tests.engine.access_log import watching
from tests.engine.baked import Baked
from tests.engine.empty import ADDRESS, empty_builder
from tests.engine.pushed import Registry as Pushing
from tests.engine.tiny import succeeded

PLATFORMS = "linux/amd64,linux/arm64"


def built(results: list[Result]) -> set[str]:
    return {result.target.name for result in results[0].components}


def layers(image: str, platform: Platform) -> tuple[str, ...]:
    with closing(Registry()) as registry:
        return registry.layers(ImageRef.parse(image), platform)


def both(*components: str) -> set[str]:
    return {f"component-{name}-{architecture}" for name in components for architecture in ("amd64", "arm64")}


@pytest.fixture(scope="module")
def bases(own_registry: str) -> list[str]:
    """Twenty bases that no builder has seen, in their own repository."""
    place = f"test-{uuid.uuid4().hex[:12]}"
    with closing(Pushing(own_registry)) as pushing:
        return [pushing.image(f"{place}/base-{number}:1").reference for number in range(20)]


def test_a_change_is_built_and_uploaded_once(
    engine: Connection, baked: Baked, registry_log: Path, bases: list[str], tmp_path: Path
) -> None:
    """Changes a wrapper of tmux, then a file of the server, with twenty runtime images each time."""
    assert baked.target(None)["digest"]
    place = bases[0].rpartition("/")[0]
    known = {component.name: component for component in BUILTIN}
    for name in ("tmux", "action-execution-server"):
        own = known[name].folder
        assert own is not None
        known[name] = replace(known[name], folder=shutil.copytree(own, tmp_path / name))

    def job(count: int) -> Job:
        values: dict[str, Any] = {
            "bases": bases[:count], "platforms": PLATFORMS, "folder": tmp_path / "rendered",
            "image": f"{place}/runtime", "deps_repository": f"{place}/deps",
        }  # fmt: skip
        return prepare(Settings(**values), known=tuple(known.values()), connect=lambda: engine)

    def changed(component: str) -> None:
        with watching(registry_log) as seen:
            results = succeeded(job(20))
        assert built(results) == both(component)
        new = {layers(result.tags[0], result.target.platforms[0])[0] for result in results[0].components}
        assert len(new) == 2
        ours = {layer for platform in results[0].target.platforms for layer in layers(results[0].tags[0], platform)}
        moved = {digest: count for digest, count in seen.uploads.items() if digest in ours}
        assert moved == dict.fromkeys(new, 1), "the layer that is new, once for each platform"
        assert not seen.downloads & ours
        for result in results[1:]:
            for platform in result.target.platforms:
                assert new & set(layers(result.tags[0], platform))

    # From the builder's cache into new repositories, so that everything is uploaded first.
    assert built(succeeded(job(1))) == both(*(component.name for component in BUILTIN))
    assert built(succeeded(job(2))) == set()
    for path in ("tmux/wrappers/oh-tmux", "action-execution-server/oh_runtime/parts.py"):
        with (tmp_path / path).open("a") as file:
            file.write(f"# {place}\n")
        changed(path.partition("/")[0])


@pytest.mark.skipif(bool(ADDRESS), reason="this takes another Docker, and OHBUILD_TEST_BUILDKIT names a BuildKit")
def test_another_builder_makes_the_same_images(
    engine: Connection, baked: Baked, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Builds for both platforms, without any cache, on a builder that has never built a component."""
    assert baked.target(None)["digest"]
    wanted = ["core", "tmux", "python", "jupyter"]
    place = f"{engine.registry}/test-{uuid.uuid4().hex[:12]}"
    with empty_builder(engine, tmp_path_factory.mktemp("empty")) as other:
        connection = other.docker
        assert connection is not None

        def job(repository: str | None, *, no_cache: bool = False) -> Job:
            values: dict[str, Any] = {
                "components": wanted, "platforms": PLATFORMS, "component_repository": repository,
                "image": f"{place}/runtime", "folder": tmp_path_factory.mktemp("out") / "rendered",
            }  # fmt: skip
            prepared = Settings(**values)
            return prepare(
                prepared, known=BUILTIN, connect=lambda: connection or engine, deps_only=True, no_cache=no_cache
            )

        ordinary = job(None).plan
        assert not ordinary.missing
        results = succeeded(job(f"{place}/again", no_cache=True))
    assert built(results) == both(*wanted)
    before = {item.target.name: item.image.digest for item in ordinary.images}
    after = {result.target.name: result.outcome.digest for result in results[0].components}
    assert after == before, "image for image, not only layer for layer"
