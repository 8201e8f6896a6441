"""Fixtures for tests that bake tiny images."""

from __future__ import annotations

import os
import uuid

import pytest

from ohbuild.docker.connection import Connection
from tests.engine.tiny import Docker


@pytest.fixture(scope="session")
def registry(engine: Connection) -> str:
    """Address (``host:port``) of a registry that the engine can push to."""
    address = os.environ.get("OHBUILD_TEST_REGISTRY") or engine.registry
    if not address:
        pytest.skip("your own Docker is used, and OHBUILD_TEST_REGISTRY names no registry it may push to")
    return address


@pytest.fixture
def place(registry: str) -> str:
    """A repository prefix that only this test uses."""
    return f"{registry}/test-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def docker(engine: Connection) -> Docker:
    return Docker(engine)
