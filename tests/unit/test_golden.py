"""The generated files as a whole, for reviews. After a wanted change: OHBUILD_TEST_UPDATE=1 pytest tests/unit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ohbuild.model import Platform
from ohbuild.plan import make_plan
from ohbuild.render import render
from ohbuild.settings import Settings
from tests.fakes import FAKES

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", ["docker-bake.hcl", "Dockerfile", "Dockerfile.deps", "Dockerfile.runtime"])
def test_the_generated_files_are_as_reviewed(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The keys cover the sources of `relocate`, which change for reasons of their own.
    monkeypatch.setattr("ohbuild.render._relocate", dict)
    values: dict[str, Any] = {
        "bases": ["debian:trixie", {"image": "alpine:3.23", "platforms": ["linux/amd64"]}],
        "platforms": "linux/amd64,linux/arm64",
        "image": "localhost:5000/ohbuild/runtime",
        "labels": {"org.example.note": 'quoted "${x}"\nsecond line'},
    }
    digests = {"docker.io/library/debian:trixie": "sha256:" + "ab" * 32}
    plan = make_plan(Settings(**values), FAKES, native=Platform.parse("amd64"), digests=digests)
    text = render(plan, root=root, ca_bundle=b"PEM").files[name].data.decode()
    if os.environ.get("OHBUILD_TEST_UPDATE"):
        (GOLDEN / name).write_text(text)
    assert text == (GOLDEN / name).read_text()
