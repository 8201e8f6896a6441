"""MCP servers in a bare base: an agent's configuration names uvx or npx, and their tools are called."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from ohbuild.docker.connection import Connection
from ohbuild.verify import clients
from tests.engine.baked import bake
from tests.engine.bases import registry_of
from tests.engine.runtime import docker, started

FOLDER = Path(__file__).parent / "mcp"
WHEEL = "ohbuild_mcp-1.0-py3-none-any.whl"


def make_wheel(folder: Path) -> None:
    """Writes a package of ``server.py`` without dependencies, as there may be no network."""
    info = "ohbuild_mcp-1.0.dist-info"
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        wheel.write(FOLDER / "server.py", "ohbuild_mcp.py")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: ohbuild-mcp\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\nohbuild-mcp = ohbuild_mcp:main\n")
        wheel.writestr(f"{info}/RECORD", "")


def test_tools_of_servers_that_uvx_and_npx_start(
    engine: Connection, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    image = bake(
        engine, "alpine:3.23", "--platform", "linux/amd64", "--server", "action-execution-server",
        "--component", "uv,npx", "--cache-to", "off", "--image", f"{registry_of(engine)}/mcp/runtime",
        "--folder", str(tmp_path / "rendered"),
    ).image("alpine:3.23")  # fmt: skip
    docker(engine, "pull", "--quiet", image)
    request.addfinalizer(lambda: docker(engine, "image", "rm", "--force", image))
    make_wheel(tmp_path)
    servers = [
        {"name": "python", "command": "uvx", "args": ["--offline", "--from", f"/wheels/{WHEEL}", "ohbuild-mcp"]},
        {"name": "node", "command": "npx", "args": ["--yes", "--offline", "--package=/mcp", "ohbuild-mcp"]},
    ]
    # npx changes the mode of what it starts.
    shutil.copytree(FOLDER, tmp_path / "mcp")
    mounts = ("--volume", f"{tmp_path / 'mcp'}:/mcp", "--volume", f"{tmp_path / WHEEL}:/wheels/{WHEEL}:ro")
    with started(engine, image, *mounts) as runtime:
        answer = clients.request("POST", f"{runtime.server}/update_mcp_server", json=servers, timeout=120)
        assert (answer.status_code, answer.json().get("router_error_log")) == (200, "")
        client = ("oh-python", "/mcp/client.py")
        answers = json.loads(docker(engine, "exec", runtime.container, *client).splitlines()[-1])
    assert answers.keys() == {"python_say", "node_say"}
    assert answers["python_say"] == "Python 3.13 says 世界"
    assert answers["node_say"].startswith("Node.js v24.")
    assert answers["node_say"].endswith(" says 世界")
