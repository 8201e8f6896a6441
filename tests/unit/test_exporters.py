"""What is exported how, for every combination of driver, image store, output and number of platforms."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ohbuild.bake.facts import Facts
from ohbuild.bake.plan import plan_notes
from ohbuild.bake.render import render
from ohbuild.bake.run import check
from ohbuild.builders import DockerBuilder
from ohbuild.builders.buildx import _attests
from ohbuild.builders.request import BuildRequest
from ohbuild.config.settings import Settings
from ohbuild.docker.buildx import Builder
from ohbuild.docker.exporters import Exporter
from ohbuild.errors import UsageError
from ohbuild.images.reference import ImageRef
from tests.plans import component_plan, planned
from tests.unit.conftest import Bake

DRIVERS = ("docker", "docker-container", "remote", "kubernetes")
CLASSIC = {"driver": "docker", "image_store": False}
PUSHED = {"type": "registry", "store": False, "compression": "zstd", "oci-mediatypes": True}


@pytest.mark.parametrize(
    ("driver", "platforms", "load", "provenance"), [*product(DRIVERS, (1, 2), *[(True, False)] * 2)]
)
def test_what_each_builder_can_export(driver: str, platforms: int, load: bool, provenance: bool) -> None:
    able = Exporter(driver=driver)
    assert able.index
    assert able.caches
    if driver != "docker" and load and platforms > 1:
        with pytest.raises(UsageError, match=rf"builder 'b' \({driver} driver\) cannot load a multi-platform image"):
            able.check("b", platforms, load=load, provenance=provenance)
    else:
        able.check("b", platforms, load=load, provenance=provenance)


@pytest.mark.parametrize(("platforms", "load", "provenance"), [*product((1, 2), *[(True, False)] * 2)])
def test_what_the_classic_store_can_export(platforms: int, load: bool, provenance: bool) -> None:
    classic = Exporter(**CLASSIC)  # type: ignore[arg-type]
    assert not classic.index
    assert not classic.caches
    if platforms == 1 and not provenance:
        classic.check("b", platforms, load=load, provenance=provenance)
        return
    told = "one platform at a time" if platforms > 1 else "cannot attach provenance"
    with pytest.raises(UsageError, match=told) as caught:
        classic.check("b", platforms, load=load, provenance=provenance)
    assert "containerd image store" in caught.value.hint


@pytest.mark.parametrize(
    ("driver", "image_store", "push", "load", "outputs"),
    [
        ("docker", True, True, False, [PUSHED]),
        ("docker", True, False, True, [{"type": "docker"}]),
        ("docker", True, True, True, [{"type": "image", "push": True}]),
        ("docker", False, True, False, [{"type": "registry"}]),
        ("docker", False, False, True, [{"type": "docker"}]),
        ("docker", False, True, True, [{"type": "image", "push": True}]),
        *((driver, True, True, False, [PUSHED]) for driver in DRIVERS[1:]),
        *((driver, True, False, True, [{"type": "docker"}]) for driver in DRIVERS[1:]),
        *((driver, True, True, True, [{"type": "docker"}, PUSHED]) for driver in DRIVERS[1:]),
    ],
)
def test_the_outputs(driver: str, image_store: bool, push: bool, load: bool, outputs: list[dict[str, object]]) -> None:
    exporter = Exporter(driver=driver, image_store=image_store)
    assert exporter.outputs(push=push, load=load, compression="zstd") == outputs
    assert Exporter(driver=driver, image_store=image_store).pushed("gzip").get("compression", "gzip") == "gzip"


@pytest.mark.parametrize(("output", "image_store"), [*product(("push", "load", "none"), (True, False))])
def test_a_bake_file_asks_for_what_the_builder_can_do(output: str, image_store: bool, bake_print: Bake) -> None:
    values: dict[str, Any] = {"image": "localhost:5000/x/runtime", "bases": ["debian:trixie"], "output": output}
    plan = planned(
        Settings(**values, component_cache="a.b/cache"),
        registry="localhost:5000",
        driver="docker",
        image_store=image_store,
    )
    check(plan, Builder(name="default", driver="docker", image_store=image_store))
    targets = bake_print(render(plan).hcl + 'group "all" { targets = ["components", "default"] }')
    indexed = image_store and output == "push"
    for name in ("deps", "runtime-debian-trixie"):
        assert ("annotations" in targets[name]) is indexed
        assert ("BUILDKIT_MULTI_PLATFORM" in targets[name]["args"]) is indexed
    for target in targets.values():
        assert image_store or not target.get("cache-to")
        for sink in target.get("output", ()):
            if sink["type"] == "registry":
                assert set(sink) == ({"type"} if not image_store else {"type", *PUSHED})
    assert targets["component-core-amd64"]["cache-from"]
    notes = plan_notes(plan, Settings(**values), Facts(driver="docker", image_store=image_store))
    assert any("cannot export a build cache" in note for note in notes) is not image_store


def test_component_images_alone_are_checked_too() -> None:
    builder = Builder(name="default", driver="docker", image_store=False)
    check(component_plan(["core"]), builder)
    with pytest.raises(UsageError, match="cannot attach provenance"):
        check(component_plan(["core"], provenance=True), builder)


def test_a_runtime_builder_asks_for_the_same() -> None:
    settings = Settings.model_validate({"ca_bundle": "off"})
    request = BuildRequest(folder=Path("/x"), tags=(ImageRef.parse("a:b"),))
    classic = Builder(name="default", driver="docker", image_store=False)
    words = DockerBuilder(settings=settings, push=True)._words(request, classic)
    assert words == ["--tag=a:b", "--provenance=false", "--output=type=registry"]
    far = Builder(name="far", driver="remote", image_store=True)
    words = DockerBuilder(settings=settings, push=True)._words(request, far)
    assert words[-1] == "--output=type=registry,store=false,compression=zstd,oci-mediatypes=true"
    assert not _attests(request)
