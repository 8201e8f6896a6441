"""action.yml and its scripts: every input reaches ohbuild as one word, unchanged, and is never run."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
# What a shell would run or expand, and what GitHub would replace.
HOSTILE = ["$(touch pwned)", "`touch pwned`", "'; touch pwned; '", '"; touch pwned; "', "${{ github.token }}", "$HOME",
           "a\nb", "-x", "--help", "* ?", "\\", "ü 世界", " a ", "a\tb", "::error::x", "a=b"]  # fmt: skip
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an ``ohbuild`` that prints the output that is set and its arguments, with a NUL after each."""
    folder = tmp_path_factory.mktemp("action")
    program = folder / "ohbuild"
    program.write_text('#!/bin/sh\nprintf \'%s\\0\' "${OHBUILD_OUTPUT-unset}" "$@"\n')
    program.chmod(0o755)
    return folder


@cache
def loaded() -> Any:
    return YAML(typ="safe").load(ROOT / "action.yml")


def run(folder: Path, inputs: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    action = loaded()
    step = next(step for step in action["runs"]["steps"] if step.get("id") == "run")
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    for name, expression in step["env"].items():
        found = re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", expression)
        assert found, "an input, and nothing else"
        environment[name] = inputs.get(found[1], action["inputs"][found[1]].get("default", ""))
    done = subprocess.run([ROOT / "action/run"], cwd=folder, env=environment, capture_output=True, check=False)
    # Not with `text`, which would change a carriage return.
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def ended(done: subprocess.CompletedProcess[str]) -> tuple[str, list[str]]:
    """The output that was set for ``ohbuild``, and its arguments."""
    output, *arguments, nothing = done.stdout.split("\0")
    assert nothing == ""
    return output, arguments


def words(folder: Path, **inputs: str) -> list[str]:
    done = run(folder, {name.replace("_", "-"): value for name, value in inputs.items()})
    assert done.returncode == 0, done.stdout + done.stderr
    assert [item.name for item in folder.iterdir()] == ["ohbuild"], "nothing was run"
    return ended(done)[1]


@given(TEXT)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(HOSTILE[0])
def test_any_text_is_one_word(folder: Path, text: str) -> None:
    assert words(folder, bases=text) == ["bake", "--", text]
    assert words(folder, command="deps", image=text) == ["deps", f"--image={text}"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_every_input(folder: Path, text: str) -> None:
    everything = {"config": text, "platforms": text, "image": text, "components": text}
    flags = [f"--config={text}", f"--platform={text}", f"--image={text}", f"--component={text}"]
    assert words(folder, **everything, cache=text, bases_file=text, bases=text) == [
        "bake", *flags, f"--cache-to={text}", f"--cache-from={text}", f"--bases-file={text}", "--", text,
    ]  # fmt: skip
    assert words(folder, command="matrix", **everything, **{"for": text}, groups=text, bases=text) == [
        "matrix", f"--for={text}", f"--groups={text}", *flags, "--", text,
    ]  # fmt: skip
    assert words(folder, command="verify", images=text, platforms=text) == ["verify", f"--platform={text}", "--", text]
    assert words(folder, command="check", config=text, bases=text) == ["check", f"--config={text}", "--", text]
    done = run(folder, {"command": text})
    assert done.returncode == 2
    assert done.stdout.startswith("::error title=ohbuild::unknown command (input command): ")
    assert text not in done.stdout


def test_each_line_of_the_arguments_is_a_word(folder: Path) -> None:
    lines = "--build-arg\nA=b c\n\n--system-packages=git,$(touch pwned)\n"
    expected = ["--build-arg", "A=b c", "--system-packages=git,$(touch pwned)"]
    assert words(folder, arguments=lines, bases="debian:trixie") == ["bake", *expected, "--", "debian:trixie"]
    assert words(folder, command="deps", arguments=lines) == ["deps", *expected]


@pytest.mark.parametrize(
    ("push", "flags", "output"), [("true", ["--push"], "unset"), ("false", [], "none"), ("", [], "unset")]
)
def test_push(folder: Path, push: str, flags: list[str], output: str) -> None:
    done = run(folder, {"command": "deps", "push": push})
    assert ended(done) == (output, ["deps", *flags])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"push": "yes"}, "push must be true or false (input push)"),
        ({"command": "verify"}, "there is no image to verify (input images)"),
        ({"command": "engine"}, "unknown command (input command): choose bake, deps, check, verify or matrix"),
    ],
)
def test_a_wrong_input_is_an_annotation(folder: Path, inputs: dict[str, str], message: str) -> None:
    done = run(folder, inputs)
    assert done.returncode == 2
    assert done.stdout == f"::error title=ohbuild::{message}\n"


def test_the_action_pastes_no_input_into_a_script() -> None:
    action = loaded()
    used = set()
    for step in action["runs"]["steps"]:
        assert "${{" not in step.get("run", "")
        used |= set(re.findall(r"inputs\.([\w-]+)", json.dumps(step)))
    assert used == set(action["inputs"]), "every input is used"


def test_the_scripts_need_no_input_that_the_action_does_not_pass() -> None:
    action = loaded()
    passed = {name for step in action["runs"]["steps"] for name in step.get("env", {})}
    read = {
        name
        for script in ("run", "install")
        for name in re.findall(r"\$(INPUT_\w+)", (ROOT / f"action/{script}").read_text())
    }
    assert read == passed
