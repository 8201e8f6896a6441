"""Fixtures of the engine tests: registries, tiny images, and a private engine of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from ohbuild import process
from ohbuild.docker.connection import Connection
from ohbuild.engine.state import Layout
from tests.engine.private import Private, private_engine
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


@pytest.fixture(scope="module")
def shared_root(engine: Connection) -> Path:
    """A complete root of the private engine, created if the tests use the user's own Docker."""
    shared = Layout(Path(os.environ.get("OHBUILD_ENGINE_DIR") or "/var/lib/ohbuild"))
    if not shared.root.exists():
        env = {**os.environ, "OHBUILD_ENGINE": "ohbuild"}
        subprocess.run([sys.executable, "-m", "ohbuild", "engine", "up"], env=env, check=True)
    return shared.root


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with a Docker configuration."""
    folder = tmp_path_factory.mktemp("home")
    (folder / ".docker").mkdir()
    (folder / ".docker/config.json").write_text('{"auths": {"r.example": {"auth": "eDp5"}}, "currentContext": "far"}')
    return folder


@pytest.fixture(scope="module")
def private(shared_root: Path, home: Path) -> Iterator[Private]:
    """A private engine that is running."""
    with private_engine(shared_root, home) as made:
        process.ask(["cp", "-a", "--link", shared_root, made.layout.root], timeout=60)
        # two at the same time: one of them starts it, both succeed
        first, second = made.start("up"), made.start("up", "--json")
        _, said = first.communicate(timeout=120)
        out, err = second.communicate(timeout=120)
        assert (first.returncode, second.returncode) == (0, 0), (said, err)
        assert json.loads(out)["registry"] == f"localhost:{made.layout.port}"
        yield made


@pytest.fixture(scope="module")
def rootfs(shared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small root file system with one program, `/bin/echo`, and its libraries."""
    folder = tmp_path_factory.mktemp("rootfs")
    usr = shared_root / "usr"
    files = [usr / "bin/echo", *usr.glob("lib64/ld-linux-*.so.*"), *usr.glob("lib/ld-linux-*.so.*")]
    files += usr.glob("lib/*-linux-gnu/libc.so.6")
    for file in files:
        target = folder / file.relative_to(usr)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    (folder / "etc").mkdir()
    (folder / "etc/os-release").write_text("ID=tiny\n")
    return folder
