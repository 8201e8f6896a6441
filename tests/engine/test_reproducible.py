"""The real components again: on another builder, without cache and emulation, they are the same images."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ohbuild.bake.job import Job, prepare
from ohbuild.components.builtin import BUILTIN
from ohbuild.config.settings import Settings
from ohbuild.docker.connection import Connection
from ohbuild.locks import held
from tests.engine.baked import COMPONENTS, Baked
from tests.engine.empty import ADDRESS, empty_builder
from tests.engine.runtime import docker
from tests.engine.tiny import succeeded

BINFMT = Path("/proc/sys/fs/binfmt_misc")
ARM64 = "linux/arm64"
# Settings, and the components that an ordinary bake has built with them: `make bake` builds for both platforms, but the
# action execution server is only built for amd64.
WANTED: list[tuple[dict[str, Any], set[str]]] = [
    ({"server": "both", "platforms": ARM64}, {component.name for component in COMPONENTS}),
    ({"components": ["tmux", "git"], "platforms": "linux/amd64"}, {"core", "tmux", "git"}),
]


@contextmanager
def without_emulation() -> Iterator[None]:
    """Disables emulation within the context: all interpreters of foreign programs."""
    entries = [path for path in BINFMT.iterdir() if path.name not in ("register", "status")]
    on = [path for path in entries if path.read_text().startswith("enabled")]
    for path in on:
        path.write_text("0")
    try:
        yield
    finally:
        for path in on:
            path.write_text("1")


@pytest.mark.skipif(bool(ADDRESS), reason="this takes another Docker, and OHBUILD_TEST_BUILDKIT names a BuildKit")
@pytest.mark.skipif(os.geteuid() != 0 or not BINFMT.is_dir(), reason="only root may switch emulation off")
@pytest.mark.exclusive
def test_another_builder_makes_the_same_images_without_emulation(
    engine: Connection, baked: Baked, emulation_lock: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Builds all components for arm64, and some for amd64, on a builder that has never built a component."""
    foreign = ["run", "--rm", "--platform", ARM64, "--entrypoint", "/bin/true", baked.image("debian:trixie")]
    docker(engine, *foreign)
    place = f"{engine.registry}/test-{uuid.uuid4().hex[:12]}"

    def job(connection: Connection, **more: Any) -> Job:
        values = {"image": f"{place}/runtime", "folder": tmp_path_factory.mktemp("out") / "rendered", **more}
        again = "component_repository" in more
        return prepare(Settings(**values), known=BUILTIN, connect=lambda: connection, deps_only=True, no_cache=again)

    with empty_builder(engine, tmp_path_factory.mktemp("empty")) as other:
        assert other.docker is not None
        with held(emulation_lock, on_wait=lambda: None), without_emulation():
            # Proves that the test can fail: foreign programs do not run now.
            with pytest.raises(AssertionError, match="exec format error"):
                docker(engine, *foreign)
            for wanted, ordinary in WANTED:
                images = [image for image in job(engine, **wanted).plan.images if image.exists]
                assert {image.component for image in images} >= ordinary
                before = {image.target.name: image.image.digest for image in images}
                (deps,) = succeeded(job(other.docker, component_repository=f"{place}/again", **wanted))
                after = {result.target.name: result.outcome.digest for result in deps.components}
                assert after.keys() >= before.keys(), "everything is built"
                assert {name: after[name] for name in before} == before, "image for image, not only layer for layer"
