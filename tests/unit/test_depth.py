"""The number of layers of a runtime image, and what `check` says when it comes near the limits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from ohbuild.bake.depth import added_layers, layers_of_bases
from ohbuild.bake.render import render
from ohbuild.check.base import State, judge
from ohbuild.check.depth import MANY, depth_remarks
from ohbuild.components.builtin import BUILTIN
from ohbuild.config.settings import Settings
from ohbuild.images.config import ImageConfig
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Image
from tests.plans import planned

CHOICES: list[dict[str, Any]] = [
    {},
    {"server": "action-execution-server"},
    {"server": "both", "components": ["uv", "npx"]},
    {"components": ["tmux"]},
    {"enable_browser": False},
    {"requirements": ["jupyter"]},
    {"system_packages": ["git"], "extra_deps": "true"},
    {"bases": [{"image": "debian:trixie", "system_packages": ["git"]}]},
]


@pytest.mark.parametrize("values", CHOICES, ids=str)
def test_the_number_is_that_of_the_dockerfile(values: dict[str, Any]) -> None:
    settings = Settings(**{"bases": ["debian:trixie"], "image": "a.b/c", **values})
    plan = planned(settings, BUILTIN, users={"docker.io/library/debian:trixie": ""})
    text = str(render(plan).files["Dockerfile"].data, "utf-8")
    runtime = (
        text.partition("FROM scratch AS deps")[0] + text[text.index("FROM scratch AS deps") :].partition("\n\n")[2]
    )
    layers = re.findall(r"^(?:ADD|COPY|RUN) ", runtime, re.MULTILINE)
    base = ImageRef.parse("debian:trixie")
    assert layers_of_bases(settings)(base) == layers_of_bases(settings, plan.layers)(base) == len(layers)


def test_a_wrong_choice_is_not_an_error_of_the_base() -> None:
    added = layers_of_bases(Settings(components=["nothing"]))  # type: ignore[arg-type]
    assert added(ImageRef.parse("x")) == layers_of_bases(Settings())(ImageRef.parse("x"))


@pytest.mark.parametrize(
    ("layers", "added", "words"),
    [
        (5, 11, ()),
        (104, 11, ()),
        (105, 11, ("its 105 layers and ohbuild's 11 are 116", "at most 127 layers, 125 in its classic")),
        (114, 11, ("are 125", "at most 127")),
        (115, 11, ("are 126", "classic image store accepts 125")),
        (116, 11, ("are 127", "classic image store accepts 125")),
        (117, 11, ("are 128", "may not run", "flatten the base")),
    ],
)
def test_what_is_said_near_the_limits(layers: int, added: int, words: Sequence[str]) -> None:
    text = " ".join(f"{remark.text}: {remark.meaning}" for remark in depth_remarks(layers, added))
    assert all(word in text for word in words)
    assert bool(text) is bool(words)


def test_no_choice_needs_more_than_what_is_left_out() -> None:
    assert not list(
        depth_remarks(MANY, added_layers([item.name for item in BUILTIN], system_packages=True, extra_deps=True))
    )


@pytest.mark.parametrize(("layers", "state"), [(5, State.OK), (MANY, State.OK), (120, State.REMARKS)])
def test_a_base_with_many_layers_has_a_remark(layers: int, state: State) -> None:
    asked: list[ImageRef] = []

    def added(base: ImageRef) -> int:
        asked.append(base)
        return 11

    platform = Platform.parse("linux/amd64")
    body = {
        "os": "linux",
        "architecture": "amd64",
        "config": {"Env": ["PATH=/bin"]},
        "rootfs": {"diff_ids": ["x"] * layers},
    }
    image = Image(digest="x", sizes={platform: 1}, configs={platform: ImageConfig.parse(body)})
    base = ImageRef.parse("a.b/c:1")
    report = judge(base, [platform], image, today=datetime(2026, 1, 1, tzinfo=UTC), added=added)
    assert report.state is state
    assert asked == ([base] if layers > MANY else [])
    assert [remark.rule for remark in report.remarks] == (["layers"] if layers > MANY else [])


@pytest.mark.parametrize(
    ("rootfs", "layers"),
    [({"rootfs": {"diff_ids": ["a", "b"]}}, 2), ({"RootFS": {"Layers": ["a"]}}, 1), ({}, 0), ({"rootfs": None}, 0),
     ({"rootfs": {"diff_ids": None}}, 0)],
)  # fmt: skip
def test_layers_are_counted_in_every_form(rootfs: dict[str, Any], layers: int) -> None:
    assert ImageConfig.parse(rootfs).layers == layers
