"""VS Code's search, which runs its own ripgrep, used in Chromium as a user would."""

from __future__ import annotations

from pathlib import Path

from ohbuild.docker.connection import Connection
from ohbuild.verify.clients import request
from tests.engine.baked import Baked
from tests.engine.runtime import docker, started

FOLDER = Path(__file__).parent / "server"


def test_vscode_finds_a_text_in_a_folder(engine: Connection, baked_v0: Baked) -> None:
    image = baked_v0.image("alpine:3.23")
    docker(engine, "pull", "--quiet", image)
    with started(engine, image, "--volume", f"{FOLDER}:/server:ro") as runtime:
        runtime.run("mkdir /workspace/search && cd /workspace/search && echo 'a needle → 世界' > one && echo hay > two")
        token = request("GET", f"{runtime.server}/vscode/connection_token").json()["token"]
        found = runtime.exec("/openhands/bin/oh-python", "/server/search.py", token, "/workspace/search", "needle")
    assert found.strip().startswith("1 result in 1 file")
