"""`ohbuild matrix` and `ohbuild deps --components-only`, with fake components and registries."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ohbuild.bake import job
from ohbuild.bake.facts import Facts
from ohbuild.bake.model import Plan
from ohbuild.bake.render import render
from ohbuild.bake.request import make_request
from ohbuild.bake.run import Outcome
from ohbuild.config.settings import Settings
from ohbuild.docker.connection import Connection
from ohbuild.errors import BuildFailed, NoEngine, RegistryError, RegistryRefused
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Image, Registry
from tests import command
from tests.fakes import FAKES
from tests.plans import AMD64, ARM64, DIGEST, IMAGE, component_plan
from tests.runner import outputs_read

TABLES = 'bases = ["debian:trixie", {image = "alpine:3.23", platforms = ["linux/amd64"]}]\n'


class World:
    """Registries without a network.

    Attributes:
        there: Names of components whose images exist.
        silent: Whether registries do not respond.
        refuses: Whether registries refuse access to component images.
    """

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.silent = self.refuses = False
        self.asked: list[str] = []

    def digest(self, _: Registry, image: ImageRef) -> str | None:
        self.asked.append(str(image))
        if self.silent:
            raise RegistryError(f"{image}: registry {image.registry} cannot be reached")
        if self.refuses:
            raise RegistryRefused(f"{image}: registry {image.registry} denied access")
        return DIGEST if image.tag.partition("-")[0] in self.there else None

    def describe(self, _: Registry, image: ImageRef, platforms: Sequence[object] = ()) -> Image:
        return Image(digest=DIGEST, sizes=dict.fromkeys((AMD64, ARM64), 0))


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(Registry, "digest", lambda *words: made.digest(*words))
    monkeypatch.setattr(Registry, "describe", lambda *words: made.describe(*words))
    return made


@pytest.fixture
def ohbuild(world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command on an amd64 machine with the fake components and no engine; gives exit code, stdout and stderr."""

    def nothing() -> Connection:
        raise NoEngine("no Docker with buildx answers", "run `ohbuild engine up`")

    real, tags = job.prepare, job.runtime_tags
    for module in ("bake", "matrix"):
        monkeypatch.setattr(
            f"ohbuild.cli.{module}.prepare", lambda *a, **k: real(*a, known=FAKES, connect=nothing, **k)
        )
    monkeypatch.setattr("ohbuild.cli.matrix.runtime_tags", lambda *a: tags(*a, known=FAKES, connect=nothing))
    monkeypatch.setattr("ohbuild.engine.connect.own_client", lambda: None)
    monkeypatch.setattr("ohbuild.bake.request.native_platform", lambda: AMD64)
    monkeypatch.setattr("ohbuild.cli.matrix.native_platform", lambda: AMD64)
    monkeypatch.setattr("ohbuild.signals.signal.signal", lambda *args: None)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.delenv("GITHUB_OUTPUT", raising=False)

    return partial(command.run, capsys)


def include(done: tuple[int, str, str]) -> list[dict[str, Any]]:
    code, out, err = done
    assert code == 0, err
    assert out.count("\n") == 1
    found: list[dict[str, Any]] = json.loads(out)["include"]
    return found


COMPONENTS = ("matrix", "--for", "components", "--image", IMAGE)


def test_the_matrix_of_components(ohbuild: Command, world: World) -> None:
    world.there = {"core", "python"}
    (entry,) = include(ohbuild(*COMPONENTS, "--platform", "arm64", "--runner", "arm64=own,arm"))
    image = entry.pop("image")
    assert entry == {"component": "tmux", "platform": "linux/arm64", "runner": ["own", "arm"]}
    assert image in world.asked, "exactly this reference is looked up"
    world.there.add("tmux")
    assert ohbuild(*COMPONENTS) == (0, '{"include":[]}\n', "")


def test_the_platforms_are_those_of_the_bases(ohbuild: Command, world: World) -> None:
    assert {each["platform"] for each in include(ohbuild(*COMPONENTS))} == {"linux/amd64"}
    Path("ohbuild.toml").write_text('bases = [{image = "a", platforms = ["linux/arm64"]}]\n')
    assert {each["platform"] for each in include(ohbuild(*COMPONENTS))} == {"linux/arm64"}
    assert {each["platform"] for each in include(ohbuild(*COMPONENTS, "b"))} == {"linux/amd64"}
    assert not any("/a:" in name for name in world.asked), "no base is looked up"


@pytest.mark.parametrize("preflight", ["true", "false"])
def test_a_silent_registry_is_an_error(
    ohbuild: Command, world: World, preflight: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OHBUILD_PREFLIGHT", preflight)
    world.silent = True
    code, out, err = ohbuild(*COMPONENTS)
    assert (code, out) == (4, "")
    assert "registry localhost:5000 cannot be reached\n    check the name and the network: without" in err


def test_a_registry_that_refuses_has_no_image(ohbuild: Command, world: World) -> None:
    """Some registries refuse to look into a repository that does not exist yet."""
    world.refuses = True
    code, out, err = ohbuild(*COMPONENTS)
    assert len(include((code, out, err))) == 3
    assert "denied access; its component images are treated as missing" in " ".join(err.split())


def test_one_silent_answer_among_refusals_is_an_error(ohbuild: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def digest(_: Registry, image: ImageRef) -> None:
        raise (RegistryError if image.tag.startswith("tmux") else RegistryRefused)("no")

    monkeypatch.setattr(Registry, "digest", digest)
    assert ohbuild(*COMPONENTS)[0] == 4


def test_a_ready_deps_image_leaves_no_component_job(ohbuild: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHBUILD_DEPS_IMAGE", "a.b/deps:1")
    code, out, err = ohbuild(*COMPONENTS)
    assert (code, out) == (0, '{"include":[]}\n')
    assert "all images use the deps image a.b/deps:1" in err


def test_the_matrix_of_runtimes(ohbuild: Command, world: World) -> None:
    Path("ohbuild.toml").write_text(TABLES)
    words = ("matrix", "--for", "runtimes", "--platform", "amd64,arm64")
    images = "ohbuild/runtime:debian-trixie,ohbuild/runtime:alpine-3.23"
    assert ohbuild(*words)[1] == (
        f'{{"include":[{{"group":1,"bases":"debian:trixie,alpine:3.23","images":"{images}"}}]}}\n'
    )
    assert [each["bases"] for each in include(ohbuild(*words, "--groups", "9"))] == ["debian:trixie", "alpine:3.23"]
    Path("bases.txt").write_text("a # x\nb\n")
    (entry,) = include(ohbuild(*words, "alpine:3.23", "--bases-file", "bases.txt"))
    assert entry["bases"] == "alpine:3.23,a,b"
    assert world.asked == []


def test_the_images_of_a_runtime_job_are_those_that_it_builds(ohbuild: Command, world: World) -> None:
    Path("ohbuild.toml").write_text(TABLES)
    words = ("--image", IMAGE, "--component", "tmux", "--platform", "linux/amd64")
    (entry,) = include(ohbuild("matrix", "--for", "runtimes", *words))
    code, out, err = ohbuild("bake", *words, "--print")
    assert code == 0, err
    tags = re.findall(r'canonical = .*, tag = "([^"]+)"', out)
    assert len(tags) == 2
    assert entry["images"] == ",".join(f"{IMAGE}:{tag}" for tag in tags)


def test_no_base_is_no_job(ohbuild: Command) -> None:
    code, out, err = ohbuild("matrix", "--for", "runtimes")
    assert (code, out) == (0, '{"include":[]}\n')
    assert "no base is named" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["matrix"], "--for is missing"),
        (["matrix", "--for", "images"], "--for 'images' is not a kind of job"),
        (["matrix", "--for", "runtimes", "--runner", "a=b"], "--runner only applies to --for components"),
        (["matrix", "--for", "components", "--groups", "2"], "--groups only applies to --for runtimes"),
        (["matrix", "--for", "runtimes", "--groups", "0"], "--groups 0 is not a number of groups"),
        (["matrix", "--for", "runtimes", "--groups", "x"], "Invalid value for '--groups'"),
        (["matrix", "--for", "components", "--runner", "x"], "--runner 'x' is not PLATFORM=LABEL"),
        (["matrix", "--for", "components"], "component images would not be pushed"),
        ([*COMPONENTS, "--runner", "arm64=x"], "--runner: linux/arm64 is not one of the platforms"),
        (["matrix", "--for", "runtimes", "Debian"], "perhaps you meant 'debian'"),
        (["matrix", "--for", "runtimes", '[{"image":"a","platforms":"amd64"}]', "--platform", "arm64"], "nothing to"),
        (["matrix", "--for", "runtimes", "--bases-file", "nowhere"], "--bases-file nowhere: No such file"),
        (["bake", "--bases-file", "nowhere"], "--bases-file nowhere: No such file"),
        (["render", "--bases-file", "nowhere"], "--bases-file nowhere: No such file"),
        (["check", "--bases-file", "nowhere"], "--bases-file nowhere: No such file"),
        (["bake", ""], "'' names no base"),
    ],
)
def test_a_wrong_use_is_told(ohbuild: Command, words: list[str], told: str) -> None:
    code, out, err = ohbuild(*words)
    assert told in " ".join(err.replace("│", "").split())
    assert (code, out) == (2, "")


def test_outputs_are_set_in_github_actions(ohbuild: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = tmp_path / "outputs"
    outputs.write_text("earlier=1\n")
    monkeypatch.setenv("GITHUB_OUTPUT", str(outputs))
    runtimes = ("matrix", "--for", "runtimes")
    ohbuild(*runtimes)
    assert outputs.read_text() == "earlier=1\n", "only in GitHub Actions"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    for words, text, empty in (
        ((), '{"include":[]}', "true"),
        (("a",), '{"include":[{"group":1,"bases":"a","images":"ohbuild/runtime:a-latest"}]}', "false"),
    ):
        outputs.write_text("earlier=1\n")
        ohbuild(*runtimes, *words)
        assert outputs_read(outputs.read_text()) == {"earlier": "1", "matrix": text, "empty": empty}
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path))
    code, _, err = ohbuild(*runtimes)
    assert (code, "Is a directory" in err) == (2, True)


def test_bases_of_a_file_are_baked(ohbuild: Command) -> None:
    Path("bases.txt").write_text("alpine:3.23\n")
    code, out, err = ohbuild("bake", "debian", "--bases-file", "bases.txt", "--image", IMAGE, "--print")
    assert code == 0, err
    assert re.findall(r'image = "([^"]+)", from', out) == ["debian", "alpine:3.23"]


def test_deps_components_only_prints_its_targets(ohbuild: Command, world: World) -> None:
    world.there = {"core"}
    words = ("deps", "--components-only", "--image", IMAGE, "--print")
    assert re.findall(r'\{ name = "(\w+)"', ohbuild(*words)[1]) == ["python", "tmux"]
    assert re.findall(r'\{ name = "(\w+)"', ohbuild(*words, "--component", "tmux")[1]) == ["tmux"]
    # a setting names the components of the images; the flag names single component images
    Path("ohbuild.toml").write_text('components = ["tmux"]\n')
    world.there = set()
    assert re.findall(r'\{ name = "(\w+)"', ohbuild(*words)[1]) == ["core", "tmux"]
    assert ohbuild("deps", "--components-only", "--image", IMAGE)[0] == 3


def results_of(plan: Plan, failed: str) -> list[job.Result]:
    """The results of component images, all of which are skipped except the failed one."""
    results = []
    for item in plan.missing:
        error = BuildFailed("it broke", step="[python 1/1] RUN") if item.component == failed else None
        outcome = Outcome(target=item.target.name, error=error, skipped=error is None)
        results.append(job.Result(target=item.target, outcome=outcome, tags=item.target.tags("")))
    return results


@pytest.mark.parametrize("there", [(), ("core", "python", "tmux")])
def test_results_of_components_alone(ohbuild: Command, monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...]) -> None:
    plan = component_plan(there=there)
    prepared = job.Job(
        request=make_request(Settings(image=ImageRef.parse(IMAGE)), FAKES, native=AMD64, only=()),
        facts=Facts(),
        rendered=render(plan),
        renderer=render,
        buildx=None,
        builder=None,
        folder=Path("out"),
    )
    monkeypatch.setattr("ohbuild.cli.bake.prepare", lambda *words, **more: prepared)
    monkeypatch.setattr(job.Job, "run", lambda self, view: results_of(self.plan, "python"))
    words = ("deps", "--components-only", "--image", IMAGE)
    code, out, err = ohbuild(*words)
    data = json.loads(ohbuild(*words, "--json")[1])
    if there:
        assert (code, out) == (0, "nothing to build: all component images exist\n")
        assert data == {"ok": True, "folder": "out", "targets": []}
        return
    assert code == 1
    assert "error: component-python-amd64: it broke\n    step: [python 1/1] RUN\n" in err
    assert not data["ok"]
    assert [(row["target"], row["state"]) for row in data["targets"]] == [
        ("component-core-amd64", "skipped"),
        ("component-python-amd64", "failed"),
        ("component-tmux-amd64", "skipped"),
    ]
