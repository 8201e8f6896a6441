"""What unit tests share: settings without this machine's, and buildx's parser, which needs no daemon."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ohbuild.engine.state import layout

Bake = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="session")
def _session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What is the same for all tests, because they undo what they change. Returns the current folder."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("OHBUILD_") and not name.startswith(("OHBUILD_ENGINE", "OHBUILD_TEST")):
                patch.delenv(name)
        for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "BUILDX_BUILDER"):
            patch.delenv(name, raising=False)
        current = tmp_path_factory.mktemp("cwd")
        patch.chdir(current)
        # `dockerfiles/` is read as it is; byte code of oh_runtime has no place there.
        patch.setattr(sys, "dont_write_bytecode", True)
        yield current


@pytest.fixture(autouse=True)
def _clean(_session: Path) -> Iterator[None]:
    """No OHBUILD_* variables, no Docker that the user has chosen, and no settings file.

    The current folder is empty, and one for all, which is cheap.
    """
    yield
    for path in _session.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _buildx() -> tuple[list[str], dict[str, str]]:
    """A docker client with buildx, and its environment: the one on PATH, or the private engine's, up or not."""
    where = layout(dict(os.environ))
    for docker, more in ((shutil.which("docker"), {}), (where.bin / "docker", {"DOCKER_CONFIG": str(where.client)})):
        command, environment = [str(docker), "buildx"], {**os.environ, **more}
        if docker and Path(docker).exists():
            done = subprocess.run([*command, "version"], env=environment, capture_output=True, check=False)
            if done.returncode == 0:
                return _plugin(str(docker), environment) or command, environment
    pytest.fail("no docker client with buildx: install one, or run `ohbuild engine up`")


def _plugin(docker: str, environment: dict[str, str]) -> list[str]:
    """The program of buildx, which the client would start twice; empty if it is not found."""
    words = [docker, "info", "--format", "{{range .ClientInfo.Plugins}}{{.Name}}={{.Path}}\n{{end}}"]
    done = subprocess.run(words, env=environment, capture_output=True, encoding="utf-8", check=False)
    return [line.partition("=")[2] for line in done.stdout.splitlines() if line.startswith("buildx=")][:1]


@pytest.fixture(scope="session")
def bake_print(tmp_path_factory: pytest.TempPathFactory) -> Bake:
    """Reads a bake file's text with ``buildx bake --print`` and returns its targets, strings as they will be used."""
    command, environment = _buildx()
    folder = tmp_path_factory.mktemp("bake")
    (folder / "ca.crt").touch()  # buildx looks whether a secret's file is there

    def read(text: str) -> dict[str, Any]:
        words = [*command, "bake", "--file", "-", "--print", "all"]
        done = subprocess.run(words, input=text.encode(), env=environment, capture_output=True, cwd=folder, check=False)
        assert done.returncode == 0, done.stderr.decode() + text
        # What is printed is a bake file again, so `${` and `%{` are escaped in it.
        return dict(_unescape(json.loads(done.stdout)["target"]))

    return read


def _unescape(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("$${", "${").replace("%%{", "%{")
    if isinstance(value, dict):
        return {_unescape(key): _unescape(item) for key, item in value.items()}
    return [_unescape(item) for item in value] if isinstance(value, list) else value
