"""The contract of a runtime image on every base and in every mode: one assertion per cell."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ohbuild.components.choice import ACTION_EXECUTION_SERVER, AGENT_SERVER, BOTH
from ohbuild.docker.client import LABEL
from ohbuild.docker.connection import Connection
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Registry
from ohbuild.verify.model import State
from tests.engine.baked import ROOT, Baked, ohbuild
from tests.engine.bases import registry_of
from tests.engine.broken import LIBRARY, without
from tests.engine.matrix import ROWS, Images, Matrix, Row, components_of, make_images
from tests.engine.runtime import docker

CELLS = [pytest.param(row, point, id=f"{row.name}-{point}") for row in ROWS for point in row.points]


@pytest.fixture(scope="session")
def wanted(request: pytest.FixtureRequest) -> list[Row]:
    """The rows that are selected in this test run (`-k` may deselect most)."""
    named = {row.name for item in request.session.items if isinstance(row := _parameters(item).get("row"), Row)}
    return [row for row in ROWS if row.name in named]


def _parameters(item: pytest.Item) -> dict[str, object]:
    callspec = getattr(item, "callspec", None)
    return dict(callspec.params) if callspec else {}


@pytest.fixture(scope="session")
def images(engine: Connection, wanted: list[Row]) -> Images:
    """All bases, with a runtime image for each from one bake."""
    if not registry_of(engine):
        pytest.skip("your own Docker is used, and OHBUILD_TEST_REGISTRY names no registry it may push to")
    return make_images(engine, wanted)


@pytest.fixture(scope="session")
def matrix(images: Images, wanted: list[Row], emulation_lock: Path) -> Iterator[Matrix]:
    with closing(Matrix(images, wanted, emulation_lock)) as running:
        yield running


@pytest.mark.parametrize(("row", "point"), CELLS)
def test_cell(matrix: Matrix, row: Row, point: str) -> None:
    verdict = matrix.verdict(row)
    (result,) = (item for item in verdict.points if item.name == point)
    assert result.state is State.OK, "\n".join((*result.reasons, *(verdict.log if point == "server" else ())))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_layers_of_openhands_are_the_same_ones(images: Images, row: Row) -> None:
    platform = Platform.parse(row.platform)
    deps = ImageRef.parse(images.baked[row.server].image(None))
    with closing(Registry()) as registry:
        own = registry.layers(deps, platform)
        layers = registry.layers(ImageRef.parse(images.subject(row).reference), platform)
    # The opaque whiteout, and the paths of the agent-server's clients.
    others = 1 if row.server == ACTION_EXECUTION_SERVER else 2
    assert len(own) == others + len(components_of(row.server))
    assert layers[-len(own) :] == own


def test_another_server_adds_its_own_layer_only(images: Images, wanted: list[Row]) -> None:
    if {row.server for row in wanted} != {row.server for row in ROWS}:
        pytest.skip("some of the rows are deselected")
    with closing(Registry()) as registry:
        layers = {
            server: set(registry.layers(ImageRef.parse(baked.image(None)), Platform.parse("linux/amd64")))
            for server, baked in images.baked.items()
        }
    added = layers[BOTH] - layers[ACTION_EXECUTION_SERVER]
    assert len(added) == 2, "its component, and its clients' paths"
    assert added < layers[AGENT_SERVER]
    assert layers[ACTION_EXECUTION_SERVER] < layers[BOTH]


def test_no_container_and_no_image_is_left(
    engine: Connection, images: Images, matrix: Matrix, wanted: list[Row]
) -> None:
    for row in wanted:
        matrix.verdict(row)
    matrix.close()
    assert not docker(engine, "ps", "--all", "--quiet", "--filter", f"label={matrix.docker.label}")
    left = set(docker(engine, "image", "ls", "--no-trunc", "--format", "{{.Repository}}@{{.Digest}}").split())
    assert not left & {images.subject(row).reference for row in wanted}


def test_bake_can_verify(engine: Connection, baked: Baked, tmp_path: Path) -> None:
    image, folder = f"{registry_of(engine)}/matrix/verified", str(tmp_path / "rendered")
    done = ohbuild("bake", "alpine:3.23", "--platform", "linux/amd64", "--cache-to", "off", "--verify", "--json",
                   "--image", image, "--folder", folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    (verdict,) = json.loads(done.stdout)["verify"]
    assert verdict["ok"]
    assert {point["name"] for point in verdict["points"]} >= {"server", "browse", "closure", "untouched"}


def test_a_broken_component_is_found_and_named(engine: Connection, baked: Baked, tmp_path: Path) -> None:
    image = f"{registry_of(engine)}/matrix/broken:tmux"
    without(engine, baked.image("alpine:3.23"), LIBRARY, image, tmp_path)
    done = ohbuild("verify", image, "--json")
    assert done.returncode == 1, done.stderr
    (verdict,) = json.loads(done.stdout)["images"]
    points = {point["name"]: point for point in verdict["points"]}
    name = LIBRARY.rpartition("/")[2]
    assert [reason for reason in points["closure"]["reasons"] if "/openhands/bin/tmux" in reason and name in reason]
    assert [reason for reason in points["tmux"]["reasons"] if name in reason]
    # The other components are not affected.
    assert points["python"]["state"] == points["chromium"]["state"] == "ok"


def test_what_is_no_runtime_image_is_a_wrong_use(engine: Connection) -> None:
    done = ohbuild("verify", "debian:trixie", "--json")
    assert done.returncode == 2, done.stderr
    assert "is not a runtime image" in json.loads(done.stdout)["error"]["message"]


def test_ctrl_c_leaves_no_container(engine: Connection, baked: Baked) -> None:
    def containers() -> set[str]:
        return set(docker(engine, "ps", "--all", "--quiet", "--filter", f"label={LABEL}").split())

    before = containers()
    command = [sys.executable, "-m", "ohbuild", "verify", baked.image("alpine:3.23")]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 180
    while not (mine := containers() - before):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert not mine & containers()
