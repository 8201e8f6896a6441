"""Component images: built if missing, copied from, named in labels (with the components of tests/fakes.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ohbuild.docker.connection import Connection
from ohbuild.errors import OhbuildError
from tests.engine.tiny import AMD64, ARM64, Docker, inspect, job, layers, run, succeeded
from tests.fakes import FAKES, fake_components


def test_a_ready_deps_image_is_the_ordinary_way(engine: Connection, docker: Docker, place: str, tmp_path: Path) -> None:
    base = docker.base(f"{place}/base:1", tmp_path)
    made = run(job(engine, tmp_path, deps_only=True, bases=[base], image=f"{place}/runtime"))
    ready = made[0].tags[-1]
    prepared = job(engine, tmp_path, bases=[base], image=f"{place}/runtime", deps_image=ready)
    assert [target.base is not None for target in prepared.plan.targets] == [True]
    results = succeeded(prepared)
    image = inspect(results[0].tags[0])
    assert image.labels["dev.ohbuild.component.python"] == "3.13"
    assert image.env["OH_TMUX"] == 'a "$HOME" \\ b'
    assert image.platforms == (AMD64, ARM64)
    for platform in (AMD64, ARM64):  # one layer per component, as usual
        assert layers(results[0].tags[0], platform) == layers(base, platform) + layers(ready, platform)
    with pytest.raises(OhbuildError, match="is not a deps image"):
        job(engine, tmp_path, bases=[base], image=f"{place}/runtime", deps_image=base)


def test_native_builds_of_each_platform_join(engine: Connection, docker: Docker, place: str, tmp_path: Path) -> None:
    """Each runner builds the deps image of its own platform; an index of both is a deps image for both."""
    base = docker.base(f"{place}/base:1", tmp_path)
    alone = {}
    for platform in (AMD64, ARM64):
        image = f"{place}/{platform.architecture}/runtime"
        prepared = job(engine, tmp_path, deps_only=True, bases=[base], platforms=str(platform), image=image)
        alone[platform] = run(prepared)[0].tags[-1]
    docker("buildx", "imagetools", "create", "--tag", f"{place}/deps:joined", *alone.values())
    ready: dict[str, Any] = {"bases": [base], "image": f"{place}/runtime", "deps_image": f"{place}/deps:joined"}
    (result,) = run(job(engine, tmp_path, **ready))
    assert result.outcome.error is None
    for platform in (AMD64, ARM64):
        ours = layers(alone[platform], platform)
        assert layers(result.tags[0], platform) == layers(base, platform) + ours
    with pytest.raises(OhbuildError, match="has no image for linux/arm64; available: linux/amd64"):
        job(engine, tmp_path, **{**ready, "deps_image": alone[AMD64]})


def test_every_layer_is_a_component_images(engine: Connection, docker: Docker, place: str, tmp_path: Path) -> None:
    base = docker.base(f"{place}/base:1", tmp_path)
    prepared = job(
        engine, tmp_path, fake_components(tmp_path / "fakes", seed=place), bases=[base], image=f"{place}/runtime"
    )
    deps, runtime = run(prepared)
    assert [result.target.component for result in deps.components] == [c.name for c in FAKES for _ in (AMD64, ARM64)]
    for platform in (AMD64, ARM64):
        theirs = [
            layer
            for result in deps.components
            if result.target.platforms == (platform,)
            for layer in layers(result.tags[0], platform)
        ]
        marker, *ours = layers(deps.tags[0], platform)
        assert ours == theirs
        assert layers(runtime.tags[0], platform) == (*layers(base, platform), marker, *theirs)
        for result in deps.components:
            if result.target.platforms == (platform,):
                label = f"dev.ohbuild.component-image.{result.target.component}.{platform.word}"
                assert inspect(runtime.tags[0]).labels[label] == f"{result.tags[0]}@{result.outcome.digest}"


def test_only_what_is_missing_is_built(engine: Connection, docker: Docker, place: str, tmp_path: Path) -> None:
    base = docker.base(f"{place}/base:1", tmp_path)
    fakes = fake_components(tmp_path / "fakes", seed=place)
    values = {"bases": [base], "image": f"{place}/runtime"}

    def built(**more: Any) -> list[str]:
        results = succeeded(job(engine, tmp_path, fakes, **{**values, **more}))
        return [result.target.name for result in results[0].components]

    assert built(platforms="linux/arm64") == [f"component-{c.name}-arm64" for c in FAKES]
    # the other platform is added; another choice of the same components needs no build
    assert built() == [f"component-{c.name}-amd64" for c in FAKES]
    assert built() == []
    assert built(components=["tmux"]) == []
    (tmp_path / "fakes" / "tmux" / "data").write_text("changed")
    assert built() == ["component-tmux-amd64", "component-tmux-arm64"]


def test_the_cache_is_written_by_deps(engine: Connection, docker: Docker, place: str, tmp_path: Path) -> None:
    base = docker.base(f"{place}/base:1", tmp_path)
    prepared = job(engine, tmp_path, bases=[base], image=f"{place}/runtime")
    succeeded(prepared)
    assert len(prepared.plan.cache_to) == 2
    for ref in prepared.plan.cache_to:
        manifest = json.loads(docker("buildx", "imagetools", "inspect", "--raw", ref))
        assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
        assert {layer["mediaType"].rpartition("+")[2] for layer in manifest["layers"]} == {"zstd"}
        # the layers of both platforms, and none of the stages that they were built from
        assert len(manifest["layers"]) == 2 * (1 + len(FAKES)) - 1, "the marker is the same for both"
