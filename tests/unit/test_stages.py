"""The sources of a component image, and that its key changes with them and with nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohbuild.components.builtin import BUILTIN
from ohbuild.components.choice import choose
from ohbuild.components.component import Component
from ohbuild.components.stages import Stage, Stages, read_stages
from ohbuild.errors import OhbuildError
from ohbuild.folder import File
from tests.fakes import FAKES, fake_components

BUILD_IMAGE = "docker.io/library/debian:trixie@sha256:" + "ab" * 32
REAL = read_stages(BUILTIN)
ALL = {component.name for component in BUILTIN}
# Component → components whose stages its template builds on, copies from or mounts.
USES: dict[str, set[str]] = {
    "core": set(),
    "tmux": {"core"},
    "git": {"core"},
    "tools": {"core", "git"},
    "chromium": {"core"},
    "python": {"core"},
    "node": {"core"},
    "vscode": {"core", "node"},
    "playwright": {"core", "python", "node", "chromium"},
    "jupyter": {"core", "python"},
    "action-execution-server": {"core", "python"},
    "agent-server": {"core", "python"},
    "uv": {"core"},
    "npx": {"core", "node"},
}


def keys(stages: Stages, **more: Any) -> dict[str, str]:
    values = {"arguments": {}, "build_image": BUILD_IMAGE, "source_date_epoch": 1, "compression": "zstd", **more}
    return stages.keys(**values)


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def users(name: str) -> set[str]:
    return {name} | {other for other, used in USES.items() if name in used}


def test_what_a_component_is_built_with_is_read_from_its_stages() -> None:
    assert {name: set(used) for name, used in REAL.built_with().items()} == USES


def test_the_same_files_give_the_same_keys() -> None:
    assert keys(REAL) == keys(read_stages(BUILTIN))
    assert all(re.fullmatch("[0-9a-f]{64}", key) for key in keys(REAL).values())
    assert len(set(keys(REAL).values())) == len(BUILTIN)


@given(st.data())
def test_a_change_to_a_component_changes_its_key_and_those_of_what_is_built_with_it(data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(BUILTIN) - 1))
    stage = REAL.stages[number]
    others: list[Stage] = [replace(stage, text=stage.text + "\n# another")]
    if stage.files:
        path = data.draw(st.sampled_from(sorted(stage.files)))
        old = stage.files[path]
        for new in (File(old.data + b"x", old.executable), File(old.data, not old.executable)):
            others.append(replace(stage, files={**stage.files, path: new}))
        others.append(replace(stage, files={**stage.files, f"{path}2": old}))
        others.append(replace(stage, files={name: file for name, file in stage.files.items() if name != path}))
    other = data.draw(st.sampled_from(others))
    stages = (*REAL.stages[:number], other, *REAL.stages[number + 1 :])
    assert changed(keys(REAL), keys(replace(REAL, stages=stages))) == users(stage.component.name)


def test_what_all_have_in_common_changes_all() -> None:
    before = keys(REAL)
    for path, file in REAL.common.items():
        common = {**REAL.common, path: File(file.data + b"x", file.executable)}
        assert changed(before, keys(replace(REAL, common=common))) == ALL, path
    assert changed(before, keys(replace(REAL, preamble=REAL.preamble + " "))) == ALL
    for more in ({"build_image": "other"}, {"source_date_epoch": 2}, {"compression": "gzip"}):
        assert changed(before, keys(REAL, **more)) == ALL, more
    assert changed(before, keys(REAL, arguments={"NOBODYS": "x"})) == set()


def test_an_argument_changes_its_component() -> None:
    stages = read_stages([FAKES[0], replace(FAKES[1], args={"COLOUR": "red"}), FAKES[2]])
    assert keys(stages) == keys(stages, arguments={"COLOUR": "red"})
    assert changed(keys(stages), keys(stages, arguments={"COLOUR": "blue"})) == {"python"}


def test_what_is_merely_required_is_no_part_of_a_key() -> None:
    """The server requires tmux in an image, but is not built with it."""
    stages = {stage.component.name: stage for stage in REAL.stages}
    assert "wrappers/oh-tmux" in stages["tmux"].files
    assert users("tmux") == {"tmux"}
    assert any(path.startswith("action-execution-server/") for path in stages["action-execution-server"].files)
    assert users("action-execution-server") == {"action-execution-server"}


def test_the_choice_of_components_is_no_matter() -> None:
    choice = choose(BUILTIN, requirements=["agent_skills"], browser=False)
    some = keys(read_stages(choice.stages))
    assert some.items() <= keys(REAL).items()


def test_a_plugins_component_may_use_any_stage(tmp_path: Path) -> None:
    part = tmp_path / "dockerfiles" / "components" / "extra.Dockerfile.j2"
    part.parent.mkdir(parents=True)
    part.write_text("FROM core AS extra\nCOPY --from=tmux /openhands /x\nRUN --mount=type=bind,from=git true\n")
    extra = Component(name="extra", description="x", version="1", root=tmp_path)
    stages = read_stages([*BUILTIN, extra])
    assert set(stages.built_with()["extra"]) == {"core", "tmux", "git"}
    assert keys(stages).items() > keys(REAL).items()


def test_a_missing_file_of_a_component_is_told(tmp_path: Path) -> None:
    fakes = fake_components(tmp_path)
    (tmp_path / "core" / "wrappers" / "oh-core").unlink()
    with pytest.raises(OhbuildError, match="component 'core': cannot read wrappers/oh-core"):
        read_stages(fakes)
