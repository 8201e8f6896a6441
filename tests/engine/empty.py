"""Empty builders: a second BuildKit, standalone or part of a second Docker, that the tests may clear."""

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
"""Address of a standalone BuildKit (``unix:///…/buildkitd.sock``, ``tcp://…``) to use instead of a second Docker's. Its
data is **deleted**. It must reach the engine's registry over HTTP by the engine's name for it (``localhost:5000``), and
use it as a mirror of Docker Hub."""


@dataclass(frozen=True)
class Empty:
    """A builder with buildx's ``remote`` driver that exists only in a temporary configuration.

    Attributes:
        connection: Client that knows the builder.
        name: Name of the builder.
        docker: Docker that the BuildKit is part of; ``None`` if it is standalone.
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
        """Deletes everything: layers, cache, and records about blobs."""
        self("prune", "--all", "--force", "--builder", self.name)
        left = self("du", "--builder", self.name)
        assert re.search(r"^Total:\s+0B$", left, re.MULTILINE), left


@contextmanager
def empty_builder(engine: Connection, folder: Path) -> Iterator[Empty]:
    """Creates a builder for the BuildKit of OHBUILD_TEST_BUILDKIT, or of a second dockerd, and removes it on exit.

    Args:
        engine: The engine.
        folder: An empty folder.
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
    """Yields the address of a BuildKit, and the socket of the Docker it is part of, if any."""
    if ADDRESS:
        yield ADDRESS, None
        return
    with second_engine(layout(), folder / "engine") as socket, bridge(socket, folder / "b.sock") as address:
        yield address, socket
