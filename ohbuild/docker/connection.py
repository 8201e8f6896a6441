"""How to reach a Docker Engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Connection:
    """How to reach a Docker Engine with buildx.

    Attributes:
        docker: Path of the docker client.
        host: Value of ``DOCKER_HOST``; ``None`` to use the client's context.
        config_dir: Value of ``DOCKER_CONFIG``; ``None`` for the user's own.
        registry: Address of the engine's registry as in a reference (``localhost:5000``); ``None`` if it has none.
        origin: ``system`` for the user's own Docker, ``ohbuild`` for the private engine.
        registry_log: Access log of the registry (combined format), or ``None``.
    """

    docker: Path
    host: str | None
    config_dir: Path | None
    registry: str | None
    origin: Literal["system", "ohbuild"]
    registry_log: Path | None = None

    def environment(self) -> dict[str, str]:
        """Returns the environment variables to set for the client; none for the user's own Docker.

        For the private engine, variables that would point the client elsewhere are set to empty. Docker and buildx
        treat them as not set.
        """
        if self.host is None or self.config_dir is None:
            return {}
        return {
            "DOCKER_HOST": self.host,
            "DOCKER_CONFIG": str(self.config_dir),
            "BUILDX_CONFIG": str(self.config_dir / "buildx"),
            "DOCKER_CONTEXT": "",
            "DOCKER_TLS_VERIFY": "",
            "DOCKER_API_VERSION": "",
            "BUILDX_BUILDER": "",
        }
