"""Starts a container of a runtime image, runs commands in it, and removes it."""

from __future__ import annotations

import json
import time
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ohbuild.components.choice import servers_in
from ohbuild.docker.client import CommandFailed, Docker, environment
from ohbuild.images import labels as label
from ohbuild.verify import probes
from ohbuild.verify.clients import START_SECONDS, Client, client_of, start_variables
from ohbuild.verify.model import Subject

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
        vscode: Base URL of VS Code; empty if no server was started.
        server: The client of the server; ``None`` if none was started.
    """

    docker: Docker
    subject: Subject
    image: dict[str, Any]
    config: dict[str, Any]
    container: str
    factor: float = 1.0
    vscode: str = ""
    server: Client | None = None

    @property
    def client(self) -> Client:
        """The client of the server, which must have been started."""
        assert self.server is not None, "no server was started"
        return self.server

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

    def shell(self, command: str) -> str:
        """Runs a command in the agent's shell and returns its output. The command must print something.

        Raises:
            CommandFailed: The command failed or printed nothing.
        """
        return self.client.shell(command)

    def wait(self) -> None:
        """Waits until the server responds.

        Raises:
            ServerDead: The container exited, or the server does not respond in time.
        """
        limit = START_SECONDS * self.factor
        deadline = time.monotonic() + limit
        while not self.client.alive():
            state = json.loads(self.docker.ask("inspect", "--format", "{{json .State}}", self.container))
            if state["Status"] != "running":
                raise ServerDead(f"the container exited with code {state['ExitCode']}", self.log())
            if time.monotonic() > deadline:
                raise ServerDead(f"the server did not respond within {limit:.0f} s", self.log())
            time.sleep(0.3)

    def serve(self, program: str, port: int, *arguments: str) -> None:
        """Runs a probe in the container that listens on a port on loopback, and waits until it does.

        Raises:
            CommandFailed: It does not listen in time.
        """
        words = ("exec", "--detach", self.container, OH_PYTHON, "-c", program, str(port), *arguments)
        self.docker.ask(*words)
        self.exec(OH_PYTHON, "-c", probes.WAIT, str(port))

    def log(self) -> tuple[str, ...]:
        """Returns the last lines of the container's log."""
        done = self.docker.run("logs", "--tail", str(4 * _LOG_LINES), self.container)
        lines = [line.rstrip() for line in (done.out + done.err).splitlines() if line.strip()]
        return tuple(lines[-_LOG_LINES:])


def server_of(subject: Subject, components: Container[str]) -> str:
    """Returns the name of the server that is started; empty if the image has none."""
    wanted = subject.mode.server
    return next((name for name in servers_in(components) if wanted in ("", name)), "")


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
    labels = image.get("Labels") or {}
    words = ["run", "--detach", "--platform", str(subject.platform), "--pull", "never", "--label", docker.label]
    words += ["--publish", "127.0.0.1::8000", "--publish", "127.0.0.1::8001", *subject.mode.options]
    server = server_of(subject, label.component_versions(labels))
    words += [word for item in start_variables(server, factor).items() for word in ("--env", "=".join(item))]
    # Images made before this label existed have all plug-ins.
    plugins = labels.get(label.AGENT_PLUGINS)
    served = subject.mode.command if plugins is None else subject.mode.command_for(plugins.split(","))
    command = (BUSYBOX, "sleep", "86400") if idle else served
    words += ["--no-healthcheck"] if idle else []
    # If a container is created but cannot start, `docker run` leaves it behind. `Docker.close` finds it by its label.
    container = docker.ask(*words, subject.reference, *command, seconds=300).strip()
    try:
        seen = json.loads(docker.ask("inspect", container))[0]
        running = Running(
            docker=docker, subject=subject, image=image, config=seen["Config"], container=container, factor=factor
        )
        if not idle:
            url, running.vscode = (_url(seen, port) for port in (_SERVER_PORT, _VSCODE_PORT))
            running.server = client_of(server, url, running.env, factor, running.serve)
        yield running
    finally:
        docker.remove(container)


def _url(seen: dict[str, Any], port: str) -> str:
    """Returns the URL of a published port, or one where nothing listens if the container has already exited."""
    bound = (seen["NetworkSettings"]["Ports"] or {}).get(port) or [{"HostPort": "1"}]
    return f"http://127.0.0.1:{bound[0]['HostPort']}"
