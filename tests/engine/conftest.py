"""Fixtures of tests that bake tiny things."""

from __future__ import annotations

import os
import uuid

import pytest

from ohbuild.docker.connection import Connection
from tests.engine.tiny import Docker


@pytest.fixture(scope="session")
def registry(engine: Connection) -> str:
    """``host:port`` of a registry that the engine can push to."""
    address = os.environ.get("OHBUILD_TEST_REGISTRY") or engine.registry
    if not address:
        pytest.skip("your own Docker is used, and OHBUILD_TEST_REGISTRY names no registry it may push to")
    return address


@pytest.fixture
def place(registry: str) -> str:
    """A folder of repositories of this test's own."""
    return f"{registry}/test-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def docker(engine: Connection) -> Docker:
    return Docker(engine)
