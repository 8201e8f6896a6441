"""OpenHands' functions for runtime images: the calls to the builder, the build folder, and the old command line."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ohbuild.builders import AgentRuntimeBuildError, RuntimeBuilder
from ohbuild.builders.errors import Category
from ohbuild.cli import runtime_build as front
from ohbuild.docker.connection import Connection
from ohbuild.errors import ExitCode, NoEngine
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.openhands.build import (
    build_runtime_image,
    ensure_runtime_image,
    prep_build_folder,
    resolve_runtime_image,
)
from ohbuild.openhands.tags import REPOSITORY_VARIABLE, BuildFromImageType, get_runtime_image_repo_and_tag

BASE = "localhost:1/base:1"  # nothing listens on this port
REPOSITORY = "localhost:1/my/runtime"


@pytest.fixture(autouse=True)
def _no_registry(monkeypatch: pytest.MonkeyPatch, _clean: None) -> None:
    monkeypatch.setenv("OHBUILD_BUILD_IMAGE", "localhost:1/build")
    monkeypatch.setenv(REPOSITORY_VARIABLE, REPOSITORY)


def no_engine() -> Connection:
    raise NoEngine("none in this test")


class Recorder(RuntimeBuilder):
    """A builder that only records its calls.

    Args:
        *there: Results of the calls of ``image_exists``, in order; false for further calls.
        answer: Result of ``build``; by default the first tag.
    """

    def __init__(self, *there: bool, answer: str | None = None) -> None:
        self._there = list(there)
        self._answer = answer
        self.asked: list[tuple[Any, ...]] = []
        self.built: list[dict[str, Any]] = []
        self.files: dict[str, str] = {}

    def image_exists(self, *words: Any) -> bool:
        self.asked.append(words)
        return self._there.pop(0) if self._there else False

    def build(
        self,
        path: str,
        tags: list[str],
        platform: str | None = None,
        extra_build_args: list[str] | None = None,
        use_local_cache: bool = False,
        *,
        timeout: float | None = None,
        cancel: threading.Event | None = None,
    ) -> str:
        self.built.append({"path": path, "tags": tags, "platform": platform, "extra_build_args": extra_build_args})
        self.files = {str(file.relative_to(path)): file.read_text(errors="replace") for file in _files(Path(path))}
        return tags[0] if self._answer is None else self._answer


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def built(builder: Recorder, **options: Any) -> str:
    return build_runtime_image(BASE, builder, connect=no_engine, **options)


def test_what_is_there_is_not_built() -> None:
    builder = Recorder(True)
    name = built(builder)
    assert name.startswith(f"{REPOSITORY}:oh_v1.6.0_")
    assert builder.asked == [(name, False)]
    assert builder.built == []


@pytest.mark.parametrize(("there", "tags"), [((), 3), ((False, True), 1), ((False, False, True), 2)])
def test_what_is_not_there_is_built_with_every_name_that_is_free(there: tuple[bool, ...], tags: int) -> None:
    builder = Recorder(*there)
    name = built(builder)
    lock = name.rpartition("_")[0]
    assert [words[1] for words in builder.asked] == [False] * len(builder.asked)
    (build,) = builder.built
    assert build["tags"][0] == name
    assert len(build["tags"]) == tags
    assert build["tags"][1:2] in ([], [lock])
    assert all(item.startswith(f"{REPOSITORY}:oh_v1.6.0_localhost-1-base-1-") for item in build["tags"][2:])
    assert builder.files["Dockerfile"].count(f"ARG BASE={BASE}") == 1
    assert not Path(build["path"]).exists()


def test_a_base_by_digest(caplog: pytest.LogCaptureFixture) -> None:
    """OpenHands' function returns a tag with an ``@``."""
    base, builder = f"{BASE}@sha256:{'a' * 64}", Recorder()
    with caplog.at_level("INFO", logger="ohbuild.builders"):
        name = build_runtime_image(base, builder, connect=no_engine)
    assert name != built(Recorder(True))
    for tag in builder.built[0]["tags"]:
        ImageRef.parse(tag)
    assert builder.files["Dockerfile"].count(f"ARG BASE={base}") == 1
    assert "localhost:1 cannot be reached" in caplog.text  # logged, but not an error


def test_a_forced_rebuild_has_all_its_names() -> None:
    """OpenHands' function omits existing tags. Here all exist, so its build would fail without a tag."""
    builder = Recorder(*[True] * 9)
    name = built(builder, force_rebuild=True)
    assert builder.asked == []
    assert [build["tags"][0] for build in builder.built] == [name]
    assert len(builder.built[0]["tags"]) == 3


def test_arguments_reach_the_builder_and_the_name() -> None:
    builder = Recorder()
    name = built(builder, platform="linux/arm64", extra_build_args=["--network=host"])
    (build,) = builder.built
    assert (build["platform"], build["extra_build_args"]) == ("linux/arm64", ["--network=host"])
    assert name != built(Recorder(), platform="linux/amd64", extra_build_args=["--network=host"])
    assert name != built(Recorder(), platform="linux/arm64")


def test_the_platform_of_the_name_is_the_one_that_is_built() -> None:
    builder = Recorder()
    builder.platforms = (Platform("linux", "arm64"),)  # type: ignore[attr-defined]
    assert built(builder) == built(Recorder(), platform="linux/arm64")
    assert builder.built[0]["platform"] == "linux/arm64"


def test_the_name_that_the_builder_answers_with_is_the_one_to_use() -> None:
    assert built(Recorder(answer="other.example.com/name:tag")) == "other.example.com/name:tag"
    with pytest.raises(AgentRuntimeBuildError, match="returned no name"):
        built(Recorder(answer=""))


def test_a_dry_run_writes_and_asks_nobody(tmp_path: Path) -> None:
    builder = Recorder(True)
    name = built(builder, build_folder=str(tmp_path), dry_run=True)
    assert (builder.asked, builder.built) == ([], [])
    assert (tmp_path / "Dockerfile").is_file()
    assert name == built(Recorder(True))


def test_a_folder_that_is_given_stays(tmp_path: Path) -> None:
    builder = Recorder()
    (tmp_path / "mine").write_text("mine")
    built(builder, build_folder=tmp_path)
    assert builder.built[0]["path"] == str(tmp_path)
    assert (tmp_path / "Dockerfile").is_file()
    assert (tmp_path / "mine").read_text() == "mine"


def test_the_name_is_the_one_that_the_configuration_resolves_to() -> None:
    config = {"base_container_image": BASE, "enable_browser": False, "runtime_extra_build_args": ["--pull"]}
    name = built(Recorder(True), enable_browser=False, extra_build_args=["--pull"])
    assert resolve_runtime_image(config, connect=no_engine) == name


def test_what_a_configuration_asks_for_is_found_or_built() -> None:
    config = {"base_container_image": BASE, "runtime_extra_build_args": ["--pull"], "platform": "linux/arm64"}
    builder = Recorder()
    name = ensure_runtime_image({"sandbox": config}, builder, connect=no_engine)
    assert name == resolve_runtime_image(config, connect=no_engine)
    assert builder.built[0]["tags"][0] == name
    assert (builder.built[0]["platform"], builder.built[0]["extra_build_args"]) == ("linux/arm64", ["--pull"])
    found, forced, ready = Recorder(True), Recorder(True), Recorder()
    assert ensure_runtime_image(config, found, connect=no_engine) == name
    assert not found.built
    assert ensure_runtime_image({**config, "force_rebuild_runtime": True}, forced, connect=no_engine) == name
    assert len(forced.built) == 1
    given = {**config, "runtime_container_image": "localhost:5000/my/runtime:1"}
    assert ensure_runtime_image(given, ready, connect=no_engine) == "localhost:5000/my/runtime:1"
    assert not ready.asked
    assert not ready.built
    with pytest.raises(AgentRuntimeBuildError, match="amd46") as caught:
        ensure_runtime_image({**config, "platform": "linux/amd46"}, ready, connect=no_engine)
    assert caught.value.category is Category.CONTEXT


def test_without_a_browser_there_is_none_in_it() -> None:
    builder, whole = Recorder(), Recorder()
    assert built(builder, enable_browser=False) != built(whole)
    assert "COPY --link --from=component-chromium" in whole.files["Dockerfile"]
    assert "COPY --link --from=component-chromium" not in builder.files["Dockerfile"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"base_image": "UPPER/case:1"}, "UPPER/case"),
        ({"platform": "linux/arm46"}, "arm46"),
        ({"plugins": ["jupiter"]}, "jupiter"),
        ({"build_args": {"NOBODYS": "1"}}, "NOBODYS"),
        ({"extra_deps": "a\0b"}, "extra_deps"),
    ],
)
def test_what_is_wrong_with_the_request_is_its_error(arguments: dict[str, Any], word: str) -> None:
    builder = Recorder()
    with pytest.raises(AgentRuntimeBuildError) as caught:
        build_runtime_image(**{"base_image": BASE, "runtime_builder": builder, "connect": no_engine, **arguments})
    assert caught.value.category is Category.CONTEXT
    assert word in str(caught.value)
    assert caught.value.__cause__ is not None
    assert (builder.asked, builder.built) == ([], [])


def test_a_deps_image_that_cannot_be_asked_is_not_taken_for_one() -> None:
    with pytest.raises(AgentRuntimeBuildError, match="localhost:1/deps:1: registry localhost:1 cannot be reached"):
        built(Recorder(), deps_image="localhost:1/deps:1")


def test_prep_build_folder(tmp_path: Path) -> None:
    prep_build_folder(tmp_path / "a", BASE, BuildFromImageType.SCRATCH, None, connect=no_engine)
    prep_build_folder(tmp_path / "b", BASE, BuildFromImageType.LOCK, None, enable_browser=True, connect=no_engine)
    # The build context does not depend on existing images.
    assert (tmp_path / "a" / "Dockerfile").read_text() == (tmp_path / "b" / "Dockerfile").read_text()
    with pytest.raises(AgentRuntimeBuildError, match="require each other"):
        prep_build_folder(tmp_path / "c", BASE, BuildFromImageType.DEPS, None, connect=no_engine)


# --- the command line

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("OHBUILD_ENGINE", "ohbuild")
    monkeypatch.setenv("OHBUILD_ENGINE_DIR", "/nonexistent")

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            front.main(list(words))
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out, captured.err

    return run


def test_a_build_folder_gets_openhands_two_lines(run: Run, tmp_path: Path) -> None:
    """They are for containers/build.sh of https://github.com/OpenHands/OpenHands. Existing lines are kept."""
    (tmp_path / "config.sh").write_text("DOCKER_REGISTRY=ghcr.io")
    code, out, _ = run("--base_image", BASE, "--build_folder", str(tmp_path))
    assert (code, out) == (0, "")
    name = build_runtime_image(BASE, Recorder(True), connect=no_engine)
    assert (tmp_path / "config.sh").read_text() == (
        f"DOCKER_REGISTRY=ghcr.io\nDOCKER_IMAGE_TAG={get_runtime_image_repo_and_tag(BASE)[1]}\n"
        f"DOCKER_IMAGE_SOURCE_TAG={name.rpartition(':')[2]}\n"
    )
    assert (tmp_path / "Dockerfile").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--build_folder", "/nonexistent/folder"], "the build folder /nonexistent/folder does not exist"),
        (["--build_deps_only", "--deps_image", "x:1"], "--build_deps_only cannot be combined with"),
        (["--build_arg", "X"], "--build_arg 'X' is not NAME=VALUE"),
        (["--base_image", "UPPER/case:1"], "invalid repository name"),
        (["--platform", "linux/arm46"], "unknown architecture 'arm46'"),
        (["--agent_plugin", "jupiter"], "no component provides the agent plug-in 'jupiter'"),
        (["--no_such_flag"], "no_such_flag"),
    ],
)
def test_errors_have_ohbuilds_exit_codes(run: Run, words: list[str], message: str) -> None:
    code, out, err = run(*(words if "--base_image" in words else ["--base_image", BASE, *words]))
    assert (code, out) == (ExitCode.USAGE, "")
    assert message in err.replace("\n", " ")


def test_without_an_engine_nothing_is_built(run: Run) -> None:
    code, out, _ = run("--base_image", BASE)
    assert (code, out) == (ExitCode.NO_ENGINE, "")


def test_python_runs_it_as_a_module_without_a_word() -> None:
    """Python would print a warning if the package imported the module before it is run."""
    command = [sys.executable, "-W", "error", "-m", "ohbuild.runtime_build", "--help"]
    # In GitHub Actions Typer prints colours, whatever it prints to.
    environment = {name: value for name, value in os.environ.items() if name != "GITHUB_ACTIONS"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "python -m ohbuild.runtime_build" in done.stdout
