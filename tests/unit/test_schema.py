"""ohbuild.schema.json: accepts the files that ``load`` accepts, and refuses the mistakes a schema can find."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ohbuild.config.settings import Settings, load
from ohbuild.errors import OhbuildError
from tests.reference import ROOT, SCHEMA

VALIDATOR = Draft202012Validator(json.loads(SCHEMA.read_text()))
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]


def problems(values: object) -> list[str]:
    return [f"{error.json_path}: {error.message[:200]}" for error in VALIDATOR.iter_errors(values)]


def refusal(text: str) -> str:
    """Why ``load`` refuses an ohbuild.toml; empty if it does not."""
    Path("ohbuild.toml").write_text(text)
    try:
        load()
    except OhbuildError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def toml(value: Any) -> str:
    """A value in TOML; strings are as in JSON."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    return f"[{', '.join(map(toml, value))}]" if isinstance(value, list) else json.dumps(value)


def test_it_is_a_schema_that_describes_every_key() -> None:
    schema = VALIDATOR.schema
    assert isinstance(schema, dict)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for table in (schema, *schema["$defs"].values()):
        assert table["additionalProperties"] is False
        assert [key for key, found in table["properties"].items() if not found.get("description")] == []
    assert list(schema["properties"]) == list(Settings.model_fields)
    defaults = {key: found["default"] for key, found in schema["properties"].items() if "default" in found}
    assert problems(defaults) == []


def examples() -> Iterator[Any]:
    yield pytest.param((ROOT / "ohbuild.toml").read_text(), id="ohbuild.toml")
    for page in PAGES:
        for number, text in enumerate(re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)):
            values = tomllib.loads(text)
            if values.keys() & Settings.model_fields.keys() or "#:schema" in text:
                yield pytest.param(text, id=f"{page.name}-{number}")


@pytest.mark.parametrize("text", list(examples()))
def test_every_example_is_valid(text: str) -> None:
    assert problems(tomllib.loads(text)) == []
    assert refusal(text) == ""


def test_there_are_examples() -> None:
    assert len(list(examples())) > 3
    assert (ROOT / "ohbuild.toml").read_text().startswith(f"#:schema ./{SCHEMA.name}\n")


@pytest.mark.parametrize(
    "text",
    [
        'platform = ["linux/amd64"]',
        'platforms = ["linux/amd65"]',
        'platforms = "amd64,amd65"',
        'platforms = ["linux/amd64/x"]',
        "platforms = 1",
        'bases = ["Debian"]',
        'bases = ["debian:trixie", "a b"]',
        "bases = [7]",
        "bases = [{}]",
        'bases = [{image = "a", plaforms = []}]',
        'bases = [{image = "a", platforms = ["amd65"]}]',
        'bases = [{image = "http://a/b"}]',
        'image = "a/b:tag"',
        'image = "Upper/case"',
        "image = {registry = 'a.b', path = 'c'}",
        'deps_image = "a@sha256:1"',
        'build_image = ""',
        "build_image = {registry = 'a.b', path = 'c'}",
        "platforms = [{system = 'linux', architecture = 'x'}]",
        'component_cache = "a.b/c:tag"',
        'cache_to = "type=registry,ref=a"',
        'cache_from = ["auto", "a b"]',
        'system_packages = ["git;id"]',
        "system_packages = [1]",
        "components = 1",
        'output = "fly"',
        "compression = 1",
        'provenance = "perhaps"',
        "labels = {a = 1}",
        "build_args = ['A=1']",
        "source_date_epoch = -1",
        "max_builds = 0",
        "max_builds = 1.5",
        "build_timeout = 'long'",
        "folder = 1",
        "kubernetes = 'yes'",
        "[kubernetes]\nnamespaces = 'a'",
        "[kubernetes]\nreplicas = 0",
        "[kubernetes]\nload_balance = 'fair'",
        "[kubernetes]\nimage = 'Upper/Case'",
        "[kubernetes]\nenv = {'A-B' = 'c'}",
        "[kubernetes.limits]\ncpus = 1",
        "[kubernetes.limits]\nmemory = '8GB'",
        "[kubernetes.platforms.'linux/amd65']",
        "[kubernetes.platforms.arm64]\nnamespace = 'a'",
        "[[kubernetes.tolerations]]\noperator = 'Likes'",
    ],
)
def test_a_wrong_file_is_refused_by_both(text: str) -> None:
    assert problems(tomllib.loads(text))
    assert refusal(text)


ODD = st.text("aA0._-/:@ ,=", max_size=8)
PATHS = st.from_regex(r"\A[a-z0-9]{1,3}((\.|_|__|-+)[a-z0-9]{1,2})?(/[a-z]{1,3}){0,2}\Z")
HOSTS = st.sampled_from(["", "localhost/", "localhost:5000/", "a.b/", "A.b:1/", "[::1]:5000/", "docker.io/", "a:1/"])
REPOSITORIES = st.builds("{}{}".format, HOSTS, PATHS) | ODD
TAGS = st.sampled_from(["", ":1", ":Latest_1.0-x", "@sha256:" + "0a" * 32, ":x@sha512+b:" + "A" * 64])
REFERENCES = st.builds("{}{}{}".format, HOSTS, PATHS, TAGS) | ODD
SYSTEMS = st.sampled_from(["", "linux/", "Linux/", "macos/", "windows/", "freebsd/"])
ARCHITECTURES = st.sampled_from(["amd64", "aarch64", "x86_64", "X86-64", "armhf", "arm", "386", "loong64", "armv7l"])
PLATFORM = st.builds("{}{}{}".format, SYSTEMS, ARCHITECTURES, st.sampled_from(["", "/v2", "/7", "/v8.1", "/1"])) | ODD
PLATFORMS = st.lists(PLATFORM, max_size=3).map(" , ".join) | st.lists(PLATFORM, max_size=3).map("\r\n ".join)
PACKAGES = st.sampled_from(["git", "curl=8.*", "libc6:arm64", "x@edge", "a>=1:2~b", "g++", "a-"]) | ODD
LINES = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="\x7f"), max_size=5)
NAMES = st.from_regex(r"\A[A-Za-z][A-Za-z0-9_.-]{0,4}\Z")
AMOUNTS = st.sampled_from(["", "2", "500m", "1.5Gi", "4E", "1e9", ".5", 4, 2.5, 8_000_000_000]) | ODD
TABLES = st.dictionaries(NAMES, LINES | st.integers(0, 9), max_size=2)
RESOURCES = st.fixed_dictionaries({}, optional={"cpu": AMOUNTS, "memory": AMOUNTS, "ephemeral_storage": AMOUNTS})
TOLERATIONS = {"key": NAMES, "operator": st.sampled_from(["Equal", "Exists"]), "value": NAMES | st.integers(0, 9),
               "effect": st.sampled_from(["", "NoExecute"]), "seconds": st.integers(-1, 9)}  # fmt: skip
NODE: dict[str, st.SearchStrategy[Any]] = {
    "image": REFERENCES, "replicas": st.integers(0, 3), "requests": RESOURCES, "limits": RESOURCES,
    "node_selector": TABLES, "tolerations": st.lists(st.fixed_dictionaries({}, optional=TOLERATIONS), max_size=2),
    "annotations": TABLES, "labels": TABLES, "service_account": NAMES, "scheduler": NAMES, "rootless": st.booleans(),
    "qemu": st.booleans(), "qemu_image": REFERENCES, "root_volume_memory": AMOUNTS, "env": TABLES,
}  # fmt: skip
KUBERNETES = NODE | {
    "namespace": NAMES, "kubeconfig": LINES, "context": LINES, "load_balance": st.sampled_from(["sticky", "random"]),
    "timeout": st.floats(0, 9) | st.integers(0, 9), "buildkitd_config": LINES,
    "platforms": st.dictionaries(PLATFORMS, st.fixed_dictionaries({}, optional=NODE), max_size=2),
}  # fmt: skip


def one_of(table: Mapping[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """A table with one key: more would seldom all be right."""
    return st.one_of([st.fixed_dictionaries({name: values}) for name, values in table.items()])


def many(item: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """A list, or a string with commas, line breaks or JSON."""
    items = st.lists(item, max_size=3)
    return items | items.map(", ".join) | items.map("\n".join) | items.map(json.dumps)


BASES = st.lists(REFERENCES | st.fixed_dictionaries(
    {"image": REFERENCES}, optional={"platforms": many(PLATFORM), "system_packages": many(PACKAGES)}
), max_size=2)  # fmt: skip
SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "bases": BASES | BASES.map(json.dumps) | many(REFERENCES),
    "platforms": PLATFORMS | st.lists(PLATFORMS, max_size=2) | many(PLATFORM),
    "server": st.sampled_from(["agent-server", "action-execution-server", "both"]), "agent_server_version": LINES,
    "components": many(NAMES), "requirements": many(NAMES), "enable_browser": st.booleans(),
    "allow_secret_args": st.booleans(),
    "build_args": st.dictionaries(NAMES, LINES), "extra_deps": LINES, "system_packages": many(PACKAGES),
    "build_image": REFERENCES, "debian_snapshot": st.just("http://a.b/debian/20261101T000000Z") | LINES,
    "image": REPOSITORIES, "deps_repository": REPOSITORIES, "component_repository": REPOSITORIES,
    "deps_image": REFERENCES, "output": st.sampled_from(["auto", "push", "load", "none"]),
    "cache_to": REFERENCES | st.sampled_from(["auto", "off", ""]), "cache_from": many(REFERENCES),
    "component_cache": REPOSITORIES | st.sampled_from(["off", ""]), "builder": NAMES | ODD,
    "compression": st.sampled_from(["zstd", "gzip"]), "provenance": st.booleans(),
    "source_date_epoch": st.integers(-1, 2**40), "ca_bundle": LINES, "labels": st.dictionaries(NAMES, LINES),
    "runtime": NAMES, "kubernetes": one_of(KUBERNETES), "max_builds": st.integers(0, 9) | st.sampled_from([1.0]),
    "build_timeout": st.floats(-1, 9) | st.integers(-1, 9), "preflight": st.booleans(), "folder": LINES,
}  # fmt: skip


@given(one_of(SETTINGS))
@example({"platforms": "LINUX/AMD64"})
@example({"kubernetes": {"limits": {"cpu": 4}}})
def test_what_load_accepts_it_accepts(values: dict[str, Any]) -> None:
    text = "\n".join(f"{key} = {toml(value)}" for key, value in values.items())
    if not refusal(text):
        assert problems(values) == []


def test_every_setting_is_generated() -> None:
    assert list(SETTINGS) == list(Settings.model_fields)
    assert KUBERNETES.keys() == Settings.model_fields["kubernetes"].annotation.model_fields.keys()  # type: ignore[union-attr]
