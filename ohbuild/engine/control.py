"""Up, down, remove and status: the engine's life, apart from how it is asked for and shown."""

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
from ohbuild.engine.find import choice, private, system
from ohbuild.engine.progress import Reporter
from ohbuild.engine.state import DIR_VARIABLE, Layout, lock, read_record
from ohbuild.errors import NoEngine, UsageError

_FOREIGN = {"amd64": "arm64", "arm64": "amd64"}
_OURS = ("root", "bin", "config", "client", "docker", "registry", "log", "seeds.json")


def up(layout: Layout, reporter: Reporter) -> tuple[Connection, bool]:
    """Bring an engine up.

    Returns:
        The connection, and whether something was started for it.

    Raises:
        NoEngine: there is none and none can be made; says how to get Docker.
    """
    wanted = choice(os.environ)
    if wanted != "ohbuild":
        found, reason = system(layout, os.environ)
        if found:
            return found, False
        if wanted == "system":
            raise NoEngine(f"no Docker with buildx answers: {reason}", GET_DOCKER)
    there = private(layout, os.environ) if bootstrap.is_whole(layout) else None
    if there and there.registry == layout.registry:
        _register(layout, reporter)
        return there, False
    bootstrap.check_host()
    _claim(layout)
    with lock(layout, "engine", lambda: reporter.say("another ohbuild brings the engine up or down; waiting for it")):
        running = daemon.running(layout)
        if running and running.port != layout.port:
            raise UsageError(
                f"the engine is up with its registry on port {running.port}, not {layout.port}",
                "`ohbuild engine down` first, or leave the port as it is",
            )
        if not running:
            _claim(layout)  # again, as a `remove` may have come between
            bootstrap.make_root(layout, reporter)
            bootstrap.make_programs(layout)
            task = reporter.task("starting the engine")
            daemon.start(layout, task.step)
            task.done("up")
        _register(layout, reporter)
    made = private(layout, os.environ)
    if made is None:
        raise EngineFailed("the engine was started and has ended again", f"see the logs in {layout.logs}")
    return made, True


def _claim(layout: Layout) -> None:
    """Make the state folder ours, or refuse one that is somebody else's."""
    if layout.dir.exists() and not layout.marker.exists() and any(layout.dir.iterdir()):
        raise UsageError(
            f"{layout.dir} is not empty and not the folder of an engine of ohbuild",
            f"set {DIR_VARIABLE} to a new or empty folder",
        )
    try:
        layout.dir.mkdir(parents=True, exist_ok=True)
        layout.marker.touch()
    except OSError as error:
        raise UsageError(
            f"{layout.dir} cannot be made: {error.strerror}", f"set {DIR_VARIABLE} to another folder"
        ) from error


def _register(layout: Layout, reporter: Reporter) -> None:
    foreign = _FOREIGN[bootstrap.host_architecture()]
    try:
        binfmt.register(layout.root, foreign)
    except EngineFailed as error:  # images for this machine's own architecture work all the same
        reporter.say(f"note: {error.message}; {error.hint}")


@contextlib.contextmanager
def _alone(layout: Layout, reporter: Reporter) -> Iterator[None]:
    def wait() -> None:
        reporter.say("another ohbuild is at work with the engine; waiting for it")

    with lock(layout, "seed", wait), lock(layout, "engine", wait):
        yield


def down(layout: Layout, reporter: Reporter) -> bool:
    """Stop what `up` started; images, cache and registry stay on the disk. Whether anything ran."""
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
    task.done("down" if did else "it was not up")
    return did


def remove(layout: Layout, reporter: Reporter) -> bool:
    """Stop the engine and delete all of it, registry and cache too; whether there was anything.

    Raises:
        UsageError: the folder is not one of ours.
        EngineFailed: something is mounted in it.
    """
    if not layout.dir.exists():
        return False
    if os.geteuid() != 0:
        raise UsageError("only root can remove ohbuild's engine", "run `sudo ohbuild engine remove`")
    if not layout.marker.exists():
        raise UsageError(
            f"{layout.dir} is not the folder of an engine of ohbuild; nothing is deleted", f"check {DIR_VARIABLE}"
        )
    with _alone(layout, reporter):
        _down(layout, reporter)
        task = reporter.task(f"deleting {layout.dir}")
        bootstrap.clean(layout.dir, "new-")
        bootstrap.clean(layout.dir, "seed-")
        # Only what we made, and the marker last: an interrupted `remove` can be run again.
        for name in _OURS:
            bootstrap.delete_tree(layout.dir / name)
        layout.marker.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody else's files, or a mount point: it stays
            layout.dir.rmdir()
        task.done("deleted")
    return True


def status(layout: Layout) -> dict[str, Any]:
    """All about the engine, as plain data (the output of `status --json`)."""
    wanted = choice(os.environ)
    own, reason = (None, "not asked for") if wanted == "ohbuild" else system(layout, os.environ)
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
    """Bytes on the disk by part of the state folder."""
    parts = {"engine": layout.root, "docker": layout.docker_data, "registry": layout.registry_data, "logs": layout.logs}
    there = {name: path for name, path in parts.items() if path.exists()}
    if not there:
        return {}
    # du ends with code 1 when a file goes while it looks; its sums are good all the same
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
