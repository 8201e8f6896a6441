from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ohbuild.errors import InvalidPlatform, OhbuildError, SeveralErrors
from ohbuild.model import Output, Plan, Platform
from ohbuild.plan import cache_sources, make_plan, wanted_platforms
from ohbuild.settings import Settings
from tests.fakes import FAKES

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
DIGEST = "sha256:" + "ab" * 32


def plan(
    *, registry: str = "", deps_only: bool = False, digests: Mapping[str, str] | None = None, **settings: Any
) -> Plan:
    values = {"image": "localhost:5000/x/runtime", "bases": ["debian:trixie"], **settings}
    return make_plan(Settings(**values), FAKES, native=AMD64, registry=registry, deps_only=deps_only, digests=digests)


def test_deps_gets_the_union_of_the_platforms_of_the_runtimes() -> None:
    made = plan(
        bases=[{"image": "alpine:3.23", "platforms": ["linux/amd64"]}, "debian:trixie"],
        platforms="linux/arm64,linux/amd64",
    )
    assert [target.platforms for target in made.runtimes] == [(AMD64,), (AMD64, ARM64)]
    assert made.deps is not None
    assert made.deps.platforms == (AMD64, ARM64)
    alone = plan(bases=[{"image": "alpine:3.23", "platforms": ["linux/amd64"]}], platforms="linux/arm64,linux/amd64")
    assert alone.deps is not None
    assert alone.deps.platforms == (AMD64,)


def test_without_platforms_this_machine_or_the_base_decides() -> None:
    made = plan(bases=[{"image": "alpine:3.23", "platforms": ["linux/arm64"]}, "debian:trixie"])
    assert [target.platforms for target in made.runtimes] == [(ARM64,), (AMD64,)]


def test_names_and_tags() -> None:
    made = plan(bases=["debian:trixie", "alpine:3.23", "ghcr.io/a/b:c", "ghcr.io/a-b:c"])
    assert [target.name for target in made.runtimes][:2] == ["runtime-debian-trixie", "runtime-alpine-3-23"]
    assert len({target.name for target in made.runtimes}) == 4
    key = "0123456789abcdef"
    assert made.runtimes[1].tags(key) == (
        "localhost:5000/x/runtime:alpine-3.23",
        "localhost:5000/x/runtime:alpine-3.23-0123456789ab",
    )
    assert made.deps is not None
    assert made.deps.tags(key) == ("localhost:5000/x/deps:latest", "localhost:5000/x/deps:0123456789ab")
    longest = plan(bases=["ghcr.io/" + "/".join(["a" * 60] * 3) + ":" + "t" * 128])
    assert len(longest.runtimes[0].tags(key)[1].rpartition(":")[2]) <= 128


def test_bases_whose_target_names_collide_get_a_hash() -> None:
    made = plan(bases=["alpine:3.23", "alpine:3-23"])
    names = [target.name for target in made.runtimes]
    assert len(set(names)) == 2
    assert all(name.startswith("runtime-alpine-3-23-") for name in names)


def test_a_base_is_pinned_to_its_digest_if_it_is_known() -> None:
    digests = {"docker.io/library/debian:trixie": DIGEST}
    made = plan(bases=["debian:trixie", "alpine:3.23"], digests=digests)
    pinned = [str(target.base.pinned) for target in made.runtimes if target.base]
    assert pinned == [f"debian:trixie@{DIGEST}", "alpine:3.23"]


@pytest.mark.parametrize(
    ("settings", "registry", "output", "image"),
    [
        ({}, "", Output.PUSH, "localhost:5000/x/runtime"),
        ({"image": None}, "localhost:5001", Output.PUSH, "localhost:5001/ohbuild/runtime"),
        ({"image": None}, "", Output.LOAD, "ohbuild/runtime"),
        ({"image": "me/runtime"}, "localhost:5001", Output.LOAD, "me/runtime"),
        ({"image": "me/runtime", "output": "push"}, "", Output.PUSH, "me/runtime"),
        ({"output": "none"}, "", Output.NONE, "localhost:5000/x/runtime"),
    ],
)
def test_the_output_follows_the_image_name(settings: dict[str, Any], registry: str, output: Output, image: str) -> None:
    made = plan(registry=registry, **settings)
    assert made.output is output
    assert str(made.runtimes[0].repository) == image


@pytest.mark.parametrize(
    ("settings", "cache_from", "cache_to"),
    [
        ({}, ("localhost:5000/x/cache:deps",), "localhost:5000/x/cache:deps"),
        ({"output": "load"}, (), ""),
        ({"output": "load", "cache_from": "a.b/c:d"}, ("a.b/c:d",), ""),
        ({"cache_to": "off", "cache_from": ["auto", "a.b/c:d"]}, ("localhost:5000/x/cache:deps", "a.b/c:d"), ""),
        ({"cache_from": "off", "cache_to": "a.b/c:d"}, (), "a.b/c:d"),
    ],
)
def test_the_cache_is_beside_the_images_when_pushing(
    settings: dict[str, Any], cache_from: tuple[str, ...], cache_to: str
) -> None:
    made = plan(**settings)
    assert (made.cache_from, made.cache_to) == (cache_from, cache_to)


def test_a_ready_deps_image_leaves_only_runtimes() -> None:
    made = plan(deps_image="ghcr.io/x/deps:1")
    assert made.deps is None
    assert made.cache_to == ""
    assert [target.name for target in made.targets] == ["runtime-debian-trixie"]


def test_deps_alone() -> None:
    made = plan(deps_only=True, bases=[], platforms="linux/arm64")
    assert [target.name for target in made.targets] == ["deps"]
    assert made.deps is not None
    assert made.deps.platforms == (ARM64,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bases": []}, "no base"),
        ({"platforms": "linux/riscv64"}, "no component can be built for linux/riscv64"),
        ({"image": None, "output": "push"}, "nowhere to push"),
        ({"bases": ["component-python"]}, "reserved"),
        ({"bases": ["debian:trixie", "docker.io/library/debian:trixie"], "x": 1}, ""),
        ({"bases": [{"image": "a", "platforms": ["linux/arm64"]}], "platforms": "linux/amd64"}, "nothing to build"),
    ],
)
def test_contradictions_are_told(settings: dict[str, Any], message: str) -> None:
    if settings.pop("x", None):
        made = plan(**settings)
        assert len(made.runtimes) == 1
        return
    with pytest.raises(OhbuildError, match=message):
        plan(**settings)


def test_all_contradictions_are_told_at_once() -> None:
    bases = [{"image": "a", "platforms": ["linux/amd64"]}, "component-tmux", "b"]
    with pytest.raises(SeveralErrors) as caught:
        plan(bases=bases, platforms="linux/riscv64")
    assert [type(error) for error in caught.value.errors].count(InvalidPlatform) == 2
    assert len(caught.value.errors) == 3


def test_what_check_asks_for_is_what_bake_would_build() -> None:
    bases = [{"image": "alpine:3.23", "platforms": ["linux/amd64"]}, "debian:trixie", "docker.io/library/debian:trixie"]
    values: dict[str, Any] = {"bases": bases, "platforms": "linux/arm64,linux/amd64"}
    wanted = wanted_platforms(Settings(**values), AMD64)
    assert [(str(image), platforms) for image, platforms in wanted] == [
        ("alpine:3.23", (AMD64,)),
        ("debian:trixie", (AMD64, ARM64)),
    ]
    values = {"bases": ["debian:trixie"]}
    assert wanted_platforms(Settings(**values), ARM64)[0][1] == (ARM64,)


def test_all_that_keeps_check_from_asking_is_told() -> None:
    values: dict[str, Any] = {}
    with pytest.raises(OhbuildError, match="no base to check"):
        wanted_platforms(Settings(**values), AMD64)
    values = {"bases": [{"image": "a", "platforms": ["linux/amd64"]}, "b"], "platforms": "linux/s390x"}
    with pytest.raises(SeveralErrors) as caught:
        wanted_platforms(Settings(**values), AMD64)
    assert [type(error) for error in caught.value.errors] == [InvalidPlatform, InvalidPlatform]


@pytest.mark.parametrize(
    ("given", "registry", "sources"),
    [
        ({}, "", []),
        ({}, "localhost:5000", ["localhost:5000/ohbuild/cache:deps"]),
        ({"image": "h.io/team/runtime"}, "localhost:5000", ["h.io/team/cache:deps"]),
        ({"image": "h.io/team/runtime", "output": "load"}, "", []),
        ({"cache_from": "off"}, "localhost:5000", []),
        ({"cache_from": "h.io/c:1,auto"}, "localhost:5000", ["h.io/c:1", "localhost:5000/ohbuild/cache:deps"]),
        ({"cache_from": "h.io/c:1"}, "", ["h.io/c:1"]),
        ({"output": "push"}, "", []),
    ],
)
def test_where_a_bake_has_put_its_cache(given: dict[str, Any], registry: str, sources: list[str]) -> None:
    assert list(cache_sources(Settings(**given), registry)) == sources
