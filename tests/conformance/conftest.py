"""Fixture for OpenHands from PyPI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ohbuild.docker.connection import Connection
from tests.conformance.container import OpenHands, install
from tests.engine.baked import ROOT, Baked
from tests.engine.runtime import docker


@pytest.fixture(scope="session")
def openhands(engine: Connection, baked_v0: Baked, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenHands]:
    """OpenHands in a container, with functions of ``inside.py`` to call."""
    host = docker(engine, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}").strip()
    if not host.startswith("unix://"):
        pytest.skip(f"Docker is not on this machine ({host}), and OpenHands' test mounts its socket")
    site = install(Path(ROOT / ".tools" / "conformance"))
    with OpenHands(engine, baked_v0.image("debian:trixie"), site, tmp_path_factory.mktemp("openhands")) as running:
        yield running
