"""Runs ``openhands-workspace`` and ``openhands-sdk`` from PyPI in a container, as the machine may lack Python 3.12.

ohbuild's runtime image has Python 3.13 and the packages that they need. The wheels of OpenHands itself are installed
unchanged, by the hashes of the lock, into a folder that comes first in the path.
"""

from __future__ import annotations

import json
import re
import resource
from pathlib import Path
from typing import Any

from ohbuild.docker.connection import Connection
from tests.conformance.container import install_wheels
from tests.engine.baked import ROOT
from tests.engine.runtime import docker

_LOCKS = ROOT / "dockerfiles/components/agent-server/locks"
_RUN = """
import runpy, sys
sys.path.insert(0, "/site")
sys.path.append("/checkout")
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def install(version: str, folder: Path) -> Path:
    """Installs OpenHands' own wheels of a version, unless that was done before with the same lock.

    Returns:
        The folder with the packages.
    """
    lock = (_LOCKS / f"{version}.txt").read_text()
    own = "".join(re.findall(r"^openhands-[\s\S]+?(?=^\S)", lock, re.MULTILINE))
    return install_wheels(f"agent-server-{version}", own, folder)


class Clients:
    """Calls functions of ``clients.py`` in a container with a Docker client.

    Args:
        engine: The engine.
        image: A runtime image with the agent-server whose packages they use.
        site: Folder from ``install``.
    """

    def __init__(self, engine: Connection, image: str, site: Path) -> None:
        self._engine, self._image, self._site = engine, image, site

    def __call__(self, what: str, **arguments: Any) -> Any:
        """Calls a function of ``clients.py`` and returns its result."""
        host = docker(self._engine, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}").strip()
        mounts = {
            host.removeprefix("unix://"): "/run/docker.sock",
            str(Path(self._engine.docker).resolve()): "/usr/local/bin/docker:ro",
            str(self._site): "/site:ro",
            str(ROOT): "/checkout:ro",
        }
        options = [f"--volume={source}:{target}" for source, target in mounts.items()]
        options += ["--env=DOCKER_HOST=unix:///run/docker.sock", "--env=PYTHONDONTWRITEBYTECODE=1", "--network=host"]
        options += ["--env=LITELLM_LOCAL_MODEL_COST_MAP=True", "--no-healthcheck"]
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        options += [f"--env=OHBUILD_TEST_NOFILE={hard}:{hard}"] if 0 <= hard < 65536 else []
        words = ["/openhands/agent-server/bin/python3.13", "-EPc", _RUN, "/checkout/tests/conformance/clients.py", what]
        out = docker(self._engine, "run", "--rm", *options, self._image, *words, json.dumps(arguments))
        return json.loads(out.splitlines()[-1])
