"""What `ohbuild deps --components-only` builds: the images of single components, and what these are built with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ohbuild.bake import run
from ohbuild.bake.model import Plan
from ohbuild.bake.render import render
from ohbuild.bake.run import run_components
from ohbuild.components.builtin import BUILTIN
from ohbuild.components.component import Component
from ohbuild.docker.connection import Connection
from ohbuild.docker.progress import Progress
from ohbuild.errors import BuildFailed, NoEngine, UsageError
from tests.fakes import fake_components
from tests.plans import component_plan as plan
from tests.unit.conftest import Bake


def names(made: Plan) -> list[str]:
    return [item.component for item in made.missing]


def test_a_job_builds_its_component_and_what_that_is_built_with() -> None:
    """jupyter's stage uses those of core and python. It also requires nothing else."""
    assert names(plan(["jupyter"], known=BUILTIN)) == ["core", "python", "jupyter"]
    assert names(plan(["jupyter"], known=BUILTIN, there=["python"])) == ["core", "jupyter"]
    assert names(plan(["jupyter"], known=BUILTIN, there=["core", "python"])) == ["jupyter"]
    assert names(plan(["jupyter"], known=BUILTIN, there=["jupyter"])) == []
    made = plan(["jupyter"], known=BUILTIN, there=["core", "python"])
    (row,) = re.findall(r'\{ name = "jupyter", .*', render(made).hcl)
    assert "contexts = { core = " in row, "their images substitute their stages"
    assert "python = " in row


def test_a_job_does_not_build_what_its_component_only_requires() -> None:
    assert names(plan(["tmux"])) == ["tmux"], "the fake tmux requires core, but no stage of it uses core's"
    assert names(plan(["tmux", "core"])) == ["core", "tmux"]
    # with agent plug-ins in the settings, too
    assert names(plan(["tmux"], known=BUILTIN, requirements="jupyter", there=["core"])) == ["tmux"]


def test_without_a_component_all_of_the_choice_are_built() -> None:
    assert names(plan()) == ["core", "python", "tmux"]
    alone = names(plan(known=BUILTIN, requirements="jupyter", enable_browser=False))
    assert alone == ["core", "tmux", "git", "tools", "python", "jupyter", "action-execution-server"]


def test_a_helper_is_built_for_the_job_that_needs_it(tmp_path: Path) -> None:
    """A component may be built with one whose layer is not in the images."""
    known = fake_components(tmp_path / "fakes")
    folder = tmp_path / "fakes" / "tmux"
    (folder / "component.toml").write_text('description = "x"\nversion = "1"\nbuilds_with = ["python"]\n')
    (folder / "Dockerfile.j2").write_text("FROM scratch AS tmux\nCOPY --from=python /openhands /openhands\n")
    known = (*known[:2], Component.from_folder(folder))
    assert names(plan(["tmux"], known=known)) == ["python", "tmux"]
    assert names(plan(["tmux"], known=known, there=["python"])) == ["tmux"]


def test_the_arguments_of_other_components_are_no_error(tmp_path: Path) -> None:
    """Every job of a workflow has the same flags."""
    known = fake_components(tmp_path / "fakes")
    definition = tmp_path / "fakes" / "python" / "component.toml"
    definition.write_text(f'{definition.read_text()}args = {{ PYTHON_COLOUR = "red" }}\n')
    known = (known[0], Component.from_folder(definition.parent), known[2])
    flags: dict[str, Any] = {"known": known, "build_args": {"PYTHON_COLOUR": "blue"}}
    assert plan(["tmux"], **flags).args == {}
    assert plan(["python"], **flags).args == {"PYTHON_COLOUR": "blue"}
    with pytest.raises(UsageError, match="no component has a build argument 'COLOUR'"):
        plan(["tmux"], known=known, build_args={"COLOUR": "blue"})


def test_a_ready_deps_image_needs_no_component() -> None:
    with pytest.raises(UsageError, match=r"no component to build: deps_image is set to a\.b/c"):
        plan(deps_image="a.b/c")


def test_the_bake_file_of_components_alone(bake_print: Bake) -> None:
    made = plan(platforms="linux/amd64,linux/arm64", there=["core"])
    assert made.targets == ()
    text = render(made).hcl
    assert "_assembly" not in text
    assert "docker buildx bake\n" not in text
    targets = bake_print(text.replace('group "default"', 'group "all"'))
    assert sorted(targets) == [f"component-{name}-{word}" for name in ("python", "tmux") for word in ("amd64", "arm64")]
    nothing = render(plan(there=["core", "python", "tmux"])).hcl
    assert 'group "components"' not in nothing
    assert "# Nothing is left to build" in nothing


class _Failing:
    """A buildx whose build of python fails."""

    connection = Connection(docker=Path("docker"), host=None, config_dir=None, registry=None, origin="system")

    def solve(self, words: Sequence[str], progress: Progress, *_: Any, **more: Any) -> tuple[int, dict[str, Any]]:
        return 1, {}


def test_a_failed_component_skips_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = BuildFailed("it broke")
    monkeypatch.setattr(run, "classify", lambda progress: broken)
    monkeypatch.setattr(run, "failed_target", lambda progress: "component-python-amd64")
    failing: Any = _Failing()
    rendered = render(plan())
    outcomes = run_components(failing, rendered, tmp_path, lambda event: None)
    assert [(each.target, each.error, each.skipped) for each in outcomes] == [
        ("component-core-amd64", None, True),
        ("component-python-amd64", broken, False),
        ("component-tmux-amd64", None, True),
    ]
    monkeypatch.setattr(run, "failed_target", lambda progress: "")
    assert run_components(failing, rendered, tmp_path, lambda event: None)[0].error is broken
    monkeypatch.setattr(run, "classify", lambda progress: NoEngine("gone"))
    with pytest.raises(NoEngine):
        run_components(failing, rendered, tmp_path, lambda event: None)
