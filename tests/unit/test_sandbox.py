"""OpenHands' configuration in all its forms; errors name the place and the fix."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohbuild.config.sandbox import BASE_IMAGE, SandboxConfig
from ohbuild.docker.connection import Connection
from ohbuild.errors import ImageNotFound, InvalidSetting, NoEngine, OhbuildError, Place, SeveralErrors
from ohbuild.images.config import ImageConfig
from ohbuild.images.platform import native_platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Image, Registry
from ohbuild.openhands.build import resolve_runtime_image
from ohbuild.openhands.tags import REPOSITORY_VARIABLE

# A base in a registry that does not respond: nothing listens on this port.
NOWHERE = "localhost:1/base"

# Keys in [core] and [sandbox] of OpenHands 1.6.0 that ohbuild does not use, including those most similar to ours.
OTHERS = {
    "core": ["run_as_openhands", "enable_default_condenser", "max_iterations", "workspace_base", "debug"],
    "sandbox": [
        "runtime_binding_address", "runtime_startup_env_vars", "remote_runtime_class", "browsergym_eval_env",
        "keep_runtime_alive", "initialize_plugins", "volumes", "timeout", "user_id", "local_runtime_url",
    ],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_registry(monkeypatch: pytest.MonkeyPatch, _clean: None) -> None:
    monkeypatch.setenv("OHBUILD_BUILD_IMAGE", "localhost:1/build")


def no_engine() -> Connection:
    raise NoEngine("none in this test")


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


def test_the_defaults_are_openhands_own() -> None:
    config = SandboxConfig()
    assert config.base_container_image == BASE_IMAGE == "nikolaik/python-nodejs:python3.12-nodejs22-slim"
    assert (config.enable_browser, config.runtime, config.force_rebuild_runtime) == (True, "docker", False)
    assert (config.runtime_container_image, config.runtime_extra_deps, config.platform) == (None, None, None)
    assert SandboxConfig(base_container_image=None).base_container_image == BASE_IMAGE  # type: ignore[arg-type]


def test_a_config_toml(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
[core]
workspace_base = "./workspace"
enable_browser = false
runtime = "kubernetes"

[llm]
model = "x"

[sandbox]
base_container_image = "debian:trixie"
timeout = 120
platform = "linux/arm64"
runtime_extra_deps = "$OH_INTERPRETER_PATH -m pip install numpy"
runtime_extra_build_args = ["--network=host"]
force_rebuild_runtime = true
build_args = {NAME = "value"}
plugins = ["jupyter"]
""",
    )
    assert SandboxConfig.from_toml(path) == SandboxConfig(
        base_container_image="debian:trixie",
        platform="linux/arm64",
        runtime_extra_deps="$OH_INTERPRETER_PATH -m pip install numpy",
        runtime_extra_build_args=("--network=host",),
        force_rebuild_runtime=True,
        build_args={"NAME": "value"},
        plugins=("jupyter",),
        enable_browser=False,
        runtime="kubernetes",
    )


def test_a_config_toml_without_our_tables(tmp_path: Path) -> None:
    assert SandboxConfig.from_toml(write(tmp_path, '[llm]\nmodel = "x"\n')) == SandboxConfig()


@pytest.mark.parametrize(
    ("text", "where", "message", "hint"),
    [
        (
            '[sandbox]\nbase_container_imge = "x"',
            2,
            "unknown key 'sandbox.base_container_imge'",
            "base_container_image",
        ),
        ('[sandbox]\n\nplatfrom = "x"', 3, "unknown key 'sandbox.platfrom'", "perhaps you meant 'platform'"),
        ('[sandbox]\nBase-Container-Image = "x"', 2, "unknown key", "perhaps you meant 'base_container_image'"),
        ("[sandbox]\nenable_browser = false", 2, "unknown key 'sandbox.enable_browser'", "it belongs in [core]"),
        ('[core]\nplatform = "linux/amd64"', 2, "unknown key 'core.platform'", "it belongs in [sandbox]"),
        ('[llm]\nplatform = 1\n[sandbox]\nplatform = "linux/arm46"', 4, "sandbox.platform: unknown arch", "'arm64'"),
        ('[sandbox]\nbase_container_image = "Debian:1"', 2, "sandbox.base_container_image", "'debian:1'"),
        ('[sandbox]\nbuild_args = {BASE = "x"}', 2, "sandbox.build_args: the build argument 'BASE'", "another name"),
        ('[sandbox]\nruntime_extra_deps = "a\\u0000"', 2, "sandbox.runtime_extra_deps", "shell commands"),
        ("[core]\nenable_browser = 7", 2, "core.enable_browser", ""),
        ('sandbox = "x"', 1, "sandbox is not a table", "below [sandbox]"),
        ("[sandbox]\nplatform = ", 2, "", "fix the TOML syntax at this position"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, where: int, message: str, hint: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InvalidSetting) as caught:
        SandboxConfig.from_toml(path)
    assert caught.value.message.startswith(f"{path}:{where}:")
    assert caught.value.place == Place(str(path), where)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SeveralErrors) as caught:
        SandboxConfig.from_toml(write(tmp_path, '[sandbox]\nplatfrom = "x"\nbase_container_image = "A"\n'))
    assert len(caught.value.errors) == 2


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"missing\.toml: No such file"):
        SandboxConfig.from_toml(tmp_path / "missing.toml")


def test_other_keys_are_openhands_own_affair() -> None:
    given_ = {table: dict.fromkeys(keys, "x") for table, keys in OTHERS.items()}
    assert SandboxConfig.from_mapping({**given_, "llm": {"platfrom": 1}}) == SandboxConfig()


def test_a_mapping_with_all_keys_on_one_level() -> None:
    config = SandboxConfig.from_mapping({"base_container_image": "a:1", "enable_browser": False, "timeout": 1})
    assert config == SandboxConfig(base_container_image="a:1", enable_browser=False)
    with pytest.raises(InvalidSetting, match="unknown key 'platfrom'"):
        SandboxConfig.from_mapping({"platfrom": "linux/amd64"})


def test_openhands_objects() -> None:
    sandbox = SimpleNamespace(base_container_image="a:1", platform=None, runtime_extra_build_args=["--pull"], timeout=1)
    config = SimpleNamespace(sandbox=sandbox, enable_browser=False, runtime="local", debug=True)
    expected = SandboxConfig(
        base_container_image="a:1", runtime_extra_build_args=("--pull",), enable_browser=False, runtime="local"
    )
    assert SandboxConfig.from_openhands(config) == expected
    assert SandboxConfig.read(config) == expected
    bare = SandboxConfig.from_openhands(sandbox, plugins=[SimpleNamespace(name="jupyter"), "vscode"])
    assert bare == SandboxConfig(
        base_container_image="a:1", runtime_extra_build_args=("--pull",), plugins=("jupyter", "vscode")
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (object(), "object is not an OpenHands configuration"),
        (SimpleNamespace(sandbox=SimpleNamespace(platform="x/y/z")), "SimpleNamespace: sandbox.platform: unknown"),
        (SimpleNamespace(base_container_image=7), "SimpleNamespace: sandbox.base_container_image"),
    ],
)
def test_objects_that_will_not_do(config: object, message: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        SandboxConfig.read(config)
    assert message in caught.value.message


_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


_KEYS = st.sampled_from([*SandboxConfig.model_fields, "core", "sandbox"]) | st.text(max_size=12) | st.integers()


@given(st.dictionaries(_KEYS, _VALUES, max_size=6))
def test_a_mapping_is_read_or_refused_in_our_words(values: dict[str, Any]) -> None:
    try:
        assert SandboxConfig.from_mapping(values) == SandboxConfig.from_mapping(values)
    except OhbuildError as error:
        assert error.message  # noqa: PT017 — both outcomes are correct


def test_a_ready_image_is_taken_as_it_is() -> None:
    config = SandboxConfig(runtime_container_image="localhost:5000/my/runtime:1")
    assert resolve_runtime_image(config, connect=no_engine) == "localhost:5000/my/runtime:1"


def resolved(**values: Any) -> str:
    return resolve_runtime_image({"base_container_image": NOWHERE, **values}, connect=no_engine)


def test_what_is_to_be_built_has_one_name_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REPOSITORY_VARIABLE, "localhost:1/my/runtime")
    name = resolved()
    assert name == resolved()
    assert name.startswith("localhost:1/my/runtime:oh_v1.6.0_")
    others = [
        resolved(base_container_image=f"{NOWHERE}:other"),
        resolved(platform="linux/arm64"),
        resolved(platform="linux/amd64,linux/arm64"),
        resolved(enable_browser=False),
        resolved(plugins=["agent_skills"]),
        resolved(plugins=["agent_skills", "jupyter"]),
        resolved(runtime_extra_build_args=["--build-arg=A=1"]),
        resolved(runtime_extra_build_args=["--build-arg=A=2"]),
    ]
    assert len({name, *others}) == 1 + len(others)
    # The name does not depend on settings that do not affect the content of the image.
    assert resolved(force_rebuild_runtime=True, runtime="local") == name


def test_the_digest_of_the_base_counts_when_its_registry_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    platform = native_platform()
    found = {resolved()}
    for letter in "ab":
        config = ImageConfig(platform=platform, size=1)
        image = Image(digest=f"sha256:{letter * 64}", sizes={platform: 1}, configs={platform: config})
        monkeypatch.setattr(Registry, "describe", lambda *_, image=image: image)
        found.add(resolved())
        assert resolved() in found
    assert len(found) == 3


def test_a_base_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def describe(self: Registry, image: ImageRef, _: object) -> Image:
        raise ImageNotFound(f"{image}: no such image")

    monkeypatch.setattr(Registry, "describe", describe)
    with pytest.raises(SeveralErrors) as caught:  # the build image does not exist either
        resolved()
    assert caught.value.errors[0].message == f"{NOWHERE}: no such image"
