"""Deliberately broken images: a runtime image from which a later layer removes one file."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ohbuild.docker.connection import Connection
from tests.engine.runtime import docker
from tests.layers import archive, gone

LIBRARY = "/openhands/lib/libevent_core-2.1.so.7"
"""A library that only tmux needs."""


def without(engine: Connection, image: str, path: str, new: str, folder: Path, platform: str = "linux/amd64") -> str:
    """Pushes a copy of an image for one platform, without one file. No existing layer is transferred.

    Args:
        engine: The engine.
        image: Image in the engine's registry.
        path: Path of the file in a container.
        new: Name of the copy, in the same registry.
        folder: Folder for the new layer.
        platform: Platform of the copy.

    Returns:
        The name of the copy.
    """
    layer = folder / "without.tar"
    layer.write_bytes(archive([gone(path.lstrip("/"))]))
    crane(engine, "append", "--platform", platform, "--base", image, "--new_layer", str(layer), "--new_tag", new)
    return new


@contextmanager
def broken(engine: Connection, image: str, new: str, folder: Path, *files: str) -> Iterator[str]:
    """Pulls a copy of an image without some files, and removes it at the end.

    Args:
        engine: The engine.
        image: Image in the engine's registry.
        new: Repository of the copy, in the same registry.
        folder: Folder for the new layers.
        *files: Paths of the files in a container.

    Yields:
        The name of the copy.
    """
    for number, file in enumerate(files):
        image = without(engine, image, file, f"{new}:{number}", folder)
    docker(engine, "pull", "--quiet", image)
    try:
        yield image
    finally:
        docker(engine, "image", "rm", "--force", image)


def crane(engine: Connection, *arguments: str) -> None:
    """Runs crane, which changes images in a registry without Docker."""
    program = engine.docker.parent / "crane"
    if not program.exists():
        pytest.skip("your own Docker is used, which comes without crane (OHBUILD_ENGINE=ohbuild)")
    environment = {**os.environ, **engine.environment()}
    done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
