"""The jobs of a workflow, one after the other on one machine: each component alone, then a bake that only copies."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ohbuild.bake import job
from ohbuild.docker.connection import Connection
from ohbuild.errors import ExitCode
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Registry
from tests import command
from tests.engine.tiny import Docker
from tests.fakes import fake_components
from tests.ports import free_ports

PLATFORMS = ("linux/amd64", "linux/arm64")


@dataclass
class Workflow:
    """Runs commands as the jobs of a workflow do, with fake components.

    Attributes:
        flags: Flags that all jobs have.
        capture: Pytest's capture of the output.
        stderr: Standard error of the last command.
    """

    flags: tuple[str, ...]
    capture: pytest.CaptureFixture[str]
    stderr: str = ""

    def __call__(self, *words: str) -> tuple[int, str]:
        """Runs a command, and returns its exit code and standard output."""
        code, out, self.stderr = command.run(self.capture, *words, *self.flags)
        return code, out

    def data(self, *words: str) -> Any:
        code, out = self(*words)
        assert code == ExitCode.OK, self.stderr
        return json.loads(out)

    def components(self) -> list[dict[str, str]]:
        """The entries of `ohbuild matrix --for components`."""
        entries: list[dict[str, str]] = self.data("matrix", "--for", "components", *_platforms(*PLATFORMS))["include"]
        return entries


def _platforms(*names: str) -> tuple[str, str]:
    return "--platform", ",".join(names)


def exists(image: str) -> bool:
    with closing(Registry()) as registry:
        return registry.exists(ImageRef.parse(image))


@pytest.fixture
def workflow(
    engine: Connection,
    docker: Docker,
    place: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Workflow]:
    """Makes a workflow whose component images do not exist yet."""
    real = job.prepare
    monkeypatch.setattr("ohbuild.signals.signal.signal", lambda *words: None)
    monkeypatch.setenv("OHBUILD_CA_BUNDLE", "off")
    # Only the real components need a build image, so any existing image will do.
    monkeypatch.setenv("OHBUILD_BUILD_IMAGE", docker.base(f"{place}/build:1", tmp_path))
    monkeypatch.setenv("OHBUILD_COMPONENT_REPOSITORY", f"{place}/parts")
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.chdir(tmp_path)

    def make(broken: str = "") -> Workflow:
        known = fake_components(tmp_path / "fakes", seed=place, broken=broken)
        for module in ("bake", "matrix"):
            monkeypatch.setattr(
                f"ohbuild.cli.{module}.prepare",
                lambda *words, **more: real(*words, known=known, connect=lambda: engine, **more),
            )
        return Workflow(("--image", f"{place}/runtime"), capsys)

    return make


def test_jobs_build_one_component_each_and_the_bake_builds_none(
    workflow: Callable[..., Workflow], docker: Docker, place: str, tmp_path: Path
) -> None:
    run = workflow()
    entries = run.components()
    assert [(each["component"], each["platform"]) for each in entries] == [
        (name, platform) for name in ("core", "python", "tmux") for platform in PLATFORMS
    ]
    assert not any(exists(each["image"]) for each in entries)

    # the last first: it requires another one, but is not built with it
    first, *rest = reversed(entries)
    words = ("deps", "--components-only", "--json", "--component", first["component"])
    made = run.data(*words, *_platforms(first["platform"]))
    assert [(each["target"], each["tags"]) for each in made["targets"]] == [("component-tmux-arm64", [first["image"]])]
    assert made["targets"][0]["sizes"]["linux/arm64"] > 0
    assert [each["image"] for each in entries if exists(each["image"])] == [first["image"]]
    assert not exists(f"{place}/deps:latest")
    assert run.components() == entries[:-1]
    again = run(*words[:2], "--component", first["component"], *_platforms(first["platform"]))
    assert again == (ExitCode.OK, "nothing to build: all component images exist\n")

    for entry in rest:
        done = run.data("deps", "--components-only", "--json", "--component", entry["component"],
                        *_platforms(entry["platform"]))  # fmt: skip
        assert [each["tags"] for each in done["targets"]] == [[entry["image"]]]
    assert run.components() == []
    assert not exists(f"{place}/deps:latest")

    base = docker.base(f"{place}/base:1", tmp_path)
    (group,) = run.data("matrix", "--for", "runtimes", base, *_platforms(*PLATFORMS))["include"]
    baked = run.data("bake", group["bases"], "--json", *_platforms(*PLATFORMS))
    assert [each["state"] for each in baked["targets"]] == ["done", "done"]
    assert "components" not in baked["targets"][0], "none was built"
    assert exists(f"{place}/deps:latest")


def test_a_failed_component_is_shown_with_its_step(workflow: Callable[..., Workflow]) -> None:
    run = workflow(broken="python")
    words = ("deps", "--components-only", "--component", "python", *_platforms("linux/amd64"))
    code, _ = run(*words)
    assert code == ExitCode.BUILD_FAILED
    assert "error: component-python-amd64: " in run.stderr
    assert "python/missing" in run.stderr
    assert "at: Dockerfile.components:" in run.stderr
    code, out = run(*words, "--json")
    (target,) = json.loads(out)["targets"]
    assert (code, target["state"], target["error"]["kind"]) == (1, "failed", "InvalidDockerfile")


def test_a_silent_registry_is_no_missing_image(
    workflow: Callable[..., Workflow], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = workflow()
    monkeypatch.setenv("OHBUILD_COMPONENT_REPOSITORY", f"localhost:{free_ports()}/parts")
    assert run("matrix", "--for", "components") == (ExitCode.REGISTRY, "")
    assert "cannot be reached" in run.stderr


def test_an_image_that_was_not_built_is_skipped(workflow: Callable[..., Workflow], place: str) -> None:
    run = replace(workflow(), flags=())
    words = ("verify", f"{place}/runtime:a,{place}/runtime:b", "--json")
    code, out = run(*words)
    assert (code, json.loads(out)["error"]["kind"]) == (ExitCode.USAGE, "SeveralErrors")
    assert run.data(*words, "--skip-missing") == {"ok": True, "images": []}
    assert f"skipped: {place}/runtime:a" in run.stderr
    assert run("verify", "", "--skip-missing") == (ExitCode.USAGE, "")
