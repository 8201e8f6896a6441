"""The jobs of a workflow: which there are, what each gets, and what each builds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohbuild.bake.matrix import GROUP, JOBS, component_jobs, read_runners, runtime_jobs
from ohbuild.config.bases import BaseSetting, named_bases
from ohbuild.config.settings import load, load_for_bases
from ohbuild.errors import SeveralErrors, UsageError
from ohbuild.images.reference import ImageRef
from tests.plans import AMD64, ARM64
from tests.plans import component_plan as plan


def test_a_job_for_each_missing_image() -> None:
    jobs = component_jobs(plan(platforms="linux/amd64,linux/arm64", there=["core", "python"]), {})
    assert [(each["component"], each["platform"], each["runner"]) for each in jobs] == [
        ("tmux", "linux/amd64", "ubuntu-24.04"),
        ("tmux", "linux/arm64", "ubuntu-24.04-arm"),
    ]
    assert re.fullmatch(r"localhost:5000/x/deps:tmux-[0-9a-f]{12}-arm64", jobs[1]["image"])
    assert component_jobs(plan(there=["core", "python", "tmux"]), {}) == []
    assert [each["component"] for each in component_jobs(plan(["tmux"], there=["core"]), {})] == ["tmux"]


def test_component_images_must_be_in_a_registry() -> None:
    with pytest.raises(UsageError, match="component images would not be pushed") as caught:
        component_jobs(plan(output="load"), {})
    assert "--image REGISTRY/NAME" in caught.value.hint
    assert component_jobs(plan(output="load", component_repository="a.b/c"), {})


def test_the_jobs_of_a_matrix_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ohbuild.bake.matrix.JOBS", 5)
    assert len(component_jobs(plan(), {})) == 3
    with pytest.raises(UsageError, match="6 component images are missing, but a matrix of GitHub Actions has at most"):
        component_jobs(plan(platforms="linux/amd64,linux/arm64"), {})


def test_runners_are_labels_by_platform() -> None:
    both = (AMD64, ARM64)
    assert read_runners({}, both) == {AMD64: "ubuntu-24.04", ARM64: "ubuntu-24.04-arm"}
    assert read_runners({}, [ARM64]) == {ARM64: "ubuntu-24.04-arm"}
    own = read_runners({"aarch64": "self-hosted, arm64", "linux/amd64": '["a b"]'}, both)
    assert own == {AMD64: "a b", ARM64: ["self-hosted", "arm64"]}


@pytest.mark.parametrize(
    ("given_runners", "message"),
    [
        ({"linux/arm64": "x"}, r"--runner: linux/arm64 is not one of the platforms to build for \(linux/amd64\)"),
        ({"linux/amd65": "x"}, "--runner: unknown architecture 'amd65'"),
        ({"": "x"}, "--runner: '' is not a platform"),
        ({"amd64": ""}, "--runner amd64= has no label"),
        ({"amd64": "[]"}, "--runner amd64= has no label"),
        ({"amd64": "[1]"}, "--runner: 1 is not a string"),
    ],
)
def test_a_wrong_runner_is_named(given_runners: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read_runners(given_runners, [AMD64])
    assert caught.value.hint
    with pytest.raises(SeveralErrors):
        read_runners({**given_runners, "linux/s390x": "x"}, [AMD64])


# --- runtime jobs


def based(*texts: str) -> tuple[BaseSetting, ...]:
    return tuple(BaseSetting(image=ImageRef.parse(text)) for text in texts)


def grouped(
    bases: Sequence[BaseSetting], configured: Iterable[BaseSetting] = (), groups: int | None = None
) -> list[dict[str, Any]]:
    return runtime_jobs(bases, configured, {base.image.canonical: f"runtime/{base.image}" for base in bases}, groups)


@given(st.integers(0, 300), st.none() | st.integers(1, JOBS))
def test_groups_have_every_base_once_in_order(number: int, groups: int | None) -> None:
    names = [f"base:{each}" for each in range(number)]
    jobs = grouped(based(*names), groups=groups)
    found = [each["bases"].split(",") for each in jobs]
    assert [name for group in found for name in group] == names
    assert [each["images"] for each in jobs] == [",".join(f"runtime/{name}" for name in group) for group in found]
    assert [each["group"] for each in jobs] == list(range(1, len(jobs) + 1))
    sizes = [len(group) for group in found]
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
    assert len(jobs) == (min(groups, number) if groups else -(-number // GROUP))


def test_groups_are_limited_but_the_default_never_needs_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ohbuild.bake.matrix.JOBS", 2)
    some = based(*(f"base:{number}" for number in range(5 * GROUP)))
    assert len(grouped(some)) == 2
    with pytest.raises(UsageError, match="--groups 3: a matrix of GitHub Actions has at most 2 jobs"):
        grouped(some, groups=3)
    assert len(grouped(some[:2], groups=3)) == 2


TABLES = 'bases = ["debian:trixie", {image = "alpine:3.23", platforms = ["linux/amd64"], system_packages = "git"}]\n'


def test_a_jobs_text_gives_it_the_same_bases() -> None:
    Path("ohbuild.toml").write_text(TABLES)
    configured = load().settings.bases

    def texts(*arguments: str, groups: int) -> list[str]:
        wanted = load_for_bases({}, named_bases(arguments)).bases
        jobs = grouped(wanted, configured, groups)
        loaded = [base for each in jobs for base in load_for_bases({}, named_bases([each["bases"]])).bases]
        assert tuple(loaded) == wanted
        return [each["bases"] for each in jobs]

    # a table of ohbuild.toml is there for the job too
    assert texts(groups=1) == ["debian:trixie,alpine:3.23"]
    assert texts("docker.io/library/alpine:3.23,[::1]:5000/x", groups=2) == ["alpine:3.23", "[::1]:5000/x"]
    # others go with the text
    arm = '{"image":"alpine:3.23","platforms":["linux/arm64"]}'
    assert texts(f"[{arm}]", "debian:trixie", "ubuntu", groups=2) == [f"[{arm}]", "debian:trixie,ubuntu"]
    assert texts("ubuntu", f"[{arm}]", groups=1) == [f'["ubuntu",{arm}]']
    assert texts('[{"image": "alpine:3.23"}]', groups=1) == ['[{"image":"alpine:3.23"}]']
