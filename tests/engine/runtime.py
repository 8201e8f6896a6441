"""A client for the action execution server, written for the tests: plain HTTP, without OpenHands' code."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from ohbuild.docker.connection import Connection
from ohbuild.verify.clients import request

START_SECONDS = 180


def docker(engine: Connection, *arguments: str, check: bool = True) -> str:
    """Runs one docker command on the engine and returns what it prints."""
    done = subprocess.run(
        [str(engine.docker), *arguments], env=engine.environment(), capture_output=True, text=True, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"docker {' '.join(arguments)}: {done.stderr.strip()}\n{done.stdout[-2000:]}")
    return done.stdout


@dataclass(frozen=True)
class Runtime:
    """A running runtime image.

    Attributes:
        engine: Engine that runs it.
        container: ID of the container.
        server: Base URL of the action execution server.
        vscode: Base URL of the VS Code server.
    """

    engine: Connection
    container: str
    server: str
    vscode: str

    def action(self, name: str, timeout: float = 120, **arguments: Any) -> dict[str, Any]:
        """Sends one action and returns the observation."""
        answer = request(
            "POST",
            f"{self.server}/execute_action",
            json={"action": {"action": name, "args": arguments}},
            timeout=timeout,
        )
        assert answer.status_code == 200, answer.text
        observation: dict[str, Any] = answer.json()
        return observation

    def run(self, command: str) -> str:
        """Runs a command in the agent's shell, even if it prints nothing for long, and asserts that it succeeds."""
        observation = self.action("run", command=command, blocking=True)
        assert observation["extras"]["metadata"]["exit_code"] == 0, observation
        return str(observation["content"])

    def exec(self, *command: str) -> str:
        """Runs a command in the container with `docker exec`."""
        return docker(self.engine, "exec", self.container, *command)


@contextmanager
def started(
    engine: Connection, image: str, *options: str, platform: str = "linux/amd64", command: Sequence[str] = ()
) -> Iterator[Runtime]:
    """Starts an image with ``docker run``, optionally with a command, and waits until its server responds."""
    container = docker(
        engine, "run", "--detach", "--platform", platform, "-p", "127.0.0.1::8000", "-p", "127.0.0.1::8001",
        *options, image, *command,
    ).strip()  # fmt: skip
    try:
        ports = json.loads(docker(engine, "inspect", "-f", "{{json .NetworkSettings.Ports}}", container))
        server, vscode = (f"http://127.0.0.1:{ports[port][0]['HostPort']}" for port in ("8000/tcp", "8001/tcp"))
        deadline = time.monotonic() + START_SECONDS
        while not alive(server):
            state = docker(engine, "inspect", "-f", "{{.State.Status}}", container).strip()
            if state != "running" or time.monotonic() > deadline:
                logs = docker(engine, "logs", "--tail", "60", container)
                raise AssertionError(f"{image}: no answer from its server, the container is {state}\n{logs}")
            time.sleep(0.5)
        yield Runtime(engine=engine, container=container, server=server, vscode=vscode)
    finally:
        docker(engine, "rm", "--force", "--volumes", container)


def alive(server: str) -> bool:
    """Checks whether ``/alive`` responds with ``ok``."""
    try:
        answer = request("GET", f"{server}/alive", timeout=5)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and answer.json() == {"status": "ok"}
