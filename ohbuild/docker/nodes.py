"""buildx's builders: made when missing, checked when there, removed. The only place that does.

None is ever made the user's default (no ``--use``), and no Docker context is touched.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ohbuild import process
from ohbuild.docker.connection import Connection
from ohbuild.docker.described import Described, Node, parse
from ohbuild.errors import Interrupted, NoEngine, UsageError
from ohbuild.images.platform import Platform
from ohbuild.locks import slot, slots_folder

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_PATIENCE = 60.0  # seconds; buildx itself gives a builder's nodes 20 to answer
_GLANCE = 0.05  # seconds between two looks at whether to go on waiting
_CPU_PERIOD = 100_000  # microseconds; the kernel's and Docker's default
_MEMORY = re.compile(r"[0-9]+(?:\.[0-9]+)?\s*[kmgtp]?i?b?", re.IGNORECASE)  # docker/go-units, RAMInBytes
_CPUSET = re.compile(r"[0-9]+(?:-[0-9]+)?(?:,[0-9]+(?:-[0-9]+)?)*")


def check_name(name: str) -> str:
    """A name for a builder that every driver takes, with room for what is appended for its nodes.

    Raises:
        UsageError: it is none.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be a builder's name", "use small letters, digits and '-', at most 40")
    return name


def node_name(builder: str, platforms: Sequence[Platform] = ()) -> str:
    """A new name for a node: two machines that share a cluster must not share a Deployment by accident."""
    architectures = "-".join(dict.fromkeys(platform.architecture for platform in platforms[:2]))
    return "-".join(word for word in (builder, architectures, secrets.token_hex(4)) if word)


def docker_container_options(
    *,
    memory: str = "",
    memory_swap: str = "",
    cpus: float = 0,
    cpuset: str = "",
    image: str = "",
    network: str = "",
) -> dict[str, str]:
    """Options of a node of the ``docker-container`` driver, for what is said.

    Args:
        memory: what BuildKit and its steps may use, as Docker writes it: ``4g``, ``512m``, ``1.5GiB``.
        memory_swap: memory and swap together; ``-1`` for no limit of swap. Twice the memory if empty.
        cpus: how many processors' time they may use; 1.5 is one and a half.
        cpuset: the processors that they may use: ``0-3``, ``0,2``.
        image: of BuildKit.
        network: the container's: ``host``, or a network's name.

    Raises:
        UsageError: a value is wrong.
    """
    for name, value in (("memory", memory), ("memory_swap", memory_swap)):
        if value and not _MEMORY.fullmatch(value) and not (name == "memory_swap" and value == "-1"):
            raise UsageError(f"{name} is {value!r}, which is no amount of memory", "write 4g or 512m")
    if memory_swap and not memory:
        raise UsageError("memory_swap is given without memory", "Docker limits both or the memory alone: add memory")
    if cpus and not 0.01 <= cpus <= 10_000:
        raise UsageError(f"cpus is {cpus:g}", "give a number of processors, at least 0.01")
    if cpuset and not _CPUSET.fullmatch(cpuset):
        raise UsageError(f"cpuset is {cpuset!r}, which names no processors", "write 0-3 or 0,2")
    quota = {"cpu-period": str(_CPU_PERIOD), "cpu-quota": str(round(cpus * _CPU_PERIOD))} if cpus else {}
    given = {"image": image, "network": network, "memory": memory, "memory-swap": memory_swap, "cpuset-cpus": cpuset}
    return {**{name: value for name, value in given.items() if value}, **quota}


def ensure(
    connection: Connection,
    name: str,
    driver: str,
    nodes: Sequence[Node],
    *,
    endpoint: str = "",
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
    until: Callable[[], bool] = lambda: False,
) -> bool:
    """Make a builder unless there is one of that name; safe against other threads and processes doing the same.

    A builder that is there is used as it is if it has the driver, the platforms and every option asked for.

    Args:
        nodes: at least one.
        endpoint: for the ``remote`` driver (one node) BuildKit's address; for ``docker-container`` a Docker context.
        config: a ``buildkitd.toml``.
        environment: more variables for buildx (``KUBECONFIG``).
        until: gives up waiting for another process once it says yes.

    Returns:
        Whether this call made it.

    Raises:
        UsageError: the one that is there is another than was asked for; buildx does not take an option.
        NoEngine: it could not be made; nothing is left of it.
    """
    check_name(name)
    key = f"create {store(connection)} {name}"
    with slot(slots_folder(key), 1, until):
        there = describe(connection, name, environment)
        if there is not None:
            _check(name, there, driver, nodes)
            return False
        try:
            for number, node in enumerate(nodes):
                words = ["create", f"--name={name}", f"--driver={driver}", f"--node={node.name}"]
                words += ["--append"] if number else []
                words += [f"--platform={','.join(map(str, node.platforms))}"] if node.platforms else []
                words += [f"--driver-opt={_quoted(f'{key}={value}')}" for key, value in node.options.items()]
                words += [f"--buildkitd-config={config}"] if config else []
                _make(connection, name, [*words, *([endpoint] if endpoint else [])], environment)
        except BaseException:
            forget(connection, name)
            raise
        return True


def describe(connection: Connection, name: str, environment: Mapping[str, str] | None = None) -> Described | None:
    """The builder of that name; None if there is none.

    Raises:
        NoEngine: buildx does not tell.
    """
    answer = _buildx(connection, ["inspect", name], environment)
    if not answer.ok:
        if "no builder" in answer.err:
            return None
        raise NoEngine(f"buildx does not tell about builder {name!r}: {said(answer)}", "see `docker buildx ls`")
    return parse(answer.out)


def boot(connection: Connection, name: str, *, timeout: float, until: Callable[[], bool] = lambda: False) -> None:
    """Start a builder's daemons and wait until they answer.

    Args:
        timeout: seconds.
        until: gives up once it says yes.

    Raises:
        Interrupted: ``until`` said yes.
        NoEngine: they do not start; the message ends with what buildx says.
    """
    command = [str(connection.docker), "buildx", "inspect", "--bootstrap", name]
    answer = _ask(command, {**os.environ, **connection.environment()}, timeout, until)
    silent = re.search(r"^Error:\s*(.*)", answer.out, re.MULTILINE)  # with exit code 0: it runs and cannot be reached
    if not answer.ok or silent:
        reason = silent[1] if silent and "ERROR:" not in answer.err else said(answer)
        raise NoEngine(f"builder {name!r} does not start: {reason}", "see `docker buildx ls`")


def _ask(command: list[str], env: Mapping[str, str], timeout: float, until: Callable[[], bool]) -> process.Answer:
    """What a command says, unless it takes too long or nobody wants to know any more: then it is killed."""
    end = time.monotonic() + timeout
    with subprocess.Popen(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as running:
        try:
            while time.monotonic() < end and not until():
                with suppress(subprocess.TimeoutExpired):
                    out, err = running.communicate(timeout=_GLANCE)
                    return process.Answer(running.returncode, out, err)
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
    if until():
        raise Interrupted("stopped", "the builder was not up yet")
    return process.Answer(124, "", f"no answer within {timeout:g} s")


def remove(connection: Connection, name: str, environment: Mapping[str, str] | None = None) -> None:
    """Remove a builder with its daemons and their cache; none of that name is no error.

    Raises:
        NoEngine: its daemons could not be removed (buildx has forgotten them all the same).
    """
    answer = _buildx(connection, ["rm", name], environment)
    if not answer.ok and "no builder" not in answer.err:
        raise NoEngine(f"builder {name!r} could not be removed: {said(answer)}", "remove its daemons by hand")


def forget(connection: Connection, name: str) -> None:
    """Remove a builder whose daemons cannot be reached; whatever there is of them stays."""
    _buildx(connection, ["rm", "--force", "--keep-daemon", name], None)


def store(connection: Connection) -> Path:
    """The folder in which this buildx keeps its builders (buildx: util/confutil, ``ConfigDir``)."""
    known = {**os.environ, **connection.environment()}
    docker = Path(known.get("DOCKER_CONFIG") or Path.home() / ".docker")
    return Path(known.get("BUILDX_CONFIG") or docker / "buildx")


def said(answer: process.Answer) -> str:
    """What buildx gives as the reason, in one line."""
    lines = [line.strip() for line in answer.err.splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if line.startswith("ERROR:")), lines[-1] if lines else "")
    reason = last.removeprefix("ERROR:").strip() or f"exit code {answer.code}"
    if reason == "failed to remove one or more builders" and len(lines) > 1:
        return lines[-2]
    return reason


def _check(name: str, there: Described, driver: str, nodes: Sequence[Node]) -> None:
    hint = f"give another name, or remove that builder: `docker buildx rm {name}`"
    if there.driver != driver:
        raise UsageError(f"there is a builder {name!r} already, with the {there.driver} driver, not {driver}", hint)
    for node in nodes:
        same = [other for other in there.nodes if set(other.platforms) >= set(node.platforms)]
        if not same:
            asked = ", ".join(map(str, node.platforms))
            raise UsageError(f"there is a builder {name!r} already, without a node for {asked}", hint)
        options = same[0].options
        wrong = [
            f"{key} is {options.get(key, 'not set')}, not {value}"
            for key, value in node.options.items()
            if options.get(key) != value
        ]
        if wrong:
            raise UsageError(f"there is a builder {name!r} already, with other options: {'; '.join(wrong)}", hint)


def _make(connection: Connection, name: str, words: list[str], environment: Mapping[str, str] | None) -> None:
    answer = _buildx(connection, words, environment)
    reason = said(answer)
    if answer.ok:
        return
    if "invalid driver option" in reason or "unknown flag" in reason:
        raise UsageError(f"this buildx does not take what is asked of builder {name!r}: {reason}", "update buildx")
    raise NoEngine(f"builder {name!r} could not be made: {reason}", "see `docker buildx ls`")


def _buildx(connection: Connection, words: Iterable[str], environment: Mapping[str, str] | None) -> process.Answer:
    more = {**connection.environment(), **(environment or {})}
    return process.ask([connection.docker, "buildx", *words], env=more, timeout=_PATIENCE)


def _quoted(text: str) -> str:
    """One field of CSV, as ``--driver-opt`` is read."""
    return '"' + text.replace('"', '""') + '"'
