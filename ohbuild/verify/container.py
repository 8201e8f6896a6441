"""A container of a runtime image: started, asked by HTTP and by ``docker exec``, removed."""

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
"""How long the server may take to answer, on the image's own kind of machine."""
ACTION_SECONDS = 120.0
"""How long one action may take."""
EMULATED = 10.0
"""By how much every limit is longer under emulation (measured: 8.4 for a bootstrap of Debian)."""
BUSYBOX = "/openhands/libexec/busybox"
OH_PYTHON = "/openhands/bin/oh-python"
_SERVER_PORT, _VSCODE_PORT = "8000/tcp", "8001/tcp"
_LOG_LINES = 12


class ServerDead(CommandFailed):
    """The server did not answer; ``log`` holds the last lines of the container's log."""

    def __init__(self, message: str, log: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.log = log


@dataclass
class Running:
    """A running container.

    Args:
        image: ``Config`` of the image; ``config``: of the container, which is that with the mode's options.
        container: its id.
        factor: 1, or how much longer all takes here (emulation).
        server, vscode: base URLs, empty where no server was started.
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
        """What the container's configuration sets: the image's variables and the mode's."""
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
        """Standard output of a command beside the server, run without a shell.

        Args:
            user: another than the container's.
            env: variables that go over the container's.
            seconds: its limit, longer under emulation.

        Raises:
            CommandFailed: it failed or took too long.
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
        """A file of the container, read by our busybox."""
        return self.exec(BUSYBOX, "cat", path)

    def get(self, path: str) -> httpx.Response:
        """GET from the action execution server."""
        return httpx.get(f"{self.server}{path}", timeout=30 * self.factor, headers=self._headers(), trust_env=False)

    def action(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Send one action of OpenHands and return the observation.

        Raises:
            CommandFailed: no answer, or none of code 200.
        """
        seconds = ACTION_SECONDS * self.factor
        try:
            answer = httpx.post(
                f"{self.server}/execute_action",
                # its own limit is the shorter one: what it says of a command that takes too long is worth more
                json={"action": {"action": name, "args": arguments, "timeout": seconds}},
                timeout=seconds + 30 * self.factor,
                headers=self._headers(),
                trust_env=False,
            )
        except httpx.HTTPError as error:
            raise CommandFailed(f"action {name}: {error or type(error).__name__}") from error
        if answer.status_code != 200:
            raise CommandFailed(f"action {name}: the server answers {answer.status_code}: {_line(answer.text)}")
        observation: dict[str, Any] = answer.json()
        return observation

    def shell(self, command: str) -> str:
        """What a command in the agent's shell prints, which must be something.

        On a busy machine OpenHands may take the prompt of the command before for the end of this one, and answer with
        nothing: then it is asked again. It would also give up after ten silent seconds (``NO_CHANGE_TIMEOUT_SECONDS``)
        if the command did not block.

        Raises:
            CommandFailed: its exit code is not 0.
        """
        for _ in range(3):
            observation = self.action("run", command=command, blocking=True)
            content = str(observation.get("content", "")).replace("\r\n", "\n")
            metadata = observation.get("extras", {}).get("metadata", {})
            code = metadata.get("exit_code")
            if code != 0:
                # OpenHands says in the suffix why it has no exit code of the command
                text = content if content.strip() else str(metadata.get("suffix", ""))
                raise CommandFailed(f"in the agent's shell: {_line(text)} (exit code {code})")
            if content.strip():
                return content
            time.sleep(1)
        raise CommandFailed(f"in the agent's shell: {command[:60]}… prints nothing")

    def alive(self) -> bool:
        """Whether ``/alive`` answers ``ok``."""
        try:
            answer = httpx.get(f"{self.server}/alive", timeout=5 * self.factor, trust_env=False)
            return answer.status_code == 200 and answer.json() == {"status": "ok"}
        except (httpx.HTTPError, ValueError):
            return False

    def wait(self) -> None:
        """Wait until the server answers.

        Raises:
            ServerDead: it does not, or the container has ended.
        """
        limit = START_SECONDS * self.factor
        deadline = time.monotonic() + limit
        while not self.alive():
            state = json.loads(self.docker.ask("inspect", "--format", "{{json .State}}", self.container))
            if state["Status"] != "running":
                raise ServerDead(f"the container ended with exit code {state['ExitCode']}", self.log())
            if time.monotonic() > deadline:
                raise ServerDead(f"the server does not answer after {limit:.0f} s", self.log())
            time.sleep(0.3)

    def log(self) -> tuple[str, ...]:
        """The last lines of the container's log."""
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
    """Start a container, and remove it at the end. Its server need not answer yet.

    Args:
        image: ``Config`` of the image.
        idle: start no server, only something that waits, for commands beside it.

    Raises:
        CommandFailed: the container could not be started.
    """
    words = ["run", "--detach", "--platform", str(subject.platform), "--pull", "never", "--label", docker.label]
    words += ["--publish", "127.0.0.1::8000", "--publish", "127.0.0.1::8001", *subject.mode.options]
    if factor > 1:
        # OpenHands' own limit for its plug-ins, which is 120 s (action_execution_server.py)
        words += ["--env", f"INIT_PLUGIN_TIMEOUT={START_SECONDS * factor:.0f}"]
    # Images of before this label have them all.
    plugins = (image.get("Labels") or {}).get(label.AGENT_PLUGINS)
    served = subject.mode.command if plugins is None else subject.mode.command_for(plugins.split(","))
    command = (BUSYBOX, "sleep", "86400") if idle else served
    # `docker run` leaves the container behind where it was made but cannot start; `Docker.close` finds it by its label.
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
    """The address of a published port; one that is gone with its container gives an address that nobody answers."""
    bound = (seen["NetworkSettings"]["Ports"] or {}).get(port) or [{"HostPort": "1"}]
    return f"http://127.0.0.1:{bound[0]['HostPort']}"


def _line(text: str) -> str:
    """The last line of a text, not too long."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[-1] if lines else "it printed nothing")[:300]
