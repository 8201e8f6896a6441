"""Asks the servers that are running, or starts those of the image for a moment."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .model import Findings
from .programs import last_lines

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_LISTEN = "0A"


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server, and how to start it.

    Attributes:
        component: The component that has it.
        command: The command that starts it; ``{port}`` and ``{folder}`` are replaced.
        variables: Variables that it is started with, with the same replacements and ``{vscode}``, VS Code's port.
        path: What it answers when it is ready.
        words: Words, one of which is in the command line of its process.
    """

    component: str
    command: tuple[str, ...]
    variables: Mapping[str, str]
    path: str
    words: frozenset[str]


SERVERS = (
    Server(
        component="agent-server",
        command=("/openhands/bin/oh-agent-server", "--host", "127.0.0.1", "--port", "{port}"),
        variables={"OH_VSCODE_PORT": "{vscode}"},
        path="/health",
        words=frozenset({"/openhands/bin/oh-agent-server", "openhands.agent_server"}),
    ),
    Server(
        component="action-execution-server",
        command=("/openhands/bin/oh-action-execution-server",),
        variables={"OH_SERVER_PORT": "{port}", "VSCODE_PORT": "{vscode}", "OH_WORKSPACE": "{folder}"},
        path="/alive",
        words=frozenset({"openhands.runtime.action_execution_server"}),
    ),
)


def examine(server: Server, findings: Findings, end: float, proc: Path = Path("/proc")) -> None:
    """Asks a server.

    Args:
        server: The server.
        findings: Where to write what is found.
        end: When to stop, by ``time.monotonic``.
        proc: The folder of processes.
    """
    running = processes(server, proc)
    if not running:
        _start(server, findings, end)
        return
    ports = [port for pid in running for port in listening(pid, proc)]
    for port in ports:
        if answers(port, server.path):
            findings.remarks.append(f"is running, and answers on port {port}")
            return
    known = f"on port {', '.join(map(str, ports))}" if ports else "and listens on no port that can be seen"
    findings.problems.append(f"is running, {known}, but does not answer {server.path}")


def processes(server: Server, proc: Path) -> list[int]:
    """Returns the processes of a server that is running."""
    found = []
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "/python" in words[0] and server.words & set(words):
            found.append(int(entry.name))
    return sorted(found)


def listening(pid: int, proc: Path) -> list[int]:
    """Returns the TCP ports that a process listens on (proc_pid_net(5)); none if it may not be asked."""
    links = set()
    try:
        for entry in (proc / str(pid) / "fd").iterdir():
            with suppress(FileNotFoundError):  # it has been closed
                links.add(os.readlink(entry))
        tables = [(proc / str(pid) / "net" / name).read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    except OSError:
        return []
    rows = [line.split() for table in tables for line in table]
    ports = {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == _LISTEN and f"socket:[{row[9]}]" in links}
    return sorted(ports)


def answers(port: int, path: str) -> bool:
    """Whether a server answers on a port of this container."""
    try:
        with _DIRECT.open(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status) == 200
    except (OSError, urllib.error.URLError, ValueError):
        return False


def _start(server: Server, findings: Findings, end: float) -> None:
    """Starts a server, waits until it answers, and ends it."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, tempfile.TemporaryFile() as log:
        places = dict(zip(("port", "vscode"), map(str, free_ports(2)), strict=True), folder=folder)
        command = [word.format(**places) for word in server.command]
        variables = {name: value.format(**places) for name, value in server.variables.items()}
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, start_new_session=True,
            env={**os.environ, **variables},
        )  # fmt: skip
        try:
            while not answers(int(places["port"]), server.path):
                code = process.poll()
                if code is not None or time.monotonic() > end:
                    ended = f"it ends with exit code {code}" if code is not None else "it does not answer"
                    findings.problems.append(f"{ended} after {time.monotonic() - begin:.0f} s")
                    log.seek(0)
                    findings.log += last_lines(log.read().decode(errors="replace"))
                    return
                time.sleep(0.1)
            findings.remarks.append(f"answers {time.monotonic() - begin:.1f} s after its start")
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a server and what it has started in its session."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(3)
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_ports(count: int) -> Iterable[int]:
    """Returns different free TCP ports."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports
