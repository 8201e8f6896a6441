"""OpenHands' old command line as a user would type it, from the deps image to a running runtime."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ohbuild.bake.job import prepare
from ohbuild.config.settings import load
from ohbuild.docker.connection import Connection
from ohbuild.errors import ExitCode
from ohbuild.images.platform import native_platform
from ohbuild.openhands.tags import REPOSITORY_VARIABLE
from tests.engine.runtime import docker, started
from tests.fakes import fake_components

Run = Callable[..., "subprocess.CompletedProcess[str]"]
# The smallest choice, because these tests are about the command line.
SMALL = ("--plugin", "agent_skills", "--no_enable_browser")


@pytest.fixture(scope="module")
def place(engine: Connection, own_registry: str) -> Iterator[str]:
    """A repository prefix that only this test uses. Images pulled from it are removed at the end."""
    place = f"{own_registry}/test-{secrets.token_hex(6)}"
    yield place
    if images := docker(engine, "image", "ls", "--quiet", f"{place}/*").split():
        docker(engine, "image", "rm", "--force", *images)


@pytest.fixture(scope="module")
def run(engine: Connection, place: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("cwd")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ohbuild.runtime_build", *words]
        environment = {**os.environ, **engine.environment(), REPOSITORY_VARIABLE: f"{place}/runtime"}
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    return run


def ok(done: subprocess.CompletedProcess[str]) -> str:
    """Asserts that a command succeeded, and returns the one line that it printed."""
    assert done.returncode == 0, done.stderr[-4000:]
    (line,) = done.stdout.splitlines()
    return line


def test_deps_first_then_a_runtime_of_its_layers(run: Run, engine: Connection, place: str) -> None:
    missing = run("--base_image", "alpine:3.23", "--use_deps_image", *SMALL, "--push")
    assert missing.returncode == ExitCode.USAGE
    assert "build it with --build_deps_only" in missing.stderr

    deps = ok(run("--build_deps_only", *SMALL, "--push"))
    assert deps.startswith(f"{place}/deps:")

    first = run("--base_image", "alpine:3.23", "--use_deps_image", *SMALL, "--push")
    name = ok(first)
    assert name.startswith(f"{place}/runtime:oh_v1.6.0_")
    assert " RUN " not in first.stderr  # nothing is assembled
    again = run("--base_image", "alpine:3.23", "--deps_image", deps, *SMALL, "--push")
    assert ok(again) == name
    assert "COPY" not in again.stderr  # it already exists
    # Without the deps image it is a different image, so it has a different name.
    assert ok(run("--base_image", "alpine:3.23", *SMALL, "--push")) != name

    with started(engine, name) as runtime:
        assert "Alpine" in runtime.run("cat /etc/os-release")
    labels = json.loads(docker(engine, "image", "inspect", "--format", "{{json .Config.Labels}}", name))
    assert labels["dev.ohbuild.deps.key"]
    assert "chromium" not in labels["dev.ohbuild.components"].split(",")


def test_a_build_folder_is_built_by_hand(run: Run, engine: Connection, place: str, tmp_path: Path) -> None:
    """Like OpenHands' containers/build.sh, sources config.sh and builds the folder with docker."""
    done = run("--base_image", "alpine:3.23", "--build_folder", str(tmp_path), *SMALL)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    script = f'. "{tmp_path}/config.sh"; echo "$DOCKER_IMAGE_TAG $DOCKER_IMAGE_SOURCE_TAG"'
    shown = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True)
    tag, source = shown.stdout.split()
    assert tag == "oh_v1.6.0_image_alpine_tag_3.23"
    # A build without the folder gives the same name, so it must be the same image.
    assert ok(run("--base_image", "alpine:3.23", *SMALL, "--push")) == f"{place}/runtime:{source}"
    image = f"{place}/by-hand:{source}"
    docker(engine, "buildx", "build", "--provenance=false", "--push", "--tag", image, str(tmp_path))
    assert layers(engine, image) == layers(engine, f"{place}/runtime:{source}")


def layers(engine: Connection, image: str) -> list[str]:
    raw = json.loads(docker(engine, "buildx", "imagetools", "inspect", "--raw", image))
    if "manifests" in raw:
        digest = raw["manifests"][0]["digest"]
        repository = image.rpartition(":")[0]
        raw = json.loads(docker(engine, "buildx", "imagetools", "inspect", "--raw", f"{repository}@{digest}"))
    return [layer["digest"] for layer in raw["layers"]]


def test_a_deps_image_that_was_only_loaded_is_found(engine: Connection, tmp_path: Path) -> None:
    image = f"ohbuild-test-{secrets.token_hex(6)}/runtime"
    fakes = fake_components(tmp_path / "fakes", seed=image)
    common = {"image": image, "output": "load", "folder": tmp_path / "folder", "platforms": [str(native_platform())]}
    job = prepare(load(common, folder=tmp_path).settings, deps_only=True, known=fakes)
    (deps,) = job.run(lambda event: None)
    assert deps.outcome.error is None
    try:
        wanted = load({**common, "bases": ["alpine:3.23"], "deps_image": deps.tags[0]}, folder=tmp_path)
        ready = prepare(wanted.settings, known=fakes)
        assert ready.plan.deps_image is not None
        assert ready.plan.deps_image.labels["dev.ohbuild.components"] == "core,python,tmux"
        (runtime,) = ready.run(lambda event: None)
        assert runtime.outcome.error is None
        shown = docker(engine, "run", "--rm", "--network=none", runtime.tags[0], "cat", "/openhands/python/data")
        assert shown.startswith("python ")
    finally:
        images = docker(engine, "image", "ls", "--quiet", f"{image.partition('/')[0]}/*").split()
        docker(engine, "image", "rm", "--force", *images)
