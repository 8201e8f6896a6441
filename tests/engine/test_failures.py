"""A part that does not start (browser, VS Code, Jupyter) does not take the server along, and the agent is told why."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ohbuild.docker.client import CommandFailed, Docker
from ohbuild.docker.connection import Connection
from ohbuild.images.platform import Platform
from ohbuild.verify import container
from ohbuild.verify.clients import AgentServer, request
from ohbuild.verify.model import Subject
from tests.engine.baked import Baked, ohbuild
from tests.engine.bases import registry_of
from tests.engine.broken import broken
from tests.engine.runtime import docker, started

VSCODE = "/openhands/vscode/out/server-main.js"
CHROMIUM = "/openhands/chromium/chromium-headless-shell"
GATEWAY = "/openhands/python/lib/python3/dist-packages/kernel_gateway/gatewayapp.py"


def test_the_agent_server_works_without_its_browser_and_vscode(
    engine: Connection, baked: Baked, tmp_path: Path
) -> None:
    place = f"{registry_of(engine)}/failures/agent-server"
    with broken(engine, baked.image("alpine:3.23"), place, tmp_path, CHROMIUM, VSCODE) as image:
        done = ohbuild("verify", image, "--json")
        with agent_server(engine, image) as server:
            early = wait_for_failure(server)
            with pytest.raises(CommandFailed, match="browser_navigate"):
                server.tool("browser_navigate", url="http://127.0.0.1:8000/alive")
            late = server.get("/server_info").json()["failed_parts"]
    assert early["vscode"].startswith("it ended with exit code 1")
    assert early.keys() == {"vscode"}, "the browser starts at its first use"
    assert late.keys() == {"vscode", "browser"}
    assert late["browser"]
    assert done.returncode == 1, done.stderr
    (verdict,) = json.loads(done.stdout)["images"]
    points = {point["name"]: point for point in verdict["points"]}
    failed = {name for name, point in points.items() if point["state"] == "failed"}
    assert failed <= {"browse", "chromium", "vscode", "vscode-token", "hostile", "processes"}
    assert {"browse", "chromium", "vscode", "vscode-token"} <= failed
    assert early["vscode"] in " ".join(points["vscode-token"]["reasons"])
    assert points["server"]["state"] == points["command"]["state"] == points["editor"]["state"] == "ok"


def test_the_action_execution_server_works_without_its_browser_vscode_and_jupyter(
    engine: Connection, baked_v0: Baked, tmp_path: Path
) -> None:
    place, base = f"{registry_of(engine)}/failures/v0", baked_v0.image("debian:trixie")
    with (
        broken(engine, base, place, tmp_path, CHROMIUM, VSCODE, GATEWAY) as image,
        started(engine, image) as server,
    ):
        assert server.run("echo one").strip() == "one"
        failed = info(server.server)["failed_parts"]
        assert failed["jupyter"].startswith("it ended with exit code 1: ModuleNotFoundError")
        assert failed["vscode"].startswith("it ended with exit code 1")
        seen = server.action("run_ipython", code="6*7")
        assert seen["content"].startswith("IPython does not work: it ended with exit code 1: ModuleNotFoundError")
        assert request("GET", f"{server.server}/vscode/connection_token").json() == {"token": None}
        assert "browser" not in failed, "it starts at its first use"
        seen = server.action("browse", url="http://127.0.0.1:8000/alive", timeout=300)
        assert "The browser does not work: " in seen["content"]
        assert set(info(server.server)["failed_parts"]) == {"jupyter", "vscode", "browser"}
        assert server.run("echo two").strip() == "two"


@contextmanager
def agent_server(engine: Connection, image: str) -> Iterator[AgentServer]:
    """Starts an image with the agent-server, as `ohbuild verify` does."""
    client = Docker(engine)
    config = json.loads(docker(engine, "image", "inspect", image))[0]["Config"]
    subject = Subject(label="broken", reference=image, platform=Platform("linux", "amd64"))
    with container.started(client, subject, config, 1.0) as running:
        running.wait()
        assert isinstance(running.client, AgentServer)
        yield running.client


def wait_for_failure(server: AgentServer) -> dict[str, str]:
    """Returns the failed parts, once there are any: the server does not wait for its parts."""
    deadline = time.monotonic() + 60
    while True:
        found: dict[str, str] = server.get("/server_info").json()["failed_parts"]
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def info(server: str) -> dict[str, Any]:
    found: dict[str, Any] = request("GET", f"{server}/server_info").json()
    return found
