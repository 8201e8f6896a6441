"""How to reach a Docker Engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Connection:
    """How to reach a Docker Engine with buildx.

    Args:
        docker: the command line client.
        host: DOCKER_HOST, or None to leave that to the client (its context).
        config_dir: DOCKER_CONFIG, or None for the user's own.
        registry: address of the engine's registry as in a reference (``localhost:5000``), or None if it has none.
        origin: ``system`` for the user's own Docker, ``ohbuild`` for the private engine.
        registry_log: the registry's access log (combined format), or None.
    """

    docker: Path
    host: str | None
    config_dir: Path | None
    registry: str | None
    origin: Literal["system", "ohbuild"]
    registry_log: Path | None = None

    def environment(self) -> dict[str, str]:
        """Variables to set for the client. Empty for the user's own Docker, which is used as it is.

        For the private engine, variables that would lead the client elsewhere are set to empty, which Docker and
        buildx take as not set.
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
