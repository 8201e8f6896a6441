"""Compares ``openhands-ai`` 1.6.0 from PyPI with ours: functions, configuration, errors and its build front end."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from ohbuild.components.openhands import SOURCE_HASH, VERSION
from ohbuild.config.sandbox import SandboxConfig
from ohbuild.docker.connection import Connection
from tests.conformance.container import OpenHands
from tests.engine.runtime import docker, started

TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
DIGEST = "sha256:" + "a" * 64
ORDINARY = [
    "debian",
    "debian:trixie",
    "debian:Trixie",
    "org/image:1.2",
    "ghcr.io/org/image:1",
    "nikolaik/python-nodejs:python3.12-nodejs22-slim",
    "registry.example.com/a-long-name/of-an-image-that-is-shortened:1",
    "debian:" + "x" * 128,
    "ghcr.io/openhands/runtime:ready",
]
CONFIG = """
[core]
enable_browser = false
runtime = "docker"
max_iterations = 7

[sandbox]
base_container_image = "alpine:3.23"
platform = "linux/amd64"
runtime_extra_deps = "echo x"
runtime_extra_build_args = ["--network=host"]
force_rebuild_runtime = true
timeout = 5
"""


ODD = ["localhost:5000/a/b:c", "localhost:5000/a/b", f"debian@{DIGEST}", f"localhost:5000/a@{DIGEST}"]
COLLIDING = [
    ("get_runtime_image_repo_and_tag", "a/b:1", "a_s_b:1"),
    ("get_runtime_image_repo_and_tag", "x:y_tag_z", "x_tag_y:z"),
    ("get_tag_for_versioned_image", "x:A", "x:a"),
    ("get_tag_for_versioned_image", "one/" + "a" * 100, "two/" + "a" * 100),
]
HASHES = ["1", "0123456789abcdef", "0" * 20 + "f" * 12, "fedcba9876543210" * 4]


@pytest.fixture(scope="module")
def facts(openhands: OpenHands) -> dict[str, Any]:
    bases = [*ORDINARY, *ODD, *(base for _, one, other in COLLIDING for base in (one, other))]
    answer: dict[str, Any] = openhands("facts", bases=bases, values=HASHES, text=CONFIG)
    return answer


@pytest.fixture(scope="module")
def repository(engine: Connection, own_registry: str) -> Iterator[str]:
    """A repository in the engine's registry for this test run. Images pulled from it are removed at the end."""
    name = f"{own_registry}/conformance/{secrets.token_hex(6)}/runtime"
    yield name
    if images := docker(engine, "image", "ls", "--quiet", name).split():
        docker(engine, "image", "rm", "--force", *images)


def test_the_release_is_the_one_that_we_know(facts: dict[str, Any]) -> None:
    assert facts["release"] == {"version": VERSION, "source_hash": SOURCE_HASH}


def test_its_functions_and_ours_are_called_alike(facts: dict[str, Any]) -> None:
    for name, (theirs, ours) in facts["signatures"].items():
        assert ours[: len(theirs)] == theirs, name


def test_ordinary_bases_have_its_tags(facts: dict[str, Any]) -> None:
    for base in ORDINARY:
        theirs, ours = facts["tags"][base]["get_runtime_image_repo_and_tag"]
        assert ours == theirs, base
        theirs, ours = facts["tags"][base]["get_tag_for_versioned_image"]
        assert ours == theirs or base != base.lower() or len(base) > 96


def test_where_it_crashes_or_makes_a_tag_that_is_none_we_do_not(facts: dict[str, Any]) -> None:
    for base in ODD:
        theirs, ours = facts["tags"][base]["get_runtime_image_repo_and_tag"]
        assert theirs == "ValueError" or not TAG.fullmatch(theirs[1]), base
        assert TAG.fullmatch(ours[1]), base


@pytest.mark.parametrize(("function", "one", "other"), COLLIDING)
def test_where_it_makes_one_tag_of_two_bases_we_do_not(
    facts: dict[str, Any], function: str, one: str, other: str
) -> None:
    first, second = facts["tags"][one][function], facts["tags"][other][function]
    assert first[0] == second[0]
    assert first[1] != second[1]


def test_truncate_hash(facts: dict[str, Any]) -> None:
    assert len(facts["hashes"]) == len(HASHES)
    assert all(theirs == ours for theirs, ours in facts["hashes"])


def test_its_configuration_is_ours(facts: dict[str, Any]) -> None:
    answer = facts["config"]
    assert answer["default"] == answer["own_default"]
    assert answer["read"][0] == answer["read"][1]
    assert answer["read"][0]["runtime_extra_build_args"] == ["--network=host"]
    assert answer["read"][0]["enable_browser"] is False
    assert answer["names"][0] == answer["names"][1]
    assert answer["plugins"] == ["agent_skills", "jupyter"]


def test_no_key_of_its_own_is_taken_for_a_misspelt_one_of_ours(facts: dict[str, Any]) -> None:
    tables = facts["keys"]
    assert {"base_container_image", "platform", "runtime_extra_build_args"} <= set(tables["sandbox"])
    assert {"enable_browser", "runtime"} <= set(tables["core"])
    for table, keys in tables.items():
        others = {key: "x" for key in keys if key not in SandboxConfig.model_fields}
        assert SandboxConfig.from_mapping({table: others}) == SandboxConfig()


def test_its_own_front_builds_with_our_builder(openhands: OpenHands, engine: Connection, repository: str) -> None:
    first, second = openhands("build", repository=repository, base="alpine:3.23", times=2)["runs"]
    name = first["name"]
    source, lock, versioned = (call[1][0] for call in first["calls"][:3])
    # Exactly these calls: positional arguments for `image_exists`, keywords for `build`.
    assert first["calls"][:6] == [
        ["image_exists", [source, False], {}, False],
        ["image_exists", [lock], {}, False],
        ["image_exists", [versioned], {}, False],
        *(["image_exists", [image, False], {}, False] for image in (source, lock, versioned)),
    ]
    (build,) = first["calls"][6:]
    assert build[:2] == ["build", []]
    assert set(build[2]) == {"path", "tags", "platform", "extra_build_args"}
    assert build[2]["tags"] == [source, lock, versioned]
    assert (build[2]["platform"], build[2]["extra_build_args"]) == (None, None)
    assert name == source == build[3]
    assert second["calls"] == [["image_exists", [name, False], {}, True]]
    assert second["name"] == name

    for tag in (source, lock, versioned):  # all of them, although OpenHands' own builder drops the third
        docker(engine, "buildx", "imagetools", "inspect", tag)
    with started(engine, name) as runtime:
        assert runtime.run("cat /etc/os-release").count("Alpine")


def test_what_its_front_asks_for_is_in_the_image(openhands: OpenHands, engine: Connection, repository: str) -> None:
    options = {"extra_deps": "echo $OH_INTERPRETER_PATH > /interpreter", "enable_browser": False}
    (run,) = openhands("build", repository=repository, base="debian:trixie", **options)["runs"]
    image = run["name"]
    assert docker(engine, "run", "--rm", image, "cat", "/interpreter").strip().endswith("oh-python")
    labels = json.loads(docker(engine, "image", "inspect", "--format", "{{json .Config.Labels}}", image))
    assert "playwright" not in labels["dev.ohbuild.components"].split(",")
    assert labels["org.opencontainers.image.base.name"].endswith("debian:trixie")


def test_its_command_line_is_ours(openhands: OpenHands) -> None:
    written = openhands("command_line", base="alpine:3.23")
    # The same lines except for the hashes, because they identify different images.
    form = re.compile(r"(DOCKER_IMAGE_SOURCE_TAG=oh_v1\.6\.0)_[0-9a-z]{16}_[0-9a-z]{16}\n")
    theirs, ours = (form.sub(r"\1\n", written[name]) for name in ("openhands", "ohbuild"))
    assert ours == theirs
    assert ours.startswith("DOCKER_BASE_DIR=x\nDOCKER_IMAGE_TAG=oh_v1.6.0_image_alpine_tag_3.23\n")


def test_our_error_is_its_error(openhands: OpenHands, repository: str) -> None:
    other = repository.replace("runtime", "other")
    (missing,) = openhands("build", repository=other, base="no-such-image-anywhere:1")["runs"]
    assert missing["calls"][-1][0] == "image_exists"  # the build itself raised
    refused = openhands("refused", repository=other, base="alpine:3.23")
    for found, word in ((missing, "no-such-image-anywhere"), (refused, "no-such-builder")):
        assert found["ours"] is True
        assert found["category"] in ("context", "network")
        assert word in found["error"]


def test_a_forced_rebuild_keeps_its_name(openhands: OpenHands, repository: str) -> None:
    """OpenHands' own function then passes no tags to the builder, because the image exists. Ours passes all three."""
    (run,) = openhands("build", repository=repository, base="alpine:3.23", force_rebuild=True)["runs"]
    assert run["calls"][-1][:1] == ["image_exists"]
    assert run["category"] == "context"
    assert "tags is empty" in run["error"]

    answer = openhands("force", repository=repository.replace("runtime", "forced"), base="alpine:3.23")
    assert len(set(answer["names"])) == 1
    builds = [call for call in answer["calls"] if call[0] == "build"]
    assert [len(call[2]["tags"]) for call in builds] == [3, 3]
    assert answer["calls"][-1][:2] == ["image_exists", [answer["names"][0], False]]


def test_its_own_builder_builds_what_we_prepare(openhands: OpenHands, engine: Connection) -> None:
    """OpenHands' builder does not support repositories with a port, and loads the image into Docker."""
    repository = f"ohbuild-test-{secrets.token_hex(6)}/runtime"
    try:
        name, again = openhands("their_builder", repository=repository, base="alpine:3.23")["names"]
        assert name == again
        assert name.startswith(f"{repository}:oh_v1.6.0_")
        assert docker(engine, "run", "--rm", "--network=none", name, "oh-python", "-c", "print(6 * 7)").strip() == "42"
    finally:
        if images := docker(engine, "image", "ls", "--quiet", repository).split():
            docker(engine, "image", "rm", "--force", *images)
