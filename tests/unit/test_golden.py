"""Complete generated files for review. Update them with OHBUILD_TEST_UPDATE=1 pytest tests/unit/test_golden.py."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ohbuild.bake.model import Plan
from ohbuild.bake.render import render, standalone
from ohbuild.config.settings import Settings
from tests.plans import planned

GOLDEN = Path(__file__).parent / "golden"


def _plan(**more: Any) -> Plan:
    values: dict[str, Any] = {
        "bases": ["debian:trixie", {"image": "alpine:3.23", "platforms": ["linux/amd64"]}],
        "platforms": "linux/amd64,linux/arm64",
        "image": "localhost:5000/ohbuild/runtime",
        **more,
    }
    digests = {"docker.io/library/debian:trixie": "sha256:" + "ab" * 32}
    first = planned(Settings(**values), digests=digests)
    # the first image already exists
    images = {str(first.images[0].image): "sha256:" + "cd" * 32}
    return planned(Settings(**values), digests=digests, images=images)


def _as_reviewed(name: str, text: str) -> None:
    if os.environ.get("OHBUILD_TEST_UPDATE"):
        (GOLDEN / name).write_text(text)
    assert text == (GOLDEN / name).read_text()


@pytest.fixture(autouse=True)
def _no_relocate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Excludes unrelated files from the keys, so that changing them does not affect the golden files."""
    monkeypatch.setattr("ohbuild.components.stages._relocate", dict)
    monkeypatch.setattr("ohbuild.components.stages.BUILD_FILES", ())


@pytest.mark.parametrize("name", ["docker-bake.hcl", "Dockerfile", "Dockerfile.components"])
def test_the_generated_files_are_as_reviewed(name: str) -> None:
    plan = _plan(labels={"org.example.note": 'quoted "${x}"\nsecond line'})
    _as_reviewed(name, render(plan, ca_bundle=b"PEM").files[name].data.decode())


def test_the_standalone_dockerfiles_are_as_reviewed() -> None:
    plan = _plan(labels={"org.example.note": 'quoted "${x}"'})
    _as_reviewed("standalone.Dockerfile", standalone(plan, plan.runtimes[0])["Dockerfile"].data.decode())
    plan = _plan(system_packages="git", extra_deps="echo done")
    _as_reviewed("standalone-executed.Dockerfile", standalone(plan, plan.runtimes[1])["Dockerfile"].data.decode())
