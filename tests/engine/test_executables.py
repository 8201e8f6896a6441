"""Every ELF program of the components is started once, so that none is shipped that the build has broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ohbuild.docker.connection import Connection
from tests.engine.baked import Baked
from tests.engine.runtime import docker

FOLDER = Path(__file__).parent / "executables"
BROKEN = "/openhands/libexec/broken"


@pytest.mark.parametrize("server", ["agent-server", "action-execution-server"])
def test_each_program_starts(engine: Connection, baked: Baked, baked_v0: Baked, server: str, tmp_path: Path) -> None:
    image = (baked if server == "agent-server" else baked_v0).image("alpine:3.23")
    docker(engine, "pull", "--quiet", image)
    # Proves that the test can fail: a program with nothing but an entry point.
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF\x02\x01\x01".ljust(24, b"\0") + b"\1" * 40)
    broken.chmod(0o755)
    mounts = ("--volume", f"{FOLDER}:/executables:ro", "--volume", f"{broken}:{BROKEN}:ro")
    out = docker(engine, "run", "--rm", "--init", *mounts, image, "oh-python", "/executables/start.py")
    found = json.loads(out.splitlines()[-1])
    assert found["count"] > 15
    assert found["problems"].keys() == {BROKEN}, found["problems"]
