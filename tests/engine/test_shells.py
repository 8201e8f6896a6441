"""Our shell in real bases, with the start-up files that bases and their users have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ohbuild.docker.connection import Connection
from tests.engine.baked import Baked
from tests.engine.runtime import docker
from tests.engine.shells import fragments

FOLDER = Path(__file__).parent / "shells"
PROGRAM = ("-m", "tests.engine.shells.run")


# Debian has a bash, and Alpine gets ours.
@pytest.mark.parametrize("base", ["debian:trixie", "alpine:3.23"])
def test_no_start_up_file_breaks_an_agents_commands(engine: Connection, baked: Baked, base: str) -> None:
    image = baked.image(base)
    docker(engine, "pull", "--quiet", image)
    words = ("run", "--rm", "--init", "--volume", f"{FOLDER}:/project/tests/engine/shells:ro", "--env")
    python = ("PYTHONPATH=/project", "--entrypoint", "/openhands/python/bin/python3.13", image, "-B", "-Xutf8")
    found = json.loads(docker(engine, *words, *python, *PROGRAM))
    assert len(found) == len(fragments.KEPT) + len(fragments.LEFT_OUT) + len(fragments.SYSTEM) + 4
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
