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
from tests.engine.baked import COMPONENTS, Baked
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
    for name in ("tmux", "agent-server"):
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
    assert built(succeeded(job(1))) == both(*(component.name for component in COMPONENTS))
    assert built(succeeded(job(2))) == set()
    for path in ("tmux/wrappers/oh-tmux", "agent-server/oh_agent_server/launch.py"):
        with (tmp_path / path).open("a") as file:
            file.write(f"# {place}\n")
        changed(path.partition("/")[0])
