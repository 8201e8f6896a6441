"""What is made of buildx's answers. A script stands in for the client."""

from __future__ import annotations

from pathlib import Path

import pytest

from ohbuild.docker.buildx import Buildx
from ohbuild.docker.connection import Connection
from ohbuild.errors import OhbuildError


@pytest.mark.parametrize(
    ("script", "told"),
    [("exit 3", "exit code 3"), ("echo one >&2; echo 'ERROR: two' >&2; exit 1", "ERROR: two"), ("echo x; exit 1", "x")],
)
def test_a_bake_file_that_buildx_rejects_is_told_whatever_it_says(tmp_path: Path, script: str, told: str) -> None:
    client = tmp_path / "docker"
    client.write_text(f"#!/bin/sh\n{script}\n")
    client.chmod(0o755)
    buildx = Buildx(Connection(docker=client, host=None, config_dir=None, registry=None, origin="system"))
    with pytest.raises(OhbuildError) as caught:
        buildx.definition("docker-bake.hcl", tmp_path, {})
    assert caught.value.message == f"buildx cannot read the bake file: {told}"
