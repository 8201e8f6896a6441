"""OpenHands 1.6.0 from PyPI beside ohbuild's checkout, in a container: it needs Python 3.12, which a machine may lack.

A runtime image of ohbuild's has Python 3.13 and, from the lock of OpenHands' own versions, all that OpenHands imports.
What is tested is not what is in that image, which is adapted: the wheel of ``openhands-ai`` is installed unchanged, by
pip and by its hash, into a folder that comes first, and with it what ohbuild needs besides (18 MB, some seconds, once).
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ohbuild.config.ca_bundle import read_ca_bundle
from ohbuild.config.settings import load
from ohbuild.docker.connection import Connection
from tests.engine.baked import ROOT
from tests.engine.runtime import docker

# Of ohbuild's dependencies, those that OpenHands does not have too.
_OWN = ("python-on-whales", "typer", "shellingham", "pyelftools", "backports-zstd")
_GLIBC = ("2_28", "2_17")  # of the wheels' platform tags


def requirements() -> str:
    """What is installed: OpenHands with the hash of its wheel, and packages of ohbuild's own lock."""
    lock = {item["name"]: item for item in tomllib.loads((ROOT / "poetry.lock").read_text())["package"]}
    lines = [(ROOT / "dockerfiles/components/action-execution-server/requirements.txt").read_text().strip()]
    for name in _OWN:
        hashes = " ".join(f"--hash={item['hash']}" for item in lock[name]["files"])
        lines.append(f"{name}=={lock[name]['version']} {hashes}")
    return "\n".join(lines) + "\n"


def install(folder: Path) -> Path:
    """The folder with OpenHands, installed once for these requirements.

    Args:
        folder: where such folders are kept between runs.
    """
    wanted = requirements()
    site = folder / f"openhands-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    if site.is_dir():
        return site
    folder.mkdir(parents=True, exist_ok=True)
    fresh = site.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    (folder / "requirements.txt").write_text(wanted)
    tags = [f"--platform=manylinux_{version}_{platform.machine()}" for version in _GLIBC]
    tags.append(f"--platform=manylinux2014_{platform.machine()}")
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--require-hashes", "--only-binary=:all:", "--python-version=3.13", "--ignore-requires-python", *tags,
        f"--target={fresh}", f"--requirement={folder / 'requirements.txt'}",
    ]  # fmt: skip
    subprocess.run(command, check=True)
    # OpenHands copies this folder into every build and has forgotten to bring it along.
    (fresh / "skills").mkdir()
    fresh.rename(site)
    return site


class OpenHands:
    """Runs ``inside.py`` beside OpenHands, with a Docker client that reaches the engine.

    Args:
        image: a runtime image of ohbuild's.
        site: from ``install``.
        scratch: a folder for this test run.
    """

    def __init__(self, engine: Connection, image: str, site: Path, scratch: Path) -> None:
        self._engine, self._image, self._site = engine, image, site
        self._scratch = scratch
        (scratch / "docker").mkdir()
        (scratch / "ca.crt").write_bytes(read_ca_bundle(load().settings))

    def __call__(self, what: str, **arguments: Any) -> Any:
        """What a function of ``inside.py`` returns."""
        given = {"registry": self._engine.registry, **arguments}
        words = ["oh-python", "/checkout/tests/conformance/inside.py", what, json.dumps(given)]
        return json.loads(docker(self._engine, "run", "--rm", *self._options(), self._image, *words).splitlines()[-1])

    def _options(self) -> Sequence[str]:
        plugins = json.loads(docker(self._engine, "info", "--format", "{{json .ClientInfo.Plugins}}"))
        buildx = next(plugin["Path"] for plugin in plugins if plugin["Name"] == "buildx")
        host = docker(self._engine, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}").strip()
        mounts = {
            host.removeprefix("unix://"): "/run/docker.sock",
            str(Path(self._engine.docker).resolve()): "/usr/local/bin/docker:ro",
            buildx: "/client/cli-plugins/docker-buildx:ro",
            str(self._scratch / "docker"): "/client/buildx",
            str(self._scratch / "ca.crt"): "/ca.crt:ro",
            str(self._site): "/site:ro",
            str(ROOT): "/checkout:ro",
        }
        variables = {
            "DOCKER_HOST": "unix:///run/docker.sock",
            "DOCKER_CONFIG": "/client",
            "OHBUILD_CA_BUNDLE": "/ca.crt",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        options = [f"--volume={source}:{target}" for source, target in mounts.items()]
        return ["--network=host", *options, *(f"--env={name}={value}" for name, value in variables.items())]
