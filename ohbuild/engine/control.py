"""Starts, stops, removes and inspects the engine, independent of the command line."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ohbuild import process
from ohbuild.docker.connection import Connection
from ohbuild.engine import binfmt, bootstrap, daemon, http
from ohbuild.engine import seed as seeding
from ohbuild.engine.errors import GET_DOCKER, EngineFailed
from ohbuild.engine.find import choice, own, private, system
from ohbuild.engine.progress import Reporter
from ohbuild.engine.state import DIR_VARIABLE, PORT_VARIABLE, Layout, lock, read_record
from ohbuild.errors import NoEngine, UsageError

_FOREIGN = {"amd64": "arm64", "arm64": "amd64"}
_OURS = ("root", "bin", "config", "client", "docker", "registry", "log", "seeds.json")


def up(layout: Layout, reporter: Reporter) -> tuple[Connection, bool]:
    """Brings up an engine: finds the user's own Docker, or builds and starts the private engine.

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
    if there and there.registry == layout.registry:
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
        if not running:
            _claim(layout)  # again: `remove` may have run while we waited for the lock
            bootstrap.make_root(layout, reporter)
            bootstrap.make_programs(layout)
            task = reporter.task("starting the engine")
            daemon.start(layout, task.step)
            task.done("up")
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


def status(layout: Layout) -> dict[str, Any]:
    """Returns the state of the engine as plain data (the output of ``status --json``)."""
    wanted = choice(os.environ)
    own, reason = (None, "not requested") if wanted == "ohbuild" else system(layout, os.environ)
    mine = private(layout, os.environ)
    record = read_record(layout)
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
            "disk": _disk(layout),
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


def _disk(layout: Layout) -> dict[str, int]:
    """Returns the disk usage in bytes of each part of the state folder."""
    parts = {"engine": layout.root, "docker": layout.docker_data, "registry": layout.registry_data, "logs": layout.logs}
    there = {name: path for name, path in parts.items() if path.exists()}
    if not there:
        return {}
    # du exits with code 1 if a file disappears meanwhile; its totals are still good
    said = process.ask(["du", "-sxB1", *there.values()], timeout=120).out
    sizes = {Path(path): int(size) for size, _, path in (line.partition("\t") for line in said.splitlines())}
    return {name: sizes[path] for name, path in there.items() if path in sizes}


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
