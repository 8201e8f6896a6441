"""The variables that the packages of our servers read: each one passes to the servers, or is known not to.

A new version of a package may read another one, which a user may need. ``OHBUILD_TEST_UPDATE=1`` writes the list anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from oh_container import passed

from ohbuild.docker.connection import Connection
from tests.engine.baked import Baked
from tests.engine.runtime import docker

FOLDER = Path(__file__).parent / "variables"
PYTHON = "/openhands/python/bin/python3.13"
PACKAGES = {
    "agent-server": "/openhands/agent-server/lib/python3.13/site-packages",
    "action-execution-server": "/openhands/python/lib/python3/dist-packages",
}


@pytest.mark.parametrize("server", PACKAGES)
def test_each_variable_that_packages_read_passes_or_is_known_not_to(
    engine: Connection, baked: Baked, baked_v0: Baked, server: str
) -> None:
    image = (baked if server == "agent-server" else baked_v0).image("alpine:3.23")
    docker(engine, "pull", "--quiet", image)
    words = ("run", "--rm", "--volume", f"{FOLDER}:/variables:ro", "--entrypoint", PYTHON, image)
    read = set(docker(engine, *words, "-B", "/variables/scan.py", PACKAGES[server]).splitlines())
    # Tests that the scan finds what it should.
    assert {"LOG_LEVEL", "SSL_CERT_FILE", "XDG_CONFIG_HOME"} <= read
    kept = sorted(name for name in read if not passed.passes(name))
    page = FOLDER / f"{server}.txt"
    if os.environ.get("OHBUILD_TEST_UPDATE"):
        page.write_text("\n".join(kept) + "\n")
    assert kept == page.read_text().splitlines()
