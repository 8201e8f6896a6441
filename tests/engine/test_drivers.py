"""The contract of a ``RuntimeBuilder``, asked of each of buildx's drivers (tests/engine/drivers.py)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from ohbuild.builders import AgentRuntimeBuildError, Category
from ohbuild.docker.connection import Connection
from ohbuild.docker.progress import Event
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Image, Registry
from tests.engine.contexts import digest, make_context
from tests.engine.drivers import Driver, Place, supporting
from tests.engine.places import guarded_registry
from tests.engine.runtime import docker
from tests.ports import free_ports


def every(*features: str) -> pytest.MarkDecorator:
    """Runs a test for each driver that supports these features."""
    return pytest.mark.parametrize("driver", supporting(*features), ids=lambda driver: driver.name)


@pytest.fixture
def ready(driver: Driver, engine: Connection, tmp_path: Path) -> Iterator[Place]:
    if engine.origin != "ohbuild":
        pytest.skip("this needs an engine on a socket, with a registry (OHBUILD_ENGINE=ohbuild)")
    with driver.ready(engine, tmp_path) as place:
        yield place


@pytest.fixture
def slow(tmp_path: Path) -> Callable[[], Path]:
    """Makes contexts whose last step takes a minute."""
    lines = ("FROM alpine:3.23", "COPY file /", "RUN sleep 60")
    return lambda: make_context(tmp_path / f"slow{len(list(tmp_path.iterdir()))}", *lines)


def resolve(name: str) -> Image:
    with closing(Registry()) as registry:
        return registry.resolve(ImageRef.parse(name))


@every()
def test_every_tag_of_every_platform_is_pushed(ready: Place, place: str, tmp_path: Path) -> None:
    """OpenHands' builder dropped every tag after the second, and did not support registries with a port."""
    tags = [f"{place}/a:source", f"{place}/a:lock", f"{place}/a:versioned", f"{place}/other/b"]
    context = make_context(tmp_path / "context")
    with ready.make() as builder:
        assert not builder.image_exists(tags[0])
        name = builder.build(str(context), tags, "linux/amd64,linux/arm64", ["--build-arg=WORD=x"])
        assert name == tags[0]
        assert all(builder.image_exists(tag) for tag in tags)
    found = [resolve(tag) for tag in tags]
    assert len({image.digest for image in found}) == 1
    assert [str(platform) for platform in found[0].platforms] == ["linux/amd64", "linux/arm64"]


@every("load")
def test_what_is_loaded_is_in_the_local_store(ready: Place, place: str, tmp_path: Path) -> None:
    tags = [f"{place}/a:1", f"{place}/other/b"]
    with ready.make(push=False, load=True) as builder:
        name = builder.build(str(make_context(tmp_path / "context")), tags, None, ["--build-arg=WORD=x"])
        assert all(builder.image_exists(tag, False) for tag in tags)
    found = [json.loads(docker(ready.client, "image", "inspect", tag))[0] for tag in tags]
    assert len({image["Id"] for image in found}) == 1
    assert name == tags[0]
    assert found[0]["Config"]["Labels"]["word"] == "x"
    assert f"{place}/other/b:latest" in found[0]["RepoTags"]
    docker(ready.client, "image", "rm", *tags)


@pytest.mark.parametrize("driver", [item for item in supporting("load") if "load platforms" in item.lacks])
def test_what_cannot_be_loaded_is_refused(ready: Place, place: str, tmp_path: Path) -> None:
    context = make_context(tmp_path / "context")
    with (
        ready.make(push=False, load=True) as builder,
        pytest.raises(AgentRuntimeBuildError, match="cannot load a multi-platform image") as caught,
    ):
        builder.build(str(context), [f"{place}/a:1"], "linux/amd64,linux/arm64")
    assert caught.value.category is Category.CONTEXT


@every()
def test_the_default_builder_and_the_context_stay(ready: Place, place: str, tmp_path: Path) -> None:
    """OpenHands' builder ran `docker buildx use default`."""
    docker(ready.client, "buildx", "create", "--name", "chosen", "--driver", "remote", "--use", "tcp://127.0.0.1:1")
    assert ready.client.config_dir is not None
    watched = [ready.client.config_dir / "buildx" / name for name in ("current", "defaults", "instances/chosen")]
    watched.append(ready.client.config_dir / "config.json")

    def state() -> list[str]:
        files = [path for item in watched for path in ([item] if item.is_file() else sorted(item.rglob("*")))]
        return [f"{path} {path.read_text()}" for path in files if path.is_file()]

    before = state()
    assert any('"chosen"' in text for text in before)
    with ready.make() as builder:
        builder.build(str(make_context(tmp_path / "context")), [f"{place}/a:1"])
        assert state() == before
    assert state() == before
    assert docker(ready.client, "buildx", "inspect").splitlines()[0].split() == ["Name:", "chosen"]


@every()
def test_a_failing_step_is_reported_with_its_line_and_its_log(ready: Place, place: str, tmp_path: Path) -> None:
    lines = ("FROM alpine:3.23", "RUN true", "RUN echo first; echo the last words; exit 3")
    with ready.make() as builder, pytest.raises(AgentRuntimeBuildError) as caught:
        builder.build(str(make_context(tmp_path / "context", *lines)), [f"{place}/a:1"])
    error = caught.value
    assert (error.category, error.where) == (Category.BUILD, "Dockerfile:3")
    assert "exit code: 3" in error.message
    assert error.step.startswith("[3/3] RUN echo first")
    assert error.log == ("first", "the last words")


@every()
def test_a_file_that_is_missing_is_reported_with_its_line(ready: Place, place: str, tmp_path: Path) -> None:
    with ready.make() as builder, pytest.raises(AgentRuntimeBuildError) as caught:
        builder.build(str(make_context(tmp_path / "context", "FROM scratch", "COPY gone /")), [f"{place}/a:1"])
    assert (caught.value.category, caught.value.where) == (Category.CONTEXT, "Dockerfile:2")
    assert "gone" in caught.value.message


@every()
def test_a_registry_that_refuses_or_is_down_is_told_apart(ready: Place, tmp_path: Path) -> None:
    context = str(make_context(tmp_path / "context"))
    with guarded_registry(tmp_path) as registry, ready.make() as builder:
        with pytest.raises(AgentRuntimeBuildError) as caught:
            builder.build(context, [f"{registry}/a:1"])
        assert caught.value.category is Category.PERMISSION, caught.value
        assert f"docker login {registry}" in caught.value.hint
        with pytest.raises(AgentRuntimeBuildError, match="connection refused") as caught:
            builder.build(context, [f"localhost:{free_ports()}/a:1"])
        assert caught.value.category is Category.NETWORK, caught.value


@every()
def test_many_at_once_get_their_own_images(ready: Place, place: str, tmp_path: Path) -> None:
    """Over two builders of one name."""
    folders = [make_context(tmp_path / f"c{n}", word=f"{place} {n}") for n in range(4)]
    with ready.make(max_builds=2) as one, ready.make(max_builds=2) as two, ThreadPoolExecutor(4) as pool:
        built = [
            pool.submit((one, two)[number % 2].build, str(folder), [f"{place}/a:{number}"])
            for number, folder in enumerate(folders)
        ]
        assert [item.result() for item in built] == [f"{place}/a:{number}" for number in range(4)]
    assert len({digest(f"{place}/a:{number}") for number in range(4)}) == 4


@every("stop")
def test_one_is_cancelled_and_the_other_goes_on(
    ready: Place, place: str, slow: Callable[[], Path], tmp_path: Path
) -> None:
    started, cancel = threading.Event(), threading.Event()

    def listen(event: Event) -> None:
        if "RUN sleep 60" in event.step:
            started.set()

    with ready.make(listener=listen) as builder, ThreadPoolExecutor(2) as pool:
        first = pool.submit(builder.build, str(slow()), [f"{place}/a:1"], cancel=cancel)
        assert started.wait(60)
        two = make_context(tmp_path / "two", "FROM alpine:3.23", "COPY file /", "RUN sleep 1")
        second = pool.submit(builder.build, str(two), [f"{place}/a:2"])
        cancel.set()
        with pytest.raises(AgentRuntimeBuildError, match="was cancelled") as caught:
            first.result()
        assert caught.value.category is Category.CANCELLED
        assert second.result() == f"{place}/a:2"
        assert not builder.image_exists(f"{place}/a:1")


@every("stop")
def test_closing_stops_what_runs(ready: Place, place: str, slow: Callable[[], Path]) -> None:
    started = threading.Event()
    builder = ready.make(listener=lambda event: started.set())
    folder = str(slow())
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(builder.build, folder, [f"{place}/a:1"])
        assert started.wait(60)
        builder.close()
        with pytest.raises(AgentRuntimeBuildError) as caught:
            running.result()
    assert caught.value.category is Category.CANCELLED
    with pytest.raises(AgentRuntimeBuildError, match="closed"):
        builder.build(folder, [f"{place}/a:1"])
    builder.close()


@every("stop")
def test_the_time_that_was_given_is_kept(ready: Place, place: str, slow: Callable[[], Path]) -> None:
    start = time.monotonic()
    with ready.make() as builder, pytest.raises(AgentRuntimeBuildError, match="timed out after 3 s") as caught:
        builder.build(str(slow()), [f"{place}/a:1"], timeout=3)
    assert caught.value.category is Category.RESOURCE
    assert time.monotonic() - start < 50
