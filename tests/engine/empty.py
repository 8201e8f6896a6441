"""Builders that have nothing: another BuildKit, by itself and as another Docker's, which the tests may empty."""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ohbuild.docker.connection import Connection
from ohbuild.engine.state import layout
from tests.engine.bridge import bridge
from tests.engine.second import second_engine

ADDRESS = os.environ.get("OHBUILD_TEST_BUILDKIT", "")
"""A standalone BuildKit (``unix:///…/buildkitd.sock``, ``tcp://…``) to take instead of another Docker's. It is
**emptied**, has to reach the engine's registry under the engine's name for it (``localhost:5000``) over http, and to
take it as its mirror of Docker Hub."""


@dataclass(frozen=True)
class Empty:
    """A builder of buildx's ``remote`` driver, known in a temporary configuration only.

    Args:
        connection: the client that knows it.
        docker: the Docker whose BuildKit it is; ``None`` for one that stands alone.
    """

    connection: Connection
    name: str
    docker: Connection | None = None

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            [str(self.connection.docker), "buildx", *words],
            env={**os.environ, **self.connection.environment()},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def empty(self) -> None:
        """Forget everything: layers, cache, and what it knows about blobs."""
        self("prune", "--all", "--force", "--builder", self.name)
        left = self("du", "--builder", self.name)
        assert re.search(r"^Total:\s+0B$", left, re.MULTILINE), left


@contextmanager
def empty_builder(engine: Connection, folder: Path) -> Iterator[Empty]:
    """The BuildKit of OHBUILD_TEST_BUILDKIT, or that of another dockerd, as a builder that is gone afterwards.

    Args:
        folder: an empty one.
    """
    client = folder / "client"
    client.mkdir()
    own = engine.config_dir or Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    for name in ("cli-plugins", "config.json"):
        if (own / name).exists():
            (client / name).symlink_to(own / name)
    host = engine.host or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    connection = replace(engine, config_dir=client, host=host)
    name = f"ohbuild-test-{uuid.uuid4().hex[:8]}"
    with _buildkit(folder) as (address, socket):
        docker = replace(connection, host=f"unix://{socket}") if socket else None
        builder = Empty(connection, name, docker)
        builder("create", "--name", name, "--driver", "remote", address)
        yield builder
        builder("rm", name)


@contextmanager
def _buildkit(folder: Path) -> Iterator[tuple[str, Path | None]]:
    """The address of a BuildKit, and the socket of the Docker whose it is."""
    if ADDRESS:
        yield ADDRESS, None
        return
    with second_engine(layout(), folder / "engine") as socket, bridge(socket, folder / "b.sock") as address:
        yield address, socket
