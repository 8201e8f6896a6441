"""Starts, stops, removes and inspects the engine, independent of the command line."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from ohbuild import process
from ohbuild.docker.connection import Connection
from ohbuild.engine import binfmt, bootstrap, daemon, disk, http, network
from ohbuild.engine import prune as pruning
from ohbuild.engine import seed as seeding
from ohbuild.engine.errors import GET_DOCKER, EngineFailed
from ohbuild.engine.find import choice, own, private, system
from ohbuild.engine.progress import Reporter
from ohbuild.engine.state import DIR_VARIABLE, PORT_VARIABLE, Bridge, Layout, lock, read_record
from ohbuild.errors import NoEngine, UsageError

_FOREIGN = {"amd64": "arm64", "arm64": "amd64"}
_OURS = ("root", "bin", "config", "client", "docker", "registry", "log", "seeds.json")


def up(layout: Layout, reporter: Reporter) -> tuple[Connection, bool]:
    """Brings up an engine: finds the user's own Docker, or builds and starts the private engine.

    If the private engine is running and has lost its bridge, the bridge is restored.

    Returns:
        The connection, and whether the private engine was started.

    Raises:
        UnmetChoice: The user names an engine that cannot be used.
        NoEngine: No engine responds, and the private engine cannot be built or started.
        UsageError: The state folder cannot be used, or the engine is running with another port.
    """
    wanted = choice(os.environ)
    if wanted != "ohbuild":
        found, reason = own(layout, os.environ)
        if found:
            return found, False
        if wanted == "system":
            raise NoEngine(f"no Docker Engine with buildx responds: {reason}", GET_DOCKER)
    there = private(layout, os.environ) if bootstrap.is_whole(layout) else None
    record = read_record(layout)
    if there and there.registry == layout.registry and record and not network.fault(network.of(record)):
        _register(layout, reporter)
        return there, False
    bootstrap.check_host()
    _claim(layout)
    with lock(layout, "engine", lambda: reporter.say("waiting for another ohbuild to start or stop the engine")):
        running = daemon.running(layout)
        if running and running.port != layout.port:
            raise UsageError(
                f"the engine is already running with its registry on port {running.port}, not {layout.port}",
                f"run `ohbuild engine down` first, or set {PORT_VARIABLE}={running.port}",
            )
        if running is None:
            _claim(layout)  # again: `remove` may have run while we waited for the lock
            bootstrap.make_root(layout, reporter)
            bootstrap.make_programs(layout)
            task = reporter.task("starting the engine")
            daemon.start(layout, task.step)
            task.done("up")
        elif fault := network.fault(network.of(running)):
            task = reporter.task(f"fixing the engine's network: {network.of(running).name} {fault}")
            daemon.repair(layout, running, task.step)
            task.done("fixed")
        _register(layout, reporter)
    made = private(layout, os.environ)
    if made is None:
        raise EngineFailed("the engine stopped right after it was started", f"check the logs in {layout.logs}")
    return made, True


def _claim(layout: Layout) -> None:
    """Creates and marks the state folder; a folder with other files is refused."""
    if layout.dir.exists() and not layout.marker.exists() and any(layout.dir.iterdir()):
        raise UsageError(
            f"{layout.dir} is not empty and is not the folder of an ohbuild engine",
            f"set {DIR_VARIABLE} to a new or empty folder",
        )
    try:
        layout.dir.mkdir(parents=True, exist_ok=True)
        layout.marker.touch()
    except OSError as error:
        raise UsageError(
            f"{layout.dir} cannot be created: {error.strerror}", f"set {DIR_VARIABLE} to another folder"
        ) from error


def _register(layout: Layout, reporter: Reporter) -> None:
    foreign = _FOREIGN[bootstrap.host_architecture()]
    try:
        binfmt.register(layout.root, foreign)
    except EngineFailed as error:  # images for this machine's architecture still work
        reporter.say(f"note: {error.message}; {error.hint}")


@contextlib.contextmanager
def _alone(layout: Layout, reporter: Reporter) -> Iterator[None]:
    def wait() -> None:
        reporter.say("waiting for another ohbuild that is using the engine")

    with lock(layout, "seed", wait), lock(layout, "engine", wait):
        yield


def down(layout: Layout, reporter: Reporter) -> bool:
    """Stops what ``up`` started; images, cache and registry stay on disk.

    Returns:
        Whether anything was running.

    Raises:
        UsageError: The engine is running, and the caller is not root.
        EngineFailed: A daemon does not exit.
    """
    if os.geteuid() != 0:
        if read_record(layout) is None:
            return False
        raise UsageError("only root can stop ohbuild's engine", "run `sudo ohbuild engine down`")
    with _alone(layout, reporter):
        return _down(layout, reporter)


def _down(layout: Layout, reporter: Reporter) -> bool:
    task = reporter.task("stopping the engine")
    did = daemon.stop(layout, task.step)
    binfmt.unregister(layout.root)
    task.done("down" if did else "was not up")
    return did


def remove(layout: Layout, reporter: Reporter) -> bool:
    """Stops the engine and deletes all of it, including registry and cache.

    Returns:
        Whether there was an engine.

    Raises:
        UsageError: The folder is not that of an ohbuild engine, or the caller is not root.
        EngineFailed: A daemon does not exit, or something is mounted in the folder.
    """
    if not layout.dir.exists():
        return False
    if os.geteuid() != 0:
        raise UsageError("only root can remove ohbuild's engine", "run `sudo ohbuild engine remove`")
    if not layout.marker.exists():
        raise UsageError(
            f"nothing was deleted: {layout.dir} is not the folder of an ohbuild engine", f"check {DIR_VARIABLE}"
        )
    with _alone(layout, reporter):
        _down(layout, reporter)
        task = reporter.task(f"deleting {layout.dir}")
        bootstrap.clean(layout.dir, "new-")
        bootstrap.clean(layout.dir, "seed-")
        # Only what we created, and the marker last, so that an interrupted `remove` can be run again.
        for name in _OURS:
            bootstrap.delete_tree(layout.dir / name)
        layout.marker.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it contains other files, or is a mount point
            layout.dir.rmdir()
        task.done("deleted")
    return True


def prune(layout: Layout, reporter: Reporter) -> pruning.Freed:
    """Frees disk space: deletes everything in the private engine that no tag needs.

    Raises:
        UsageError: There is no private engine, or the caller is not root.
        EngineFailed: Something could not be deleted.
    """
    if not layout.marker.exists():
        hint = "use `docker system prune` for your own Docker, or check " + DIR_VARIABLE
        raise UsageError(f"there is no ohbuild engine in {layout.dir}", hint)
    if os.geteuid() != 0:
        raise UsageError("only root can prune ohbuild's engine", "run `sudo ohbuild engine prune`")
    with _alone(layout, reporter):
        record = read_record(layout)
        return pruning.prune(replace(layout, port=record.port) if record else layout, reporter)


def status(layout: Layout) -> dict[str, Any]:
    """Returns the state of the engine as plain data (the output of ``status --json``)."""
    wanted = choice(os.environ)
    own, reason = (None, "not requested") if wanted == "ohbuild" else system(layout, os.environ)
    mine = private(layout, os.environ)
    record = read_record(layout)
    bridge = network.of(record) if record and mine else None
    used = own or (mine if wanted != "system" else None)
    return {
        "engine": used.origin if used else None,
        "reason": "" if own else reason,
        "docker": str(used.docker) if used else None,
        "versions": _versions(used),
        "environment": used.environment() if used else {},
        "private": {
            "up": mine is not None,
            "folder": str(layout.dir),
            "disk": disk.sizes(layout),
            "stored": disk.stored(layout.socket) if mine else {},
            "free": disk.free(layout),
            "bridge": asdict(bridge) if bridge else None,
            "problems": [problem._asdict() for problem in _problems(layout, bridge)],
            "host": layout.host,
            "registry": f"localhost:{record.port}" if record and mine else None,
            "registry_log": str(layout.access_log) if mine else None,
            "emulation": {name: binfmt.status(name) for name in [_FOREIGN.get(bootstrap.host_architecture())] if name},
            "seeded": _seeded(layout, record.port if record and mine else None),
        },
    }


def _versions(used: Connection | None) -> dict[str, str]:
    if used is None:
        return {}
    env = used.environment()
    words = "{{.Client.Version}} {{.Server.Version}}"
    docker = process.ask([used.docker, "version", "--format", words], env=env).out.split()
    buildx = process.ask([used.docker, "buildx", "version"], env=env).out.split()
    found = dict(zip(("client", "server"), docker, strict=False))
    return {**found, **({"buildx": buildx[1]} if len(buildx) > 1 else {})}


def _problems(layout: Layout, bridge: Bridge | None) -> list[disk.Problem]:
    """Returns what is wrong with the private engine.

    Args:
        layout: Paths of the engine.
        bridge: Its bridge, if it is running.
    """
    found = [disk.shortage(disk.free(layout), layout.dir)]
    fault = network.fault(bridge) if bridge else ""
    if bridge and fault:
        text = f"the engine's bridge {bridge.name} {fault}, so containers and build steps have no network"
        found.insert(0, disk.Problem(text, "run `ohbuild engine up`"))
    return [problem for problem in found if problem]


def _seeded(layout: Layout, port: int | None) -> list[dict[str, Any]]:
    found = []
    for name, entry in sorted(seeding.remembered(layout).items()):
        if port is not None:
            ref = seeding.base_name(name)
            now = http.platforms_of(port, ref.path, ref.tag)
            if not now:
                continue
            entry = {**entry, "platforms": now}
        found.append(entry)
    return found
