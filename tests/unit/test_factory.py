"""Creation of builders by the name of a runtime."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ohbuild.builders import (
    AgentRuntimeBuildError,
    Category,
    DockerBuilder,
    KubernetesBuilder,
    RuntimeBuilder,
    create_builder,
    factory,
)
from ohbuild.builders.factory import BUILTIN, KnownBuilders, known_builders
from ohbuild.builders.request import BuildRequest
from ohbuild.config.settings import Settings
from ohbuild.entry_points import Problem
from ohbuild.images.reference import ImageRef

PLAIN: dict[str, Any] = {"ca_bundle": "off"}


class Other(RuntimeBuilder):
    """A builder as a third-party package would provide it."""

    def __init__(self, *, settings: Settings, colour: str = "") -> None:
        self.colour = colour

    def build(self, *args: Any, **kwargs: Any) -> str:
        return "a:b"

    def image_exists(self, image_name: str, pull_from_repo: bool = True) -> bool:
        return True


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    found = KnownBuilders(builders={"other": Other}, problems=(Problem("broken", "bad 1.0", "ImportError: no"),))
    monkeypatch.setattr(factory, "known_builders", lambda: found)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("docker", DockerBuilder), ("local", DockerBuilder), ("cli", DockerBuilder), ("kubernetes", KubernetesBuilder)],
)
def test_by_name(name: str, kind: type[RuntimeBuilder]) -> None:
    assert type(create_builder(name, settings=Settings(**PLAIN))) is kind


def test_by_configuration() -> None:
    settings = Settings(**PLAIN)
    assert type(create_builder(settings=settings)) is DockerBuilder
    assert type(create_builder(settings=Settings(**PLAIN, runtime="kubernetes"))) is KubernetesBuilder
    openhands = SimpleNamespace(
        runtime="kubernetes", enable_browser=True, sandbox=SimpleNamespace(platform="linux/arm64", timeout=3)
    )
    made = create_builder(config=openhands, settings=settings)
    assert isinstance(made, KubernetesBuilder)
    assert [str(platform) for platform in made.platforms] == ["linux/arm64"]
    made = create_builder("docker", config=openhands, settings=settings, platform="linux/amd64")
    assert isinstance(made, DockerBuilder)
    assert [str(platform) for platform in made.platforms] == ["linux/amd64"]


@pytest.mark.parametrize(
    ("output", "options", "pushes", "loads"),
    [
        ("auto", {}, False, True),
        ("load", {}, False, True),
        ("push", {}, True, False),
        ("push", {"load": True}, False, True),
        ("auto", {"push": True}, True, False),
        ("auto", {"push": True, "load": True}, True, True),
        ("push", {"push": False}, False, True),
    ],
)
def test_where_images_go(output: str, options: dict[str, Any], pushes: bool, loads: bool) -> None:
    made = create_builder("docker", settings=Settings(**{**PLAIN, "output": output}), **options)
    assert isinstance(made, DockerBuilder)
    assert (made.push, made.load) == (pushes, loads)


def test_of_another_package() -> None:
    made = create_builder("other", settings=Settings(**PLAIN), colour="red")
    assert isinstance(made, Other)
    assert made.colour == "red"


@pytest.mark.parametrize(
    ("name", "options", "message", "hint"),
    [
        ("kubernets", {}, "unknown builder or runtime 'kubernets'", "'kubernetes'"),
        ("broken", {}, "of bad 1.0: ImportError: no", "ohbuild components"),
        ("docker", {"colour": "red"}, "invalid options for the builder", ""),
        ("docker", {"max_builds": 0}, "max_builds: 0 is less than 1", "at least one"),
        ("docker", {"timeout": -1}, "timeout: -1 is negative", ""),
        ("docker", {"push": False, "load": False}, "would be discarded", ""),
        ("docker", {"platform": "linux/amd46"}, "amd46", "amd64"),
        ("docker", {"memory": "lots"}, "not an amount of memory", "4g"),
        ("docker", {"cpus": -1}, "cpus: -1 is not a valid number", ""),
    ],
)
def test_what_is_wrong_is_an_error_of_the_context(name: str, options: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(AgentRuntimeBuildError) as caught:
        create_builder(name, settings=Settings(**PLAIN), **options)
    assert caught.value.category is Category.CONTEXT
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_no_plugin_can_take_a_name_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = [(name, "other 1.0", lambda **options: None) for name in BUILTIN]
    monkeypatch.setattr(factory, "loaded", lambda group, problems, read: iter(offered))
    found = known_builders()
    assert not found.builders
    assert [problem.name for problem in found.problems] == list(BUILTIN)


@pytest.mark.parametrize(
    ("option", "offered"),
    [
        ("--secret=id=cargo,src=x", True),
        ("--label=id=ca", True),
        ("--secret=id=ca,src=x", False),
        ("--secret=type=file,id=ca", False),
    ],
)
def test_certificates_are_offered_unless_the_caller_brings_some(tmp_path: Path, option: str, offered: bool) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("certificates")
    made = DockerBuilder(settings=Settings(**{**PLAIN, "ca_bundle": str(bundle)}))
    request = BuildRequest(folder=tmp_path, tags=(ImageRef.parse("a:b"),), options=(option,))
    words = made._secrets(request, tmp_path)
    assert words == ([f"--secret=id=ca,src={tmp_path / 'ca.crt'}"] if offered else [])
