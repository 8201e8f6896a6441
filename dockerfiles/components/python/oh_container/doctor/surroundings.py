"""What the container gives our programs (writable folders, memory, processes), and the agent's shell."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from oh_container import accounts, startup
from oh_container.shell import Shell
from oh_container.shells import bash, is_bash

from .model import Findings

_MEGABYTE = 1_000_000
# The agent-server with a browser and VS Code.
MEMORY = 1000 * _MEGABYTE
DISK = 20 * _MEGABYTE
PROCESSES = 300
_CGROUP = Path("/sys/fs/cgroup")


def title() -> str:
    """Returns one line about the container."""
    try:
        base = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        base = "a base without os-release"
    account = accounts.lookup(uid=os.geteuid())
    name = f"{account.name} ({os.geteuid()})" if account else str(os.geteuid())
    return f"{base}, {platform.machine()}, {os.cpu_count()} CPUs, user {name}"


def container(findings: Findings) -> None:
    """Looks for what our programs need from the container."""
    facts = startup.facts()
    temporary = startup.temporary_folder(facts)
    if not facts.writable(temporary):
        findings.problems.append("no folder for temporary files is writable: use --tmpfs /tmp")
    elif temporary != facts.environ.get("TMPDIR", "/tmp"):
        findings.remarks.append(f"{facts.environ.get('TMPDIR', '/tmp')} is not writable; our programs use {temporary}")
    home = facts.environ.get("HOME", "")
    if not facts.writable(home):
        findings.remarks.append(f"the home {home or '(HOME is not set)'} is not writable; our programs use another one")
    for folder in sorted({temporary, home, "/workspace"}):
        findings.problems += full(folder) if facts.writable(folder) else ()
    findings.remarks += limits()


def full(folder: str) -> Iterator[str]:
    """Yields a problem if a folder's file system is full."""
    free = shutil.disk_usage(folder).free
    if free < DISK:
        yield f"{folder} has {free // _MEGABYTE} MB left"


def limits(cgroup: Path = _CGROUP) -> Iterator[str]:
    """Yields remarks about low limits of the container, which cgroup v2 and v1 tell in different files."""
    memory = _number(cgroup / "memory.max", cgroup / "memory/memory.limit_in_bytes")
    if memory is not None and memory < MEMORY:
        megabytes = memory // _MEGABYTE
        yield f"the container may use {megabytes} MB; a server with a browser takes about {MEMORY // _MEGABYTE}"
    processes = _number(cgroup / "pids.max", cgroup / "pids/pids.max")
    if processes is not None and processes < PROCESSES:
        yield f"the container may have {processes} threads; a server with a browser takes about {PROCESSES}"


def _number(*files: Path) -> int | None:
    """Returns the number in the first of these files that exists; ``None`` if there is no limit."""
    for file in files:
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        return int(text) if text.isdigit() else None
    return None


def shell(findings: Findings, end: float) -> None:
    """Starts the agent's shell, with the base's start-up files, and runs a command in it.

    Args:
        findings: Where to write what is found.
        end: When to stop, by ``time.monotonic``.
    """
    program = bash(os.environ, is_bash)
    begin = time.monotonic()
    shell = Shell(program, command=list, environ=dict(os.environ), folder="/")
    try:
        started = time.monotonic() - begin
        findings.remarks.append(f"{program}, after {started:.1f} s")
        if shell.left_out:
            findings.remarks.append(f"without {shell.left_out}; the first observation says why")
        shell.run("echo one; (exit 7)")
        while shell.running and time.monotonic() < end:
            shell.poll(0.5)
        seen = shell.output.splitlines()[-1:]
        if shell.running or seen != ["one"] or shell.state.status != 7:
            findings.problems.append(f"a command gives {seen} and exit code {shell.state.status}, not ['one'] and 7")
    finally:
        shell.close()
