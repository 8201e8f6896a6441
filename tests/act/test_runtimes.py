"""examples/github/runtimes.yml, run by act on this machine, against the engine and its registry.

.actrc replaces what only GitHub provides. The workflow is copied into an empty repository, and the values under ``env``
are changed: what a user does with it.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from ohbuild.docker.connection import Connection
from ohbuild.images.platform import parse_platforms
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Registry
from tests.act.conftest import ROOT, act, make_repository
from tests.engine.access_log import watching
from tests.engine.pushed import Registry as Pushing

WORKFLOW = ROOT / "examples/github/runtimes.yml"
PLATFORMS = parse_platforms(["linux/amd64", "linux/arm64"])
COMPONENTS = ("core", "tmux")
BUILD, ASSEMBLE, VERIFY = "Build the component image", "Assemble the runtime images", "Verify the runtime images"


@dataclass(frozen=True)
class Run:
    """What a run of the workflow printed, and how it ended."""

    code: int
    text: str

    @property
    def shown(self) -> str:
        """The end of it, without what act says about itself."""
        return "\n".join(line for line in self.text.splitlines() if "] " in line and "LocalRepository" not in line)[
            -9000:
        ]

    def jobs(self, step: str) -> dict[str, bool]:
        """Returns the jobs that ran a step, and whether it succeeded.

        act reports only one result for all jobs of a matrix: if one fails, all do.
        """
        # act also numbers the jobs of a matrix.
        line = rf"^\[Runtimes/(.*?)(?:-\d+)? *\]\s+(✅  Success|❌  Failure) - Main {step} \["
        return {job: end.endswith("Success") for job, end in re.findall(line, self.text, re.MULTILINE)}


@dataclass(frozen=True)
class Repository:
    """A user's repository with the workflow."""

    folder: Path
    engine: Connection

    def run(self, **values: str) -> Run:
        """Runs the workflow with other values under ``env``."""
        self.write(values)
        variables = {**self.engine.environment(), "PATH": os.environ["PATH"]}
        return Run(*act(self.folder, self.folder.parent / "cache", "workflow_dispatch", variables=variables))

    def write(self, values: Mapping[str, str]) -> None:
        text = WORKFLOW.read_text()
        for name, value in values.items():
            block = rf"(?m)^(  {name}:)(?: \|\n(?:    .*\n)+| .*\n)"
            shown = "".join(f"    {line}\n" for line in value.splitlines())
            assert len(re.findall(block, text)) == 1, name
            text = re.sub(block, rf"\1 |-\n{shown}", text)
        file = self.folder / ".github/workflows/runtimes.yml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture(scope="module")
def place(own_registry: str) -> str:
    return f"{own_registry}/test-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="module")
def bases(own_registry: str, place: str) -> list[str]:
    """Four bases with files only, each for both platforms."""
    with closing(Pushing(own_registry)) as pushing:
        repository = place.partition("/")[2]
        files = {"tmp/keep": ""}  # tmux requires /tmp, which the server would create
        return [pushing.image(f"{repository}/base-{number}:1", files=files).reference for number in range(4)]


@pytest.fixture(scope="module")
def repository(engine: Connection, place: str, clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    folder = tmp_path_factory.mktemp("workflow") / "repository"
    # The engine's own registry would give it the component images of all other tests.
    make_repository(folder, clone, {"ohbuild.toml": f'component_repository = "{place}/deps"\n'})
    return Repository(folder, engine)


def described(place: str, tags: Sequence[str]) -> dict[str, tuple[str | None, list[tuple[str, ...]]]]:
    """Returns the digest and the layers by platform of runtime images and of the deps image."""
    deps = {tag.rpartition("-")[2] for tag in tags}
    with closing(Registry()) as registry:
        return {
            str(image): (registry.digest(image), [registry.layers(image, platform) for platform in PLATFORMS])
            for image in map(ImageRef.parse, [*tags, *(f"{place}/deps:{tag}" for tag in deps)])
        }


def test_the_workflow_builds_and_verifies_and_then_builds_nothing(
    repository: Repository, place: str, bases: list[str], registry_log: Path
) -> None:
    values = {
        "BASES": "\n".join(bases), "IMAGE": f"{place}/runtime", "COMPONENTS": ",".join(COMPONENTS), "RUNTIME_JOBS": "4",
    }  # fmt: skip
    first = repository.run(**values)
    assert first.code == 0, first.shown
    built = {f"{name} for {platform}": True for name in COMPONENTS for platform in PLATFORMS}
    assert first.jobs(BUILD) == built
    assert first.jobs(ASSEMBLE) == {f"Runtimes, group {number}": True for number in range(1, 5)}
    assert first.jobs(VERIFY) == {f"Verify group {number}": True for number in range(1, 5)}
    tags = sorted(set(re.findall(rf"({place}/runtime:\S+?): ok", first.text)))
    assert len(tags) == len(bases), "each was verified"

    before = described(place, tags)
    with watching(registry_log) as seen:
        second = repository.run(**values)
    assert second.code == 0, second.shown
    assert second.jobs(BUILD) == {}, "the matrix of components is empty"
    assert second.jobs(ASSEMBLE) == first.jobs(ASSEMBLE)
    assert described(place, tags) == before
    layers = {layer for _, platforms in before.values() for each in platforms for layer in each}
    assert layers
    assert not seen.uploads.keys() & layers
    # Each job may write the index of the assembly cache, next to the component images.
    assert {request.path.split("/")[3] for request in seen.requests if request.uploaded} <= {"deps"}


def test_a_broken_base_fails_its_own_job_only(repository: Repository, place: str, bases: list[str]) -> None:
    broken = f"{place}/nothing:1"
    run = repository.run(
        BASES="\n".join([bases[0], broken, *bases[1:]]), IMAGE=f"{place}/runtime", COMPONENTS=",".join(COMPONENTS),
        RUNTIME_JOBS="5",
    )  # fmt: skip
    assert run.code == 1, run.shown
    assert run.jobs(ASSEMBLE) == {f"Runtimes, group {number}": number != 2 for number in range(1, 6)}, run.shown
    assert run.jobs(VERIFY) == {f"Verify group {number}": True for number in range(1, 6)}
    (annotation,) = re.findall(r"^\[Runtimes/Runtimes, group 2-2 *\].*::error (.*)$", run.text, re.MULTILINE)
    assert broken in annotation
    assert run.text.count("::error") == 1
