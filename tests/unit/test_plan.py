from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ohbuild.bake.facts import Facts
from ohbuild.bake.model import Output, Plan, Store
from ohbuild.bake.plan import plan_notes
from ohbuild.bake.request import wanted_platforms
from ohbuild.config.settings import Settings
from ohbuild.errors import InvalidPlatform, OhbuildError, SeveralErrors
from tests.plans import AMD64, ARM64, planned

DIGEST = "sha256:" + "ab" * 32


def plan(
    *,
    registry: str = "",
    deps_only: bool = False,
    digests: Mapping[str, str] | None = None,
    images: Mapping[str, str] | None = None,
    **settings: Any,
) -> Plan:
    values = {"image": "localhost:5000/x/runtime", "bases": ["debian:trixie"], **settings}
    return planned(
        Settings(**values), registry=registry, deps_only=deps_only, digests=digests or {}, images=images or {}
    )


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


def test_the_cache_is_beside_the_component_images_and_one_for_each_platform() -> None:
    both = plan(platforms="linux/amd64,linux/arm64")
    assert both.cache_from == both.cache_to
    assert [ref.rpartition("-")[2] for ref in both.cache_to] == ["amd64", "arm64"]
    assert all(ref.startswith("localhost:5000/x/deps:assembly_") for ref in both.cache_to)
    # a run for one platform reads the cache of a run for both, and leaves the other platform's alone
    assert plan(platforms="linux/arm64").cache_to == both.cache_to[1:]
    assert plan(components=["core"]).cache_to != plan().cache_to


@pytest.mark.parametrize(
    ("settings", "cache_from", "cache_to"),
    [
        ({"output": "load"}, (), ()),
        ({"output": "load", "cache_from": "a.b/c:d"}, ("a.b/c:d",), ()),
        ({"cache_to": "off", "cache_from": "a.b/c:d"}, ("a.b/c:d",), ()),
        ({"cache_from": "off", "cache_to": "a.b/c:d"}, (), ("a.b/c:d",)),
    ],
)
def test_the_cache_is_what_was_asked_for(
    settings: dict[str, Any], cache_from: tuple[str, ...], cache_to: tuple[str, ...]
) -> None:
    made = plan(**settings)
    assert (made.cache_from, made.cache_to) == (cache_from, cache_to)


def test_a_docker_without_an_image_store_exports_no_cache() -> None:
    values: dict[str, Any] = {"image": "localhost:5000/x/runtime", "bases": ["debian:trixie"]}
    facts = Facts(driver="docker", image_store=False)
    made = planned(Settings(**values), driver="docker", image_store=False)
    assert made.cache_to == ()
    assert "cannot export a build cache" in plan_notes(made, Settings(**values), facts)[0]


OWN = {"registry": "localhost:5000", "driver": "docker"}


@pytest.mark.parametrize(
    ("settings", "facts", "store", "repository"),
    [
        ({"image": "a.b/x/runtime"}, {}, Store.REGISTRY, "a.b/x/deps"),
        ({"image": "a.b/x/runtime"}, OWN, Store.REGISTRY, "a.b/x/deps"),
        ({"image": None}, OWN, Store.REGISTRY, "localhost:5000/ohbuild/deps"),
        # images pushed to the engine's own registry share one repository
        ({}, OWN, Store.REGISTRY, "localhost:5000/ohbuild/deps"),
        ({"output": "load"}, OWN, Store.REGISTRY, "localhost:5000/ohbuild/deps"),
        ({"deps_repository": "a.b/d"}, {"registry": "localhost:5000"}, Store.REGISTRY, "a.b/d"),
        ({"component_repository": "a.b/c", "output": "load"}, {"driver": "remote"}, Store.REGISTRY, "a.b/c"),
        ({"output": "load"}, {"driver": "docker"}, Store.DOCKER, "ohbuild/deps"),
        ({"image": None}, {}, Store.DOCKER, "ohbuild/deps"),
        # a builder on another machine may not reach a registry on loopback
        ({"output": "load"}, {**OWN, "driver": "remote"}, Store.LAYOUT, "localhost:5000/ohbuild/deps"),
        ({"output": "load"}, {"driver": "kubernetes"}, Store.LAYOUT, "ohbuild/deps"),
    ],
)  # fmt: skip
def test_where_component_images_are(
    settings: dict[str, Any], facts: dict[str, Any], store: Store, repository: str
) -> None:
    values = {"image": "localhost:5000/x/runtime", "bases": ["debian:trixie"], **settings}
    made = planned(Settings(**values), **facts)
    assert (made.store, made.images[0].image.repository) == (store, repository)


def test_a_mirrors_build_image_gives_the_same_keys() -> None:
    pairs = {"x.y/debian:13": "x.y/debian:13", "debian:trixie": "docker.io/library/debian:trixie"}
    names = {
        str(plan(build_image=image, digests={canonical: DIGEST}).images[0].image) for image, canonical in pairs.items()
    }
    assert len(names) == 1
    assert str(plan().images[0].image) not in names


def test_what_exists_is_not_built() -> None:
    first = plan(platforms="linux/amd64,linux/arm64")
    names = [str(item.image) for item in first.images]
    assert len(set(names)) == 6
    assert [item.exists for item in first.images] == [False] * 6
    made = plan(platforms="linux/amd64,linux/arm64", images={names[0]: DIGEST, names[3]: ""})
    assert [str(item.image) for item in made.images] == [f"{names[0]}@{DIGEST}", *names[1:]]
    assert [str(item.image) for item in made.missing] == [names[1], names[2], names[4], names[5]]
    built = made.with_images({item.target.name: DIGEST for item in made.missing})
    assert not built.missing
    assert [str(item.image) for item in built.images] == [
        names[3] if name == names[3] else f"{name}@{DIGEST}" for name in names
    ]
    assert {item.key for item in built.images if item.component == "tmux"} == {names[4].split(":")[-1].split("-")[1]}


def test_a_ready_deps_image_leaves_only_runtimes() -> None:
    made = plan(deps_image="ghcr.io/x/deps:1")
    assert made.deps is None
    assert made.cache_to == ()
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
        ({"image": None, "output": "push"}, "cannot push: no image name is set"),
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
