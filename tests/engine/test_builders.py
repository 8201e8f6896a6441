"""DockerBuilder on a real engine: builds, queries, and what it does not change."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ohbuild.builders import AgentRuntimeBuildError, Category, DockerBuilder
from ohbuild.docker.connection import Connection
from ohbuild.docker.progress import Event
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Registry
from ohbuild.openhands.runtime_image import describe
from tests.engine.baked import Baked
from tests.engine.contexts import SETTINGS, digest, make_context
from tests.engine.places import guarded_registry, own_client, small_engine, with_login
from tests.engine.runtime import docker

AMD64 = Platform.parse("linux/amd64")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return make_context(tmp_path / "context")


@pytest.fixture
def builder(engine: Connection) -> Iterator[DockerBuilder]:
    with DockerBuilder(settings=SETTINGS, connect=lambda: engine) as made:
        yield made


@pytest.fixture
def pusher(engine: Connection) -> Iterator[DockerBuilder]:
    with DockerBuilder(settings=SETTINGS, push=True, connect=lambda: engine) as made:
        yield made


def inspect(engine: Connection, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker(engine, "image", "inspect", name))[0]
    return found


def test_pushed_and_not_kept(engine: Connection, pusher: DockerBuilder, place: str, context: Path) -> None:
    tags = [f"{place}/a:1", f"{place}/a:2", f"{place}/b:3"]
    pusher.build(str(context), tags, "linux/amd64,linux/arm64")
    with closing(Registry()) as registry:
        found = [registry.resolve(ImageRef.parse(tag)) for tag in tags]
    assert len({image.digest for image in found}) == 1
    assert [str(platform) for platform in found[0].platforms] == ["linux/amd64", "linux/arm64"]
    with DockerBuilder(settings=SETTINGS, connect=lambda: engine) as local:
        assert not local.image_exists(tags[0], False)
        assert local.image_exists(tags[0])
    # A builder that only pushes has its images in the registry, so it looks there.
    assert pusher.image_exists(tags[0], False)


def test_pushed_and_kept(engine: Connection, place: str, context: Path) -> None:
    with DockerBuilder(settings=SETTINGS, push=True, load=True, connect=lambda: engine) as both:
        name = both.build(str(context), [f"{place}/a:1"])
        assert both.image_exists(name, False)
    with closing(Registry()) as registry:
        assert registry.exists(ImageRef.parse(name))
    docker(engine, "image", "rm", name)


def test_the_platform_is_kept_and_told_apart(
    engine: Connection, builder: DockerBuilder, place: str, context: Path
) -> None:
    """OpenHands' cache tag omitted the platform, so an image for another platform was reused."""
    name = builder.build(str(context), [f"{place}/a:1"], "linux/arm64")
    assert inspect(engine, name)["Architecture"] == "arm64"
    assert builder.image_exists(name, False, platform="linux/arm64")
    assert not builder.image_exists(name, False, platform="linux/amd64")
    docker(engine, "image", "rm", name)


def test_a_folder_of_ours_is_built_with_the_cache_of_the_bake_and_at_its_time(
    engine: Connection, baked_v0: Baked, place: str, context: Path, tmp_path: Path
) -> None:
    steps: list[str] = []
    made = DockerBuilder(
        settings=SETTINGS, push=True, connect=lambda: engine, listener=lambda event: steps.append(event.step)
    )
    image = describe("alpine:3.23", platform="linux/amd64", connect=lambda: engine)
    (ref,) = image.job.plan.cache_from
    cache = f"importing cache manifest from {ref}"
    made.build(str(context), [f"{place}/other:1"])
    assert cache not in steps
    image.write(tmp_path / "ours")
    name = made.build(str(tmp_path / "ours"), [f"{place}/ours:1"], "linux/amd64")
    assert cache in steps
    with closing(Registry()) as registry:
        found = registry.describe(ImageRef.parse(name), [AMD64]).configs[AMD64]
        own = registry.layers(ImageRef.parse(baked_v0.image("alpine:3.23")), AMD64)
        assert registry.layers(ImageRef.parse(name), AMD64) == own
    assert found.created == datetime.fromtimestamp(SETTINGS.source_date_epoch, UTC)


def test_limits_are_a_container_of_its_own(engine: Connection, place: str, context: Path, tmp_path: Path) -> None:
    """The image has no BuildKit, because moby/buildkit is not available here. test_nodes.py tests the limits."""
    mine = replace(engine, config_dir=own_client(engine, tmp_path))
    with DockerBuilder(settings=SETTINGS, push=True, connect=lambda: engine) as made:
        image = made.build(str(context), [f"{place}/none:1"])
    with (
        DockerBuilder(settings=SETTINGS, memory="256m", cpus=0.5, image=image, connect=lambda: mine) as limited,
        pytest.raises(AgentRuntimeBuildError, match="builder 'ohbuild' does not start") as caught,
    ):
        limited.build(str(context), [f"{place}/a:1"])
    assert caught.value.category is Category.NETWORK
    assert "ohbuild" not in docker(mine, "buildx", "ls", "--format", "{{.Name}}").split()
    assert not docker(engine, "ps", "--all", "--quiet", "--filter", "name=buildx_buildkit_ohbuild").split()
    docker(engine, "image", "rm", image)


def test_the_client_that_was_given_is_used(context: Path, engine: Connection, place: str) -> None:
    """OpenHands' builder used `docker.from_env()` regardless of the supplied client."""
    nowhere = replace(engine, host="unix:///nowhere.sock")
    with DockerBuilder(settings=SETTINGS, connect=lambda: nowhere) as made:
        for act in (lambda: made.build(str(context), [f"{place}/a:1"]), lambda: made.image_exists("a:1", False)):
            with pytest.raises(AgentRuntimeBuildError) as caught:
                act()
            assert caught.value.category is Category.NETWORK


def test_a_local_cache_serves_a_builder_that_has_forgotten(
    engine: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    context = make_context(tmp_path / "context")
    kinds: set[str] = set()

    def listen(event: Event) -> None:
        if "COPY file" in event.step and event.kind in ("done", "cached"):
            kinds.add(event.kind)

    with (
        small_engine(engine, tmp_path, megabytes=128) as small,
        DockerBuilder(settings=SETTINGS, connect=lambda: small, listener=listen) as made,
    ):
        for wanted in ("done", "cached", "done"):
            kinds.clear()
            made.build(str(context), ["a:1"], None, None, True)
            assert kinds == {wanted}
            docker(small, "image", "rm", "a:1")
            docker(small, "builder", "prune", "--all", "--force")
            if wanted == "cached":
                shutil.rmtree(tmp_path / "cache")


# --- image_exists


def test_asking_moves_no_layer_and_takes_no_cpu_time(
    engine: Connection, pusher: DockerBuilder, builder: DockerBuilder, place: str, context: Path, registry_log: Path
) -> None:
    """OpenHands' builder pulled the whole image to learn whether it exists."""
    name = pusher.build(str(context), [f"{place}/a:1"])
    by_digest = f"{place}/a@{digest(name)}"
    builder.image_exists(name)
    size = registry_log.stat().st_size
    seconds = []
    for asked, there in ((name, True), (by_digest, True), (f"{place}/a:none", False)):
        for _ in range(3):
            start = time.process_time()
            assert builder.image_exists(asked) is there
            seconds.append(time.process_time() - start)
    assert not builder.image_exists(name, False), "it was pulled"
    lines = [line for line in registry_log.read_bytes()[size:].decode().splitlines() if place.partition("/")[2] in line]
    asked_for = [line.partition('"')[2].partition('"')[0].split()[:2] for line in lines]
    heads = [words for words in asked_for if words[0] == "HEAD"]
    assert len(heads) == len(asked_for) == 9, asked_for
    assert all("/manifests/" in path for _, path in asked_for)
    assert min(seconds[:3]) < 0.1, seconds


def test_not_there_is_not_the_same_as_could_not_ask(
    engine: Connection, builder: DockerBuilder, pusher: DockerBuilder, place: str, tmp_path: Path, context: Path
) -> None:
    assert not builder.image_exists(f"{place}/a/b:c")
    assert not builder.image_exists(f"{place}/a@sha256:{'0' * 64}")
    with pytest.raises(AgentRuntimeBuildError, match="cannot be reached") as caught:
        builder.image_exists("localhost:1/a/b:c")
    assert caught.value.category is Category.NETWORK
    for name in ("", "UPPER/case:1", "a b", "a@sha256:short"):
        with pytest.raises(AgentRuntimeBuildError) as caught:
            builder.image_exists(name)
        assert caught.value.category is Category.CONTEXT

    with guarded_registry(tmp_path) as registry:
        with pytest.raises(AgentRuntimeBuildError, match="requires a login") as caught:
            builder.image_exists(f"{registry}/a/b:c")
        assert caught.value.category is Category.PERMISSION
        assert f"docker login {registry}" in caught.value.hint
        mine = with_login(engine, tmp_path, registry)
        with DockerBuilder(settings=SETTINGS, push=True, connect=lambda: mine) as known:
            assert not known.image_exists(f"{registry}/a/b:c")
            known.build(str(context), [f"{registry}/a/b:c"])
            assert known.image_exists(f"{registry}/a/b:c")
        (tmp_path / "wrong").mkdir()
        mine = with_login(engine, tmp_path / "wrong", registry, password="wrong")
        with DockerBuilder(settings=SETTINGS, push=True, connect=lambda: mine) as unknown:
            with pytest.raises(AgentRuntimeBuildError) as caught:
                unknown.build(str(context), [f"{registry}/a/b:c"])
            assert caught.value.category is Category.PERMISSION
