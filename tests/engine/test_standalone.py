"""An empty builder transfers none of our layers to build a runtime image for a base that it has never seen.

The registry's access log proves it. The builder is another dockerd's BuildKit, both through buildx's ``remote`` driver
and as that Docker's own builder, or a standalone one (``OHBUILD_TEST_BUILDKIT``, see ``tests/engine/empty.py``).
"""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ohbuild.bake.job import Job, Result, prepare
from ohbuild.config.bases import named_bases
from ohbuild.config.settings import Settings, load_for_bases
from ohbuild.docker.connection import Connection
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Registry
from tests.engine.access_log import Seen, watching
from tests.engine.baked import COMPONENTS, ROOT, Baked, bake
from tests.engine.empty import Empty, empty_builder
from tests.engine.tiny import succeeded
from tests.fakes import fake_components


@pytest.fixture(scope="module")
def standalone(engine: Connection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Empty]:
    """A builder that tests may empty."""
    with empty_builder(engine, tmp_path_factory.mktemp("empty")) as builder:
        yield builder


@pytest.fixture
def place(engine: Connection) -> str:
    """A repository prefix in the engine's registry that only this test uses."""
    assert engine.registry
    return f"{engine.registry}/test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def new_base(engine: Connection, place: str, tmp_path: Path) -> Callable[[str], str]:
    """Pushes a base that only the engine's own builder has seen."""

    def make(name: str) -> str:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "os-release").write_text(f"NAME={place}/{name}\n")
        (folder / "Dockerfile").write_text("FROM scratch\nCOPY os-release /etc/\nENV PATH=/usr/bin:/bin\n")
        words = ["buildx", "build", "--quiet", "--provenance=false", "--platform=linux/amd64,linux/arm64"]
        done = subprocess.run(
            [str(engine.docker), *words, "--output=type=registry", "--tag", f"{place}/{name}:1", str(folder)],
            env={**os.environ, **engine.environment()},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return f"{place}/{name}:1"

    return make


def layers(results: list[Result]) -> set[str]:
    """Returns the layers of all images and platforms of a run, including those of the bases."""
    found: set[str] = set()
    with closing(Registry()) as registry:
        for result in results:
            for platform in result.target.platforms:
                found.update(registry.layers(ImageRef.parse(result.tags[0]), platform))
    return found


def bake_without_layers(job: Job, log: Path) -> list[Result]:
    """Bakes, and asserts that no component was built and no layer was downloaded or uploaded."""
    assert not job.plan.missing
    with watching(log) as seen:
        results = succeeded(job)
    check(seen, results)
    return results


def check(seen: Seen, results: list[Result]) -> None:
    ours = layers(results)
    assert [request for request in seen.requests if request.method == "PUT"], "no push is seen: is it this registry's?"
    assert not seen.downloads & ours
    # Only configs were uploaded: each PATCH belongs to a completed upload.
    assert not ours & set(seen.uploads)
    patches = [request for request in seen.requests if request.method == "PATCH"]
    assert len(patches) <= sum(seen.uploads.values()), (patches, seen.uploads)
    print(f"\n{len(ours)} layers; {seen}")


def test_a_new_base_on_an_empty_builder_moves_no_layer(
    engine: Connection,
    standalone: Empty,
    registry_log: Path,
    new_base: Callable[[str], str],
    place: str,
    tmp_path: Path,
) -> None:
    """Uses small components with 8 MB of incompressible data, so that a transfer would be noticed."""
    fakes = fake_components(tmp_path / "fakes", seed=place)
    (tmp_path / "fakes" / "python" / "data").write_bytes(os.urandom(8_000_000))

    first_base = new_base("first")

    def job(base: str, connection: Connection, builder: str, image: str = "runtime", **more: Any) -> Job:
        values: dict[str, Any] = {"bases": [base], "image": f"{place}/{image}", "builder": builder}
        # Only the real components need a build image, so any existing image will do.
        values |= {"build_image": first_base} | {
            "platforms": "linux/amd64,linux/arm64",
            "ca_bundle": "off",
            "folder": tmp_path / "rendered",
            **more,
        }
        return prepare(Settings(**values), known=fakes, connect=lambda: connection)

    first = succeeded(job(first_base, engine, ""))
    standalone.empty()
    # To repositories without any layers: the registry mounts them.
    bake_without_layers(job(new_base("new"), standalone.connection, standalone.name, "other/runtime"), registry_log)
    # For only one platform, and then for both: the cache for one has not replaced that for both.
    for number, platforms in enumerate(["linux/amd64", "linux/amd64,linux/arm64"]):
        standalone.empty()
        new = new_base(f"again-{number}")
        again = job(new, standalone.connection, standalone.name, f"again-{number}/runtime", platforms=platforms)
        bake_without_layers(again, registry_log)
    # With the deps image from the first builder.
    standalone.empty()
    ready = job(new_base("ready"), standalone.connection, standalone.name, "ready/runtime", deps_image=first[0].tags[1])
    (result,) = bake_without_layers(ready, registry_log)
    with closing(Registry()) as registry:
        for platform in result.target.platforms:
            theirs = registry.layers(ImageRef.parse(first[0].tags[1]), platform)
            assert registry.layers(ImageRef.parse(result.tags[0]), platform)[-len(theirs) :] == theirs


def test_the_real_runtime_for_a_new_base_moves_no_layer(
    engine: Connection,
    baked: Baked,
    standalone: Empty,
    registry_log: Path,
    new_base: Callable[[str], str],
    tmp_path: Path,
) -> None:
    """All components and both platforms, five times: three after an ordinary bake, two after another one."""
    assert baked.target(None)["digest"]

    def attempt(number: int) -> None:
        bases = ["alpine:3.23", new_base(f"real-{number}")]
        flags = {"builder": standalone.name, "folder": tmp_path / "rendered"}
        standalone.empty()
        settings = load_for_bases(flags, named_bases(bases), config=ROOT / "ohbuild.toml")
        results = bake_without_layers(prepare(settings, connect=lambda: standalone.connection), registry_log)
        deps = next(result for result in results if result.target.base is None)
        with closing(Registry()) as registry:
            for platform in deps.target.platforms:
                assert len(registry.layers(ImageRef.parse(deps.tags[0]), platform)) == 2 + len(COMPONENTS)

    for number in range(3):
        attempt(number)
    bake(engine)
    for number in range(3, 5):
        attempt(number)


def test_an_engine_whose_build_cache_is_empty_builds_no_component(
    baked: Baked, standalone: Empty, registry_log: Path, new_base: Callable[[str], str], tmp_path: Path
) -> None:
    """The same holds for Docker's own builder: the components are images, and the assembly is in its cache."""
    assert baked.target(None)["digest"]
    if standalone.docker is None:
        pytest.skip("OHBUILD_TEST_BUILDKIT names a BuildKit that is no Docker's")
    docker = standalone.docker
    standalone.empty()
    flags, bases = {"folder": tmp_path / "rendered"}, ["alpine:3.23", new_base("cold")]
    settings = load_for_bases(flags, named_bases(bases), config=ROOT / "ohbuild.toml")
    bake_without_layers(prepare(settings, connect=lambda: docker), registry_log)
