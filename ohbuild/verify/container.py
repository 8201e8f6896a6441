"""Starts a container of a runtime image, queries it by HTTP and ``docker exec``, and removes it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from ohbuild.docker.client import CommandFailed, Docker, environment
from ohbuild.images import labels as label
from ohbuild.verify.model import Subject

START_SECONDS = 180.0
"""Time limit for the server to respond, without emulation."""
ACTION_SECONDS = 120.0
"""Time limit for one action, without emulation."""
EMULATED = 10.0
"""Factor for all time limits under emulation (measured: 8.4 for bootstrapping Debian)."""
BUSYBOX = "/openhands/libexec/busybox"
OH_PYTHON = "/openhands/bin/oh-python"
_SERVER_PORT, _VSCODE_PORT = "8000/tcp", "8001/tcp"
_LOG_LINES = 12


class ServerDead(CommandFailed):
    """The server did not start.

    Args:
        message: Why it did not start, in one line.
        log: Last lines of the container's log.
    """

    def __init__(self, message: str, log: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.log = log


@dataclass
class Running:
    """A running container.

    Attributes:
        docker: Client of the engine that runs it.
        subject: What is verified.
        image: ``Config`` of the image.
        config: ``Config`` of the container: that of the image, changed by the options of the mode.
        container: ID of the container.
        factor: Factor for time limits: 1, or ``EMULATED``.
        server: Base URL of the action execution server; empty if it was not started.
        vscode: Base URL of VS Code; empty if no server was started.
    """

    docker: Docker
    subject: Subject
    image: dict[str, Any]
    config: dict[str, Any]
    container: str
    factor: float = 1.0
    server: str = ""
    vscode: str = ""

    @property
    def env(self) -> dict[str, str]:
        """The environment in the container's config: the variables of the image and of the mode."""
        return environment(self.config)

    def exec(
        self,
        *command: str,
        user: str = "",
        env: dict[str, str] | None = None,
        privileged: bool = False,
        stdin: str | None = None,
        seconds: float = 60,
    ) -> str:
        """Runs a command in the container, without a shell, and returns its standard output.

        Args:
            *command: Program and arguments.
            user: User to run as; the container's own by default.
            env: Variables that override the container's.
            privileged: Whether the command gets all capabilities.
            stdin: Text for standard input; none by default.
            seconds: Time limit, extended under emulation.

        Raises:
            CommandFailed: The command failed or timed out.
        """
        options = ["--interactive"] if stdin is not None else []
        options += ["--user", user] if user else []
        options += ["--privileged"] if privileged else []
        options += [word for name, value in (env or {}).items() for word in ("--env", f"{name}={value}")]
        done = self.docker.run("exec", *options, self.container, *command, stdin=stdin, seconds=seconds * self.factor)
        if done.code:
            raise CommandFailed(f"{command[0]}: {done.last} (exit code {done.code})")
        return done.out

    def read(self, path: str) -> str:
        """Returns the content of a file in the container."""
        return self.exec(BUSYBOX, "cat", path)

    def get(self, path: str) -> httpx.Response:
        """Sends a GET request to the action execution server."""
        return httpx.get(f"{self.server}{path}", timeout=30 * self.factor, headers=self._headers(), trust_env=False)

    def action(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Sends an action of OpenHands and returns the observation.

        Args:
            name: Type of the action, such as ``run``.
            **arguments: Arguments of the action.

        Raises:
            CommandFailed: The server does not respond, or responds with a status other than 200.
        """
        seconds = ACTION_SECONDS * self.factor
        try:
            answer = httpx.post(
                f"{self.server}/execute_action",
                # The server's limit is shorter than ours, because its report of a timeout is more detailed.
                json={"action": {"action": name, "args": arguments, "timeout": seconds}},
                timeout=seconds + 30 * self.factor,
                headers=self._headers(),
                trust_env=False,
            )
        except httpx.HTTPError as error:
            raise CommandFailed(f"action {name}: {error or type(error).__name__}") from error
        if answer.status_code != 200:
            raise CommandFailed(f"action {name}: the server returned {answer.status_code}: {_line(answer.text)}")
        observation: dict[str, Any] = answer.json()
        return observation

    def shell(self, command: str) -> str:
        """Runs a command in the agent's shell and returns its output.

        The command must print something. On a busy machine, OpenHands may mistake the previous prompt for the end of
        the command and return no output. The command is then sent again, up to three times in total.

        The action is blocking: otherwise OpenHands gives up on a command that prints nothing for ten seconds
        (``NO_CHANGE_TIMEOUT_SECONDS``).

        Raises:
            CommandFailed: The command failed or printed nothing.
        """
        for _ in range(3):
            observation = self.action("run", command=command, blocking=True)
            content = str(observation.get("content", "")).replace("\r\n", "\n")
            metadata = observation.get("extras", {}).get("metadata", {})
            code = metadata.get("exit_code")
            if code != 0:
                # If there is no exit code, OpenHands gives the reason in the suffix.
                text = content if content.strip() else str(metadata.get("suffix", ""))
                raise CommandFailed(f"in the agent's shell: {_line(text)} (exit code {code})")
            if content.strip():
                return content
            time.sleep(1)
        raise CommandFailed(f"in the agent's shell: no output from {command[:60]}…")

    def alive(self) -> bool:
        """Returns whether ``/alive`` reports ``ok``."""
        try:
            answer = httpx.get(f"{self.server}/alive", timeout=5 * self.factor, trust_env=False)
            return answer.status_code == 200 and answer.json() == {"status": "ok"}
        except (httpx.HTTPError, ValueError):
            return False

    def wait(self) -> None:
        """Waits until the server responds.

        Raises:
            ServerDead: The container exited, or the server does not respond in time.
        """
        limit = START_SECONDS * self.factor
        deadline = time.monotonic() + limit
        while not self.alive():
            state = json.loads(self.docker.ask("inspect", "--format", "{{json .State}}", self.container))
            if state["Status"] != "running":
                raise ServerDead(f"the container exited with code {state['ExitCode']}", self.log())
            if time.monotonic() > deadline:
                raise ServerDead(f"the server did not respond within {limit:.0f} s", self.log())
            time.sleep(0.3)

    def log(self) -> tuple[str, ...]:
        """Returns the last lines of the container's log."""
        done = self.docker.run("logs", "--tail", str(4 * _LOG_LINES), self.container)
        lines = [line.rstrip() for line in (done.out + done.err).splitlines() if line.strip()]
        return tuple(lines[-_LOG_LINES:])

    def _headers(self) -> dict[str, str]:
        key = self.env.get("SESSION_API_KEY", "")
        return {"X-Session-API-Key": key} if key else {}


@contextmanager
def started(
    docker: Docker, subject: Subject, image: dict[str, Any], factor: float, *, idle: bool = False
) -> Iterator[Running]:
    """Starts a container for the duration of a ``with`` block, without waiting for its server.

    Args:
        docker: Client of the engine to start it with.
        subject: What is verified.
        image: ``Config`` of the image.
        factor: Factor for time limits: 1, or ``EMULATED``.
        idle: Whether to start ``sleep`` instead of the server, to run commands with ``exec``.

    Yields:
        The container; it is removed at the end of the block.

    Raises:
        CommandFailed: The container could not be started.
    """
    words = ["run", "--detach", "--platform", str(subject.platform), "--pull", "never", "--label", docker.label]
    words += ["--publish", "127.0.0.1::8000", "--publish", "127.0.0.1::8001", *subject.mode.options]
    if factor > 1:
        # OpenHands gives its plug-ins 120 s (action_execution_server.py).
        words += ["--env", f"INIT_PLUGIN_TIMEOUT={START_SECONDS * factor:.0f}"]
    # Images made before this label existed have all plug-ins.
    plugins = (image.get("Labels") or {}).get(label.AGENT_PLUGINS)
    served = subject.mode.command if plugins is None else subject.mode.command_for(plugins.split(","))
    command = (BUSYBOX, "sleep", "86400") if idle else served
    # If a container is created but cannot start, `docker run` leaves it behind. `Docker.close` finds it by its label.
    container = docker.ask(*words, subject.reference, *command, seconds=300).strip()
    try:
        seen = json.loads(docker.ask("inspect", container))[0]
        running = Running(
            docker=docker, subject=subject, image=image, config=seen["Config"], container=container, factor=factor
        )
        if not idle:
            running.server, running.vscode = (_url(seen, port) for port in (_SERVER_PORT, _VSCODE_PORT))
        yield running
    finally:
        docker.remove(container)


def _url(seen: dict[str, Any], port: str) -> str:
    """Returns the URL of a published port, or one where nothing listens if the container has already exited."""
    bound = (seen["NetworkSettings"]["Ports"] or {}).get(port) or [{"HostPort": "1"}]
    return f"http://127.0.0.1:{bound[0]['HostPort']}"


def _line(text: str) -> str:
    """Returns the last line of a text, truncated."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[-1] if lines else "it printed nothing")[:300]
