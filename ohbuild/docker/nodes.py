"""Creates, checks and removes buildx builders. No other module does.

No builder ever becomes the user's default (no ``--use``), and Docker contexts are left alone.
"""

from __future__ import annotations

import json
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
from ohbuild.docker.attributes import attributes
from ohbuild.docker.connection import Connection
from ohbuild.docker.described import Described, Node, parse
from ohbuild.errors import Interrupted, NoEngine, UsageError
from ohbuild.images.credentials import config_folder
from ohbuild.images.platform import Platform
from ohbuild.locks import slot, slots_folder

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_PATIENCE = 60.0  # seconds; buildx itself waits 20 for a builder's nodes
_HISTORY_WITHIN = 15.0  # seconds
_GLANCE = 0.05  # seconds between checks whether to keep waiting
_CPU_PERIOD = 100_000  # microseconds; the kernel's and Docker's default
_MEMORY = re.compile(r"[0-9]+(?:\.[0-9]+)?\s*[kmgtp]?i?b?", re.IGNORECASE)  # docker/go-units, RAMInBytes
_CPUSET = re.compile(r"[0-9]+(?:-[0-9]+)?(?:,[0-9]+(?:-[0-9]+)?)*")


def check_name(name: str) -> str:
    """Returns the name if it is valid with every driver and leaves room for the suffixes of node names.

    Raises:
        UsageError: The name is invalid.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"invalid builder name {name!r}", "use at most 40 lowercase letters, digits and '-'")
    return name


def node_name(builder: str, platforms: Sequence[Platform] = ()) -> str:
    """Returns a new, unique node name, so that machines sharing a cluster never share a Deployment by accident."""
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
    """Returns the driver options for a node of the ``docker-container`` driver.

    Args:
        memory: Memory limit of BuildKit and its steps in Docker's notation: ``4g``, ``512m``, ``1.5GiB``.
        memory_swap: Limit of memory and swap together; ``-1`` for unlimited swap, twice the memory if empty.
        cpus: Limit of CPU time in CPUs, such as 1.5; 0 for no limit.
        cpuset: CPUs to run on: ``0-3``, ``0,2``.
        image: Image of BuildKit.
        network: Network of the container: ``host`` or the name of a network.

    Raises:
        UsageError: A value is invalid.
    """
    for name, value in (("memory", memory), ("memory_swap", memory_swap)):
        if value and not _MEMORY.fullmatch(value) and not (name == "memory_swap" and value == "-1"):
            raise UsageError(f"{name}: {value!r} is not an amount of memory", "use a value such as 4g or 512m")
    if memory_swap and not memory:
        raise UsageError("memory_swap requires memory", "set memory too: Docker cannot limit swap alone")
    if cpus and not 0.01 <= cpus <= 10_000:
        raise UsageError(f"cpus: {cpus:g} is not a valid number of CPUs", "use a number from 0.01 to 10000")
    if cpuset and not _CPUSET.fullmatch(cpuset):
        raise UsageError(f"cpuset: {cpuset!r} is not a list of CPUs", "use a list such as 0-3 or 0,2")
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
    flags: str = "",
    environment: Mapping[str, str] | None = None,
    until: Callable[[], bool] = lambda: False,
) -> bool:
    """Creates a builder unless it already exists. Safe across threads and processes.

    An existing builder is used as is if it has the requested driver, platforms and options.

    Args:
        connection: How to run buildx.
        name: Name of the builder.
        driver: Driver of the builder.
        nodes: Nodes of the builder, at least one.
        endpoint: For the ``remote`` driver (one node), BuildKit's address; for ``docker-container``, a Docker context.
        config: Path of a ``buildkitd.toml``.
        flags: Flags for buildkitd.
        environment: Environment variables to add for buildx (``KUBECONFIG``).
        until: Stops waiting for another process as soon as it returns true.

    Returns:
        Whether this call created the builder.

    Raises:
        Interrupted: ``until`` returned true.
        UsageError: The existing builder differs from the requested one, or buildx rejects an option.
        NoEngine: The builder could not be created; nothing of it is left behind.
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
                words += [f"--driver-opt={attributes({key: value})}" for key, value in node.options.items()]
                words += [f"--buildkitd-config={config}"] if config else []
                words += [f"--buildkitd-flags={flags}"] if flags else []
                _make(connection, name, [*words, *([endpoint] if endpoint else [])], environment)
        except BaseException:
            forget(connection, name)
            raise
        return True


def describe(connection: Connection, name: str, environment: Mapping[str, str] | None = None) -> Described | None:
    """Returns the builder with this name; ``None`` if it does not exist.

    Raises:
        NoEngine: buildx cannot inspect it.
    """
    answer = _buildx(connection, ["inspect", name], environment)
    if not answer.ok:
        if "no builder" in answer.err:
            return None
        raise NoEngine(f"builder {name!r} cannot be inspected: {said(answer)}", "see `docker buildx ls`")
    return parse(answer.out)


def boot(connection: Connection, name: str, *, timeout: float, until: Callable[[], bool] = lambda: False) -> None:
    """Starts a builder's daemons and waits until they respond.

    Args:
        connection: How to run buildx.
        name: Name of the builder.
        timeout: Time limit in seconds.
        until: Stops waiting as soon as it returns true.

    Raises:
        Interrupted: ``until`` returned true.
        NoEngine: The daemons do not start; the message ends with buildx's reason.
    """
    command = [str(connection.docker), "buildx", "inspect", "--bootstrap", name]
    answer = _ask(command, {**os.environ, **connection.environment()}, timeout, until)
    silent = re.search(r"^Error:\s*(.*)", answer.out, re.MULTILINE)  # exit code 0: it runs but cannot be reached
    if not answer.ok or silent:
        reason = silent[1] if silent and "ERROR:" not in answer.err else said(answer)
        raise NoEngine(f"builder {name!r} does not start: {reason}", "see `docker buildx ls`")


def _ask(command: list[str], env: Mapping[str, str], timeout: float, until: Callable[[], bool]) -> process.Answer:
    """Runs a command, and kills it at the timeout or as soon as ``until`` returns true."""
    end = time.monotonic() + timeout
    with subprocess.Popen(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
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
        raise Interrupted("stopped", "the builder was still starting")
    return process.Answer(124, "", f"no response within {timeout:g} s")


def remove(connection: Connection, name: str, environment: Mapping[str, str] | None = None) -> None:
    """Removes a builder with its daemons and their cache, if it exists.

    Raises:
        NoEngine: Its daemons could not be removed; buildx no longer lists the builder all the same.
    """
    answer = _buildx(connection, ["rm", name], environment)
    if not answer.ok and "no builder" not in answer.err:
        raise NoEngine(f"builder {name!r} could not be removed: {said(answer)}", "remove its daemons manually")


def forget(connection: Connection, name: str) -> None:
    """Removes a builder whose daemons cannot be reached, and leaves the daemons as they are."""
    _buildx(connection, ["rm", "--force", "--keep-daemon", name], None)


def running_builds(connection: Connection, name: str) -> set[str] | None:
    """Asks a builder's daemons which builds run in them.

    Args:
        connection: How to run buildx.
        name: Name of the builder.

    Returns:
        The IDs of the builds, as in ``build_ids``; ``None`` if the daemons do not answer in time.
    """
    words = ["history", "ls", f"--builder={name}", "--filter=status=running", "--format=json"]
    answer = process.ask([connection.docker, "buildx", *words], env=connection.environment(), timeout=_HISTORY_WITHIN)
    try:
        records = [json.loads(line) for line in answer.out.splitlines() if line.strip()]
        return {str(record["ref"]).rpartition("/")[2] for record in records} if answer.ok else None
    except (ValueError, LookupError, TypeError):
        return None


def build_ids(connection: Connection, name: str, folder: Path, since: float) -> set[str]:
    """Returns the IDs of the builds that this machine's buildx has started (buildx: localstate/localstate.go).

    Args:
        connection: How to run buildx.
        name: Name of the builder.
        folder: Only builds whose context is in this folder count.
        since: Only builds that were started after this time count, in seconds since the epoch.
    """
    found = set()
    for file in (store(connection) / "refs" / name).glob("*/*"):
        with suppress(OSError, ValueError, LookupError, TypeError):
            context = json.loads(file.read_text(encoding="utf-8"))["LocalPath"]
            if file.stat().st_mtime >= since and Path(context).is_relative_to(folder):
                found.add(file.name)
    return found


def store(connection: Connection) -> Path:
    """Returns the folder in which this buildx stores its builders (buildx: util/confutil, ``ConfigDir``)."""
    known = {**os.environ, **connection.environment()}
    docker = config_folder(known)
    return Path(known.get("BUILDX_CONFIG") or docker / "buildx")


def said(answer: process.Answer) -> str:
    """Returns buildx's reason for a failure in one line."""
    lines = [line.strip() for line in answer.err.splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if line.startswith("ERROR:")), lines[-1] if lines else "")
    reason = last.removeprefix("ERROR:").strip() or f"exit code {answer.code}"
    if reason == "failed to remove one or more builders" and len(lines) > 1:
        return lines[-2]
    return reason


def _check(name: str, there: Described, driver: str, nodes: Sequence[Node]) -> None:
    hint = f"use another name, or remove that builder with `docker buildx rm {name}`"
    if there.driver != driver:
        raise UsageError(f"builder {name!r} already exists with the {there.driver} driver, not {driver}", hint)
    for node in nodes:
        same = [other for other in there.nodes if set(other.platforms) >= set(node.platforms)]
        if not same:
            asked = ", ".join(map(str, node.platforms))
            raise UsageError(f"builder {name!r} already exists without a node for {asked}", hint)
        options = same[0].options
        wrong = [
            f"{key} is {options.get(key, 'not set')}, not {value}"
            for key, value in node.options.items()
            if options.get(key) != value
        ]
        if wrong:
            raise UsageError(f"builder {name!r} already exists with other options: {'; '.join(wrong)}", hint)


def _make(connection: Connection, name: str, words: list[str], environment: Mapping[str, str] | None) -> None:
    answer = _buildx(connection, words, environment)
    reason = said(answer)
    if answer.ok:
        return
    if "invalid driver option" in reason or "unknown flag" in reason:
        raise UsageError(f"this buildx does not support an option of builder {name!r}: {reason}", "update buildx")
    raise NoEngine(f"builder {name!r} could not be created: {reason}", "see `docker buildx ls`")


def _buildx(connection: Connection, words: Iterable[str], environment: Mapping[str, str] | None) -> process.Answer:
    more = {**connection.environment(), **(environment or {})}
    return process.ask([connection.docker, "buildx", *words], env=more, timeout=_PATIENCE)
