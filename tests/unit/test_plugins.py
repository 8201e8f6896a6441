"""Extensions that add components and builders: real ones, installed with pip, and the problems of a broken one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ohbuild.cli.main import main
from ohbuild.components.builtin import BUILTIN
from ohbuild.components.component import Component
from ohbuild.components.examine import Examination
from tests.plugins import install

OWN = [component.name for component in BUILTIN]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with both extensions."""
    return install(tmp_path_factory.mktemp("site"), "ohbuild-example", "ohbuild-broken")


@pytest.fixture
def ohbuild(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, str]]:
    """Runs the command, optionally with a folder of installed extensions, and returns its stdout and stderr."""
    monkeypatch.setenv("OHBUILD_PREFLIGHT", "false")
    monkeypatch.setattr("ohbuild.signals.signal.signal", lambda *args: None)

    def run(*words: str, site: Path | None = None) -> tuple[str, str]:
        with monkeypatch.context() as patch:
            if site:
                patch.syspath_prepend(site)
            with pytest.raises(SystemExit) as caught:
                main(list(words))
        out, err = capsys.readouterr()
        assert caught.value.code == 0, err
        return out, err

    return run


Command = Callable[..., tuple[str, str]]


@pytest.fixture
def listed(installed: Path, ohbuild: Command) -> dict[str, Any]:
    return dict(json.loads(ohbuild("components", "--json", site=installed)[0]))


def test_what_is_found_is_listed_with_its_package(listed: dict[str, Any]) -> None:
    components = {item["name"]: item for item in listed["components"]}
    assert [*components][: len(OWN)] == OWN
    assert components["core"]["from"] == "ohbuild"
    greeting = components["greeting"]
    assert (greeting["from"], greeting["version"]) == ("ohbuild-example 1.2.3", "1.2.3")
    assert greeting["plugins"] == ["greeting"]
    assert greeting["args"] == {"GREETING_TEXT": "Hello"}
    builders = {item["name"]: item["from"] for item in listed["builders"]}
    assert builders["docker"] == "ohbuild"
    assert builders["archive"] == "ohbuild-example 1.2.3"


REASONS = {
    "no-module": "No module named 'ohbuild_broken.nowhere'",
    "no-object": "has no attribute 'NOTHING'",
    "raises": "RuntimeError: not today",
    "exits": "SystemExit: good bye",
    "bad-key": "bad-key/component.toml: unknown key 'require' (perhaps you meant 'requires')",
    "bad-check": "bad-check/component.toml: the key 'command' is missing",
    "no-definition": "nowhere/component.toml: No such file or directory",
    "wrong-type": "is an object of type 'str'",
    "Bad_Name": "is not a valid component name",
    "python": "its name is already used",
    "no-template": "dockerfiles/components/no-template.Dockerfile.j2 does not exist",
    "syntax": "template syntax.j2:2: Expected an expression",
    "undefined": "'nothing' is undefined",
    "no-stage": "has no stage named after it",
    "no-wrapper": "wrappers/oh-nothing does not exist",
    "outside": "points outside its folder",
    "secret": "is a GitHub token",
    "path": "may not set the variable 'LD_PRELOAD'",
    "needs-more": "requires unknown component 'pyton' (perhaps you meant 'python')",
    "needs-broken": "needs 'needs-more', whose own requirements are missing or form a cycle",
    "good": "its name is already used",
    "same-stage": "its stage core-nss is already used",
    "docker": "the name is already used by ohbuild",
    "unrelated": "not a subclass of ohbuild.RuntimeBuilder",
    "raising-builder": "RuntimeError: not today",
}


def test_what_is_broken_is_told_by_name_and_stops_nothing_else(listed: dict[str, Any]) -> None:
    broken = {item["name"]: item for item in listed["broken"]}
    assert {name for name, reason in REASONS.items() if reason not in broken[name]["reason"]} == set()
    assert set(broken) == set(REASONS)
    assert {item["from"] for item in broken.values()} == {"ohbuild-broken 0.0.1"}
    assert not listed["ok"]
    assert {"good", "derived"} <= {item["name"] for item in listed["components"]}


def test_the_table_has_them_too(installed: Path, ohbuild: Command) -> None:
    out, err = ohbuild("components", site=installed)
    assert "greeting " in out
    assert "broken: 'syntax' of ohbuild-broken 0.0.1" in err


def test_without_any_there_are_ohbuilds_own(ohbuild: Command) -> None:
    data = json.loads(ohbuild("components", "--json")[0])
    assert data["ok"]
    assert [item["name"] for item in data["components"]] == OWN


def test_the_command_is_known_by_its_old_name_too(ohbuild: Command) -> None:
    assert ohbuild("components", "--json") == ohbuild("plugins", "--json")
    assert " plugins " not in ohbuild("--help")[0]


def test_a_plugins_component_is_rendered(installed: Path, ohbuild: Command, tmp_path: Path) -> None:
    """Its stage, files and argument are in the folder."""
    folder = tmp_path / "out"
    words = ["render", "debian:trixie", "--component", "greeting", "--build-arg", "GREETING_TEXT=Moin", "--no-browser"]
    words += ["--image", "a.b/x/runtime", "--folder", str(folder), "--config", "/dev/null"]
    err = ohbuild(*words, site=installed)[1]
    assert "extension ignored: 'syntax' of ohbuild-broken 0.0.1" in err
    text = (folder / "Dockerfile.components").read_text()
    assert 'ARG GREETING_TEXT="Moin"' in text
    assert "FROM build AS greeting" in text
    assert "COPY --link --from=greeting /openhands /openhands" in text
    # the stage that it is built with, but not its layer
    assert "FROM wheels AS python" in text
    assert "--from=python /openhands" not in text
    assembly = (folder / "Dockerfile").read_text()
    assert "COPY --link --from=component-greeting /openhands /openhands" in assembly
    assert "component-python" not in assembly
    assert 'ENV GREETING_HOME="/openhands/greeting"' in assembly
    assert (folder / "context" / "wrappers" / "oh-greet").stat().st_mode & 0o111
    assert (folder / "context" / "greeting" / "template").is_file()


def test_a_builder_of_a_plugin_is_made_by_name(installed: Path, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\n")
    code = f"""
from pathlib import Path
import ohbuild
with ohbuild.create_builder("archive", folder=Path({str(tmp_path / "kept")!r})) as builder:
    assert not builder.image_exists("a.b/c:1")
    print(builder.build({str(context)!r}, ["a.b/c:1", "a.b/c:2"]), builder.image_exists("a.b/c:2"))
for name in ("unrelated", "arcive"):
    try:
        ohbuild.create_builder(name)
    except ohbuild.AgentRuntimeBuildError as error:
        print(error)
"""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("a.b/c:1 True\n")
    assert "of ohbuild-broken 0.0.1: the class Unrelated is not a subclass" in done.stdout
    assert "perhaps you meant 'archive'" in done.stdout


def made(folder: Path, name: str, **more: Any) -> Component:
    (folder / "dockerfiles").mkdir(exist_ok=True)
    (folder / "wrappers").mkdir(exist_ok=True)
    (folder / "dockerfiles" / f"{name}.j2").write_text(f"FROM scratch AS {name}\n")
    for path in (
        *(f"wrappers/{item}" for item in more.get("wrappers", ())),
        *(f"dockerfiles/{item}" for item in more.get("files", ())),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("x")
    return Component(name=name, description="x", version="1", root=folder, part=f"{name}.j2", **more)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"wrappers": ("oh-python",)}, "its wrapper oh-python is already used by component 'python'"),
        ({"wrappers": ("oh-first",)}, "its wrapper oh-first is already used by component 'first'"),
        ({"files": ("tmux/debian.lock/x",)}, "conflicts with tmux/debian.lock of 'tmux'"),
        ({"files": ("wrappers/x",)}, "conflicts with wrappers of 'ohbuild'"),
        ({"env": {"FIRST": "x"}}, "its variable FIRST is already used by component 'first'"),
        ({"args": {"FIRST": "x"}}, "its build argument FIRST is already used by component 'first'"),
        ({"args": {"TARGETARCH": "x"}}, "is reserved for the build itself"),
        ({"args": {"A": "x\ny"}}, "has a control character"),
        ({"env": {"A": 1}}, "`env` must map strings to strings"),
        ({"requires": "core"}, "`requires` must be a tuple of non-empty strings"),
        ({"checks": ("x",)}, "`checks` must contain only objects of type Check"),
        ({}, ""),
    ],
)  # fmt: skip
def test_two_components_never_have_one_name_for_two_things(tmp_path: Path, more: dict[str, Any], reason: str) -> None:
    examination = Examination(BUILTIN)
    first = made(tmp_path, "first", wrappers=("oh-first",), env={"FIRST": "1"}, args={"FIRST": "1"})
    assert not examination.problem(first)
    examination.add(first)
    problem = examination.problem(made(tmp_path, "second", **more))
    assert reason in problem
    assert bool(problem) == bool(reason)


def test_plugins_come_after_what_they_need(tmp_path: Path) -> None:
    examination = Examination(BUILTIN)
    new = [
        made(tmp_path, "c", requires=("b",)),
        made(tmp_path, "b", builds_with=("a", "core")),
        made(tmp_path, "a"),
        made(tmp_path, "round", requires=("about",)),
        made(tmp_path, "about", requires=("round",)),
    ]
    for component in new:
        examination.add(component)
    ordered, lost = examination.in_order(new)
    assert [component.name for component in ordered] == ["a", "b", "c"]
    assert lost["round"] == "needs 'about', whose own requirements are missing or form a cycle"
    assert set(lost) == {"round", "about"}
