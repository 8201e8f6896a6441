"""The generated files as a whole, for reviews. After a wanted change: OHBUILD_TEST_UPDATE=1 pytest tests/unit."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ohbuild.model import DepsImage, ImageRef, Plan, Platform
from ohbuild.plan import make_plan
from ohbuild.render import render, standalone, standalone_deps
from ohbuild.settings import Settings
from tests.fakes import FAKES

GOLDEN = Path(__file__).parent / "golden"


def _plan(**more: Any) -> Plan:
    values: dict[str, Any] = {
        "bases": ["debian:trixie", {"image": "alpine:3.23", "platforms": ["linux/amd64"]}],
        "platforms": "linux/amd64,linux/arm64",
        "image": "localhost:5000/ohbuild/runtime",
        **more,
    }
    digests = {"docker.io/library/debian:trixie": "sha256:" + "ab" * 32}
    return make_plan(Settings(**values), FAKES, native=Platform.parse("amd64"), digests=digests)


def _as_reviewed(name: str, text: str) -> None:
    if os.environ.get("OHBUILD_TEST_UPDATE"):
        (GOLDEN / name).write_text(text)
    assert text == (GOLDEN / name).read_text()


@pytest.mark.parametrize("name", ["docker-bake.hcl", "Dockerfile", "Dockerfile.deps", "Dockerfile.runtime"])
def test_the_generated_files_are_as_reviewed(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The keys cover the sources of `relocate`, which change for reasons of their own.
    monkeypatch.setattr("ohbuild.render._relocate", dict)
    plan = _plan(labels={"org.example.note": 'quoted "${x}"\nsecond line'})
    _as_reviewed(name, render(plan, root=root, ca_bundle=b"PEM").files[name].data.decode())


def test_the_standalone_dockerfiles_are_as_reviewed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ohbuild.render._relocate", dict)
    plan = _plan(labels={"org.example.note": 'quoted "${x}"'})
    _as_reviewed("standalone.Dockerfile", standalone(plan, plan.runtimes[0], root=root)["Dockerfile"].data.decode())
    _as_reviewed("standalone-deps.Dockerfile", standalone_deps(plan, root=root)["Dockerfile"].data.decode())
    plan = _plan(system_packages="git", extra_deps="echo done", deps_image="ghcr.io/x/deps:1")
    ready = replace(plan, deps_image=DepsImage(image=ImageRef.parse("ghcr.io/x/deps:1"), env={"A": "b"}))
    text = standalone(ready, ready.runtimes[1], root=root)["Dockerfile"].data.decode()
    _as_reviewed("standalone-ready-deps.Dockerfile", text)
