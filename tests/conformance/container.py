"""Runs OpenHands 1.6.0 from PyPI and ohbuild's checkout in a container, because the machine may lack Python 3.12.

ohbuild's runtime image has Python 3.13 and, locked to OpenHands' own versions, everything that OpenHands imports. The
OpenHands in that image is adapted, so it is not the one to test. uv installs the unmodified wheel of ``openhands-ai``
by its hash into a folder that comes first in the path, together with ohbuild's other dependencies (once; 18 MB, some
seconds).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ohbuild.config.ca_bundle import read_ca_bundle
from ohbuild.config.settings import load
from ohbuild.docker.connection import Connection
from ohbuild.locks import held
from tests.engine.baked import ROOT
from tests.engine.runtime import docker

# Dependencies of ohbuild that OpenHands does not have.
_OWN = ("python-on-whales", "typer", "shellingham", "pyelftools", "backports-zstd")


def requirements() -> str:
    """Returns the packages to install: OpenHands with the hash of its wheel, and packages from ohbuild's lock."""
    lock = {item["name"]: item for item in tomllib.loads((ROOT / "poetry.lock").read_text())["package"]}
    lines = [(ROOT / "dockerfiles/components/action-execution-server/requirements.txt").read_text().strip()]
    for name in _OWN:
        hashes = " ".join(f"--hash={item['hash']}" for item in lock[name]["files"])
        lines.append(f"{name}=={lock[name]['version']} {hashes}")
    return "\n".join(lines) + "\n"


def install(folder: Path) -> Path:
    """Installs OpenHands, unless that was done before with the same requirements.

    Args:
        folder: Folder that keeps installations between runs.

    Returns:
        The folder with OpenHands.
    """
    # OpenHands copies the folder `skills` into every build, but its wheel does not contain it.
    return install_wheels("openhands", requirements(), folder, empty=("skills",))


def install_wheels(name: str, wanted: str, folder: Path, *, empty: Sequence[str] = ()) -> Path:
    """Installs unmodified wheels for Python 3.13, unless that was done before with the same requirements.

    Args:
        name: Start of the name of the installation's folder.
        wanted: The requirements, with hashes.
        folder: Folder that keeps installations between runs.
        empty: Folders to create in the installation.

    Returns:
        The folder with the packages.
    """
    site = folder / f"{name}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder / f"{name}.lock", on_wait=lambda: None):
        if not site.is_dir():
            _install_wheels(site, name, wanted, empty)
    return site


def _install_wheels(site: Path, name: str, wanted: str, empty: Sequence[str]) -> None:
    folder = site.parent
    fresh, listed = folder / f"{site.name}.new", folder / f"{name}.txt"
    shutil.rmtree(fresh, ignore_errors=True)
    listed.write_text(wanted)
    command = [
        str(ROOT / ".tools/bin/uv"), "pip", "install", "--quiet", "--no-config", "--system-certs", "--no-deps",
        "--require-hashes", "--only-binary=:all:", "--python-version=3.13",
        f"--python-platform={platform.machine()}-manylinux_2_28", f"--target={fresh}", f"--requirement={listed}",
    ]  # fmt: skip
    subprocess.run(command, check=True)
    for other in empty:
        (fresh / other).mkdir()
    fresh.rename(site)


class OpenHands:
    """Runs ``inside.py`` in a container with OpenHands and a Docker client that is connected to the engine.

    The container is there within the context.

    Args:
        engine: The engine.
        image: A runtime image built by ohbuild.
        site: Folder from ``install``.
        scratch: A folder for this test run.
    """

    def __init__(self, engine: Connection, image: str, site: Path, scratch: Path) -> None:
        self._engine, self._image, self._site = engine, image, site
        self._scratch = scratch
        (scratch / "docker").mkdir()
        (scratch / "ca.crt").write_bytes(read_ca_bundle(load().settings))

    def __enter__(self) -> OpenHands:
        words = ["oh-python", "/checkout/tests/conformance/inside.py"]
        with (self._scratch / "log").open("w") as log:
            self._process = subprocess.Popen(
                [str(self._engine.docker), "run", "--rm", "--interactive", *self._options(), self._image, *words],
                env={**os.environ, **self._engine.environment()}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=log, text=True,
            )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def __call__(self, what: str, **arguments: Any) -> Any:
        """Calls a function of ``inside.py`` and returns its result."""
        given = {"registry": self._engine.registry, **arguments}
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([what, given]) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or "{}")
        assert "result" in answer, f"{answer}\n{(self._scratch / 'log').read_text()[-4000:]}"
        return answer["result"]

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
