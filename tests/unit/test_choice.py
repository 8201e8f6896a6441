"""The components of an image, and the tags that result from them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohbuild.bake.model import DepsImage, Plan
from ohbuild.components.arguments import script_problem
from ohbuild.components.builtin import BUILTIN
from ohbuild.components.choice import Choice, choose
from ohbuild.components.component import Component
from ohbuild.config.settings import Settings, load
from ohbuild.errors import InvalidSetting, OhbuildError, UsageError
from ohbuild.images.reference import ImageRef
from tests.plans import planned

SERVER = {"core", "tmux", "git", "tools", "python", "action-execution-server"}
BROWSER = {"chromium", "node", "playwright"}
V0 = SERVER | BROWSER | {"vscode", "jupyter"}
V1 = {"core", "tmux", "git", "tools", "chromium", "python", "node", "vscode", "agent-server"}


def names(choice: Choice) -> set[str]:
    return {component.name for component in choice.components}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, V1),
        ({"server": "agent-server"}, V1),
        ({"server": "action-execution-server"}, V0),
        ({"server": "both"}, V0 | V1),
        ({"browser": False}, V1 - {"chromium"}),
        ({"server": "both", "browser": False}, (V0 | V1) - {"chromium", "playwright"}),
        ({"server": "both", "requirements": ["agent_skills"]}, SERVER | BROWSER | V1),
        (
            {"server": "agent-server", "components": ["node"]},
            {"core", "tmux", "git", "tools", "python", "agent-server", "node"},
        ),
        ({"requirements": []}, SERVER | BROWSER),
        ({"requirements": ["agent_skills"]}, SERVER | BROWSER),
        ({"requirements": ["agent_skills"], "browser": False}, SERVER),
        ({"requirements": ["agent_skills", "jupyter"], "browser": False}, SERVER | {"jupyter"}),
        ({"requirements": ["vscode", "vscode"], "browser": False}, SERVER | {"vscode", "node"}),
        ({"requirements": ["agent_skills", "jupyter", "vscode"]}, V0),
        (
            {"requirements": ["jupyter"], "components": ["vscode"], "browser": False},
            SERVER | {"jupyter", "vscode", "node"},
        ),
        ({"components": ["tmux"]}, {"core", "tmux"}),
        ({"components": ["uv", "npx"]}, V1 | {"uv", "npx"}),
        ({"components": ["uv", "tmux"]}, {"core", "uv", "tmux"}),
    ],
)
def test_what_is_asked_for_chooses_the_components(asked: dict[str, Any], expected: set[str]) -> None:
    choice = choose(BUILTIN, **asked)
    assert names(choice) == expected
    order = [component.name for component in BUILTIN]
    assert [item.name for item in choice.components] == sorted(names(choice), key=order.index)
    assert choice.stages == choice.components


def test_what_nobody_serves_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="no component provides the agent plug-in 'jupiter'") as caught:
        choose(BUILTIN, requirements=["jupiter"])
    assert caught.value.hint == "perhaps you meant 'jupyter'"


def test_a_browser_cannot_be_asked_for_and_refused() -> None:
    with pytest.raises(UsageError, match="component 'playwright' needs a browser, but enable_browser is off"):
        choose(BUILTIN, components=["playwright"], browser=False)


def test_a_component_may_be_built_with_others_that_are_not_in_the_image() -> None:
    one = Component(name="one", description="x", version="1")
    two = Component(name="two", description="x", version="1", builds_with=("one",))
    three = Component(name="three", description="x", version="1", builds_with=("two",))
    choice = choose([one, two, three], components=["three"])
    assert choice.components == (three,)
    assert choice.stages == (one, two, three)


def plan(known: Any = BUILTIN, /, **settings: Any) -> Plan:
    values: dict[str, Any] = {"image": "a.b/x/runtime", "bases": ["debian:trixie"], "output": "push", **settings}
    made = Settings(**values)
    return planned(made, known)


def moving(made: Plan) -> tuple[str, str]:
    assert made.deps
    return made.deps.tag, made.runtimes[0].tag


def test_all_of_ohbuilds_own_have_the_plain_tags() -> None:
    plain = ("latest", "debian-trixie")
    assert moving(plan()) == plain
    assert moving(plan(server="agent-server", components=sorted(V1))) == plain


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"server": "action-execution-server"}, "action-execution-server"),
        ({"requirements": ["vscode", "jupyter", "agent_skills"]}, "action-execution-server"),
        ({"server": "both"}, "both"),
        ({"agent_server_version": "1.34.0"}, "agent-server-1.34.0"),
        ({"server": "both", "agent_server_version": "1.34.0"}, "both-1.34.0"),
    ],
)
def test_tags_name_another_server_or_version(asked: dict[str, Any], word: str) -> None:
    assert moving(plan(**asked)) == (word, f"debian-trixie-{word}")


def test_the_image_of_a_component_names_a_version_that_was_chosen() -> None:
    tags = {item.component: item.image.tag for item in plan(agent_server_version="1.34.0").images}
    assert tags["agent-server"].startswith("agent-server-1.34.0-")
    assert re.fullmatch(r"tmux-[0-9a-f]{12}-\w+", tags["tmux"])


def test_the_default_has_a_tag_with_its_version_too() -> None:
    target = plan().runtimes[0]
    version = next(item.version for item in BUILTIN if item.name == "agent-server")
    assert [tag.rpartition(":")[2] for tag in target.tags("0" * 64)] == [
        "debian-trixie", f"debian-trixie-agent-server-{version}", "debian-trixie-000000000000",
    ]  # fmt: skip


def test_a_version_without_a_lock_is_told_with_those_that_have_one() -> None:
    with pytest.raises(UsageError, match=r"there is no lock for agent-server 1\.2") as caught:
        plan(agent_server_version="1.2")
    assert "1.34.0" in caught.value.hint


def test_agent_plugins_belong_to_the_action_execution_server() -> None:
    with pytest.raises(UsageError, match="agent plug-ins belong to the action-execution-server"):
        choose(BUILTIN, server="agent-server", requirements=["jupyter"])


def test_two_different_sets_never_share_a_moving_tag(tmp_path: Path) -> None:
    part = tmp_path / "dockerfiles" / "components" / "extra.Dockerfile.j2"
    part.parent.mkdir(parents=True)
    part.write_text("FROM build AS extra\n")
    extra = Component(name="extra", description="x", version="1", args={"A": "1"}, root=tmp_path)
    sets: list[dict[str, Any]] = [
        {},
        {"enable_browser": False},
        {"requirements": ["agent_skills"]},
        {"requirements": ["agent_skills"], "enable_browser": False},
        {"requirements": ["jupyter"]},
        {"components": ["tmux"]},
        {"extra_deps": "echo 1"},
        {"extra_deps": "echo 2"},
    ]
    tags = [moving(plan(**settings))[1] for settings in sets]
    tags += [moving(plan([*BUILTIN, extra], **settings))[1] for settings in ({}, {"build_args": {"A": "2"}})]
    assert len(set(tags)) == len(tags)
    assert moving(plan(requirements=["jupyter", "vscode"])) == moving(plan(requirements=["vscode", "jupyter"]))


def test_deps_are_called_by_what_is_in_them_and_have_a_cache_of_their_own() -> None:
    whole, extended, less = plan(), plan(extra_deps="echo 1"), plan(enable_browser=False)
    assert moving(extended)[0] == "latest"
    assert extended.cache_from == whole.cache_from == whole.cache_to
    assert moving(less)[0] != "latest"
    assert less.cache_from == less.cache_to != whole.cache_to


def test_a_ready_deps_image_gives_the_tag_by_what_is_in_it() -> None:
    def tag(there: str, **more: Any) -> str:
        labels = {f"dev.ohbuild.component.{name}": "1.58.2" for name in there.split(",")}
        labels["dev.ohbuild.components"] = there
        image = DepsImage(image=ImageRef.parse("a.b/deps:1"), labels=labels)
        values: dict[str, Any] = {"image": "a.b/x/runtime", "bases": ["debian:trixie"], "deps_image": "a.b/deps:1"}
        made = Settings(**{**values, **more})
        return planned(made, BUILTIN, deps_image=image).runtimes[0].tag

    assert tag(",".join(V1)) == "debian-trixie"
    assert tag("core,tmux") != tag("core,git") != "debian-trixie"
    assert tag("core,tmux", components=["core"]) == tag("core,tmux")
    with pytest.raises(UsageError, match=r"deps image a.b/deps:1 does not contain git, .*jupyter"):
        tag("core,tmux", requirements=["jupyter"])
    with pytest.raises(UsageError, match=r"deps image a.b/deps:1 has no action-execution-server"):
        tag(",".join(V1), server="both")
    with pytest.raises(UsageError, match=r"deps image a.b/deps:1 has agent-server 1.58.2, not 1.34.0"):
        tag(",".join(V1), agent_server_version="1.34.0")


def test_a_build_argument_is_one_that_a_component_has() -> None:
    component = replace(BUILTIN[0], args={"GREETING": "Hello", "OTHER": "x"})
    assert plan([component], build_args={"GREETING": "Moin"}).args == {"GREETING": "Moin", "OTHER": "x"}
    with pytest.raises(UsageError, match="no component has a build argument 'GRETING'") as caught:
        plan([component], build_args={"GRETING": "Moin"})
    assert caught.value.hint == "perhaps you meant 'GREETING'"
    with pytest.raises(UsageError, match="no component has a build argument 'A'"):
        plan(build_args={"A": "b"})


@pytest.mark.parametrize("name", ["", "1A", "A-B", "Ä", "A=B", "BASE", "TARGETARCH", "OHBUILD_X", "SOURCE_DATE_EPOCH"])
def test_what_cannot_be_a_build_argument(name: str) -> None:
    with pytest.raises(InvalidSetting, match=r"--build-arg: "):
        load({"build_args": {name: "x"}})


@given(st.text())
def test_a_script_has_no_control_characters(text: str) -> None:
    allowed = all(ord(character) >= 32 or character in "\n\t" for character in text.replace("\r\n", "\n"))
    sound = allowed and not any(character == "\x7f" or 0xD800 <= ord(character) <= 0xDFFF for character in text)
    assert (script_problem(text) == "") == sound


def test_extra_deps_that_say_nothing_are_none() -> None:
    assert load({"extra_deps": " \n\t"}).settings.extra_deps == ""


def test_a_control_character_in_extra_deps_is_told(tmp_path: Path) -> None:
    file = tmp_path / "ohbuild.toml"
    file.write_text('extra_deps = "echo one\\necho \\u0000"\n')
    with pytest.raises(InvalidSetting, match=r"ohbuild.toml:1: .*line 2 contains the character '\\x00'"):
        load(config=file)


def test_the_command_lines_flags_go_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHBUILD_REQUIREMENTS", "jupyter,vscode")
    monkeypatch.setenv("OHBUILD_ENABLE_BROWSER", "false")
    monkeypatch.setenv("OHBUILD_BUILD_ARGS", '{"A": "b"}')
    made = load()
    assert made.settings.requirements == ("jupyter", "vscode")
    assert not made.settings.enable_browser
    assert made.settings.build_args == {"A": "b"}
    made = load({"requirements": ["agent_skills"]})
    assert made.settings.requirements == ("agent_skills",)
    assert made.origins["requirements"] == "flag --agent-plugin"
    assert load({"requirements": None}).settings.requirements == ("jupyter", "vscode")


def test_limits_of_the_api_are_checked() -> None:
    for values in ({"max_builds": 0}, {"build_timeout": -1}):
        with pytest.raises(OhbuildError, match="greater than or equal"):
            load(values)
