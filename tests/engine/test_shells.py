"""Our shell in real bases, with the start-up files that bases and their users have."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ohbuild.docker.connection import Connection
from tests.engine.baked import Baked
from tests.engine.runtime import docker
from tests.engine.shells import fragments

FOLDER = Path(__file__).parent / "shells"
PROGRAM = ("-m", "tests.engine.shells.run")


BASES = ("debian:trixie", "alpine:3.23")
"""Debian has a bash, and Alpine gets ours."""


@pytest.fixture(scope="module")
def found(engine: Connection, baked: Baked) -> dict[str, dict[str, list[str]]]:
    """What is wrong with each start-up file, by base. Both at the same time, because they wait most of the time."""

    def ask(base: str) -> dict[str, list[str]]:
        image = baked.image(base)
        docker(engine, "pull", "--quiet", image)
        words = ("run", "--rm", "--init", "--volume", f"{FOLDER}:/project/tests/engine/shells:ro", "--env")
        python = ("PYTHONPATH=/project", "--entrypoint", "/openhands/python/bin/python3.13", image, "-B", "-Xutf8")
        answer: dict[str, list[str]] = json.loads(docker(engine, *words, *python, *PROGRAM))
        return answer

    with ThreadPoolExecutor() as pool:
        return dict(zip(BASES, pool.map(ask, BASES), strict=True))


@pytest.mark.parametrize("base", BASES)
def test_no_start_up_file_breaks_an_agents_commands(found: dict[str, dict[str, list[str]]], base: str) -> None:
    assert len(found[base]) == len(fragments.KEPT) + len(fragments.LEFT_OUT) + len(fragments.SYSTEM) + 4
    assert {name: wrong for name, wrong in found[base].items() if wrong} == {}
