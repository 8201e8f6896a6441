"""Clients of the two servers, by HTTP."""

from __future__ import annotations

import json
import secrets
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import httpx

from ohbuild.components.choice import ACTION_EXECUTION_SERVER, AGENT_SERVER
from ohbuild.docker.client import CommandFailed
from ohbuild.verify import probes

START_SECONDS = 180.0
"""Time limit for the server to respond, without emulation."""
ACTION_SECONDS = 120.0
"""Time limit for one action, without emulation."""
KEY_VARIABLE = "OH_SESSION_API_KEYS_0"
"""Session key of the agent-server. With one, it listens on all addresses."""
_MODEL_PORT = 8766

Serve = Callable[..., None]
"""``Running.serve``."""


def request(method: str, url: str, **options: Any) -> httpx.Response:
    """Sends a request to a server on loopback, as ``httpx.request``, but reads no CA certificates.

    Args:
        method: ``GET``, ``POST``, ….
        url: URL with plain HTTP.
        **options: Other arguments of ``httpx.request``.

    Raises:
        httpx.HTTPError: There is no answer.
    """
    return httpx.request(method, url, verify=_no_certificates(), trust_env=False, **options)


@cache
def _no_certificates() -> ssl.SSLContext:
    """By default each request reads all CA certificates: 25 ms of CPU, hundreds of times per image."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def start_variables(server: str, factor: float) -> dict[str, str]:
    """Returns variables to start a server with.

    Args:
        server: Name of the server.
        factor: Factor for time limits.
    """
    if server == AGENT_SERVER:
        return {KEY_VARIABLE: secrets.token_hex(16)}
    # OpenHands gives its plug-ins 120 s (action_execution_server.py).
    return {"INIT_PLUGIN_TIMEOUT": f"{START_SECONDS * factor:.0f}"} if factor > 1 else {}


def client_of(server: str, url: str, env: Mapping[str, str], factor: float, serve: Serve) -> Client:
    """Returns a client.

    Args:
        server: Name of the server.
        url: Its base URL.
        env: The container's environment.
        factor: Factor for time limits.
        serve: Runs a probe in the container that listens on a port.
    """
    if server == AGENT_SERVER:
        return AgentServer(url, env.get(KEY_VARIABLE, ""), factor, serve)
    return ActionExecutionServer(url, env.get("SESSION_API_KEY", ""), factor)


class Client(ABC):
    """A client of a server.

    Args:
        url: Base URL of the server.
        key: Session key; empty for none.
        factor: Factor for time limits.
    """

    name: str
    """Name of the server."""
    health: str
    """Path of an answer that says whether the server runs."""
    python: str
    """The server's own Python, which finds its packages."""
    variables: frozenset[str] = frozenset()
    """Variables that it adds to the environment of the agent's shell, or leaves out."""

    def __init__(self, url: str, key: str, factor: float = 1.0) -> None:
        self.url, self.key, self.factor = url, key, factor

    def get(self, path: str, /, **query: str) -> httpx.Response:
        """Sends a GET request."""
        seconds = 30 * self.factor
        return request("GET", self.url + path, params=query, timeout=seconds, headers=self.headers)

    def alive(self) -> bool:
        """Checks whether the server reports ``ok``."""
        try:
            answer = request("GET", self.url + self.health, timeout=5 * self.factor)
            return answer.status_code == 200 and answer.json() == {"status": "ok"}
        except (httpx.HTTPError, ValueError):
            return False

    @property
    def headers(self) -> dict[str, str]:
        """The header with the session key."""
        return {"X-Session-API-Key": self.key} if self.key else {}

    @abstractmethod
    def shell(self, command: str) -> str:
        """Runs a command in the agent's shell and returns its output.

        Args:
            command: The command. It must print something.

        Raises:
            CommandFailed: The command failed or printed nothing.
        """

    def _post(self, what: str, path: str, body: dict[str, Any], seconds: float) -> dict[str, Any]:
        try:
            answer = request("POST", self.url + path, json=body, timeout=seconds, headers=self.headers)
        except httpx.HTTPError as error:
            raise CommandFailed(f"{what}: {error or type(error).__name__}") from error
        if answer.status_code not in (200, 201):
            raise CommandFailed(f"{what}: the server returned {answer.status_code}: {last_line(answer.text)}")
        found: dict[str, Any] = answer.json()
        return found


class ActionExecutionServer(Client):
    """A client of OpenHands' action execution server."""

    name = ACTION_EXECUTION_SERVER
    health = "/alive"
    python = "/openhands/bin/oh-python"

    def action(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Sends an action of OpenHands and returns the observation.

        Args:
            name: Type of the action, such as ``run``.
            **arguments: Arguments of the action.

        Raises:
            CommandFailed: The server does not respond, or responds with a status other than 200.
        """
        seconds = ACTION_SECONDS * self.factor
        # The server's limit is shorter than ours, because its report of a timeout is more detailed.
        body = {"action": {"action": name, "args": arguments, "timeout": seconds}}
        return self._post(f"action {name}", "/execute_action", body, seconds + 30 * self.factor)

    def shell(self, command: str) -> str:
        """Runs a command in the agent's shell and returns its output.

        On a busy machine, OpenHands may mistake the previous prompt for the end of the command and return no output.
        The command is then sent again, up to three times in total. The action is blocking: otherwise OpenHands gives up
        on a command that prints nothing for ten seconds (``NO_CHANGE_TIMEOUT_SECONDS``).

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
                raise CommandFailed(f"in the agent's shell: {last_line(text)} (exit code {code})")
            if content.strip():
                return content
            time.sleep(1)
        raise CommandFailed(f"in the agent's shell: no output from {command[:60]}…")


class AgentServer(Client):
    """A client of OpenHands' agent-server. Tools run in a conversation with a model in the container.

    Args:
        url: Base URL of the server.
        key: Session key.
        factor: Factor for time limits.
        serve: Runs a probe in the container that listens on a port.
    """

    name = AGENT_SERVER
    health = "/health"
    python = "/openhands/agent-server/bin/python3.13"
    # The locale is added only if there is none, and the session key is left out.
    variables = frozenset(("AI_AGENT", "LANG", KEY_VARIABLE, "SESSION_API_KEY"))

    def __init__(self, url: str, key: str, factor: float, serve: Serve) -> None:
        super().__init__(url, key, factor)
        self._serve = serve
        self._conversation = ""

    def tool(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Has the agent use a tool and returns the observation.

        Args:
            name: Name of the tool, such as ``terminal``.
            **arguments: Its arguments.

        Raises:
            CommandFailed: The observation is an error, or there is none.
        """
        if not self._conversation:
            self._conversation = self._start()
        path = f"/api/conversations/{self._conversation}"
        known = {event["id"] for event in self._events(path)}
        text = json.dumps({"tool": name, "arguments": arguments})
        message = {"role": "user", "content": [{"type": "text", "text": text}], "run": True}
        self._post(f"tool {name}", f"{path}/events", message, 60 * self.factor)
        deadline = time.monotonic() + ACTION_SECONDS * self.factor
        while time.monotonic() < deadline:
            # A run that ends in an error may leave the observation out.
            status = self.get(path).json()["execution_status"]
            events = [event for event in self._events(path) if event["id"] not in known]
            for event in events:
                if event["kind"] == "ObservationEvent" and event["tool_name"] == name and status not in _BUSY:
                    observation: dict[str, Any] = event["observation"]
                    if observation.get("is_error"):
                        raise CommandFailed(f"tool {name}: {last_line(text_of(observation))}")
                    return observation
                if event["kind"].endswith("ErrorEvent"):
                    raise CommandFailed(f"tool {name}: {last_line(str(event.get('error') or event.get('detail')))}")
            time.sleep(0.1)
        raise CommandFailed(f"tool {name}: no observation within {ACTION_SECONDS * self.factor:.0f} s")

    def shell(self, command: str) -> str:
        """Runs a command in the agent's terminal and returns its output.

        Raises:
            CommandFailed: The command failed or printed nothing.
        """
        observation = self.tool("terminal", command=command, timeout=ACTION_SECONDS * self.factor - 10)
        text = text_of(observation).replace("\r\n", "\n")
        code = observation.get("exit_code", observation.get("metadata", {}).get("exit_code"))
        if code != 0:
            raise CommandFailed(f"in the agent's shell: {last_line(text)} (exit code {code})")
        if not text.strip():
            raise CommandFailed(f"in the agent's shell: no output from {command[:60]}…")
        return text

    def _start(self) -> str:
        self._serve(probes.MODEL, _MODEL_PORT)
        model = {"model": "openai/ohbuild", "base_url": f"http://127.0.0.1:{_MODEL_PORT}/v1", "api_key": "none"}
        tools = [{"name": name} for name in ("terminal", "file_editor", "browser_tool_set")]
        usable = self.get("/server_info").json().get("usable_tools")
        agent = {
            "kind": "Agent",
            "llm": {**model, "usage_id": "verify", "num_retries": 0, "timeout": int(60 * self.factor)},
            "tools": [tool for tool in tools if usable is None or tool["name"] in usable],
        }
        body = {"agent": agent, "workspace": {"kind": "LocalWorkspace", "working_dir": "/tmp"}}
        return str(self._post("a conversation", "/api/conversations", body, 60 * self.factor)["id"])

    def _events(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        page = ""
        while True:
            query = {"limit": "100"} | ({"page_id": page} if page else {})
            answer = self.get(f"{path}/events/search", **query).json()
            found += answer["items"]
            page = answer.get("next_page_id") or ""
            if not page:
                return found


_BUSY = ("idle", "running")


def text_of(observation: Mapping[str, Any]) -> str:
    """Returns the text of an observation of the agent-server."""
    return "\n".join(part["text"] for part in observation.get("content", ()) if part.get("type") == "text")


def last_line(text: str) -> str:
    """Returns the last line of a text, truncated."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[-1] if lines else "it printed nothing")[:300]
