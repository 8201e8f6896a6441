"""``ohbuild engine``. Results go to standard output, progress to standard error."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.filesize import decimal

from ohbuild.cli import console, report
from ohbuild.cli.streams import say
from ohbuild.engine import control, disk, rootfs
from ohbuild.engine import seed as seeding
from ohbuild.engine.bootstrap import words
from ohbuild.engine.debian import Suite
from ohbuild.engine.find import find
from ohbuild.engine.progress import Reporter
from ohbuild.engine.state import layout, lock
from ohbuild.errors import UsageError
from ohbuild.images.platform import parse_platforms

_PRUNED = """\
This deletes from ohbuild's private engine:
  - images without a name, and build cache that is not in use
  - containers that an interrupted `ohbuild verify` left behind
  - images in the registry that no tag needs
The registry stops meanwhile, so pulls and pushes of a running build may fail."""


def _print_json(data: Any) -> None:
    say(report.dump(data))


def up(*, json_: bool) -> None:
    """Finds a running Docker or starts the private engine, and reports which is used."""
    where = layout()
    with Reporter() as reporter:
        connection, started = control.up(where, reporter)
    if json_:
        _print_json(
            {
                "engine": connection.origin,
                "started": started,
                "registry": connection.registry,
                "environment": connection.environment(),
            }
        )
    elif connection.origin == "system":
        say(f"using your own Docker ({connection.docker})")
    else:
        state = "is up" if started else "was already up"
        say(f"ohbuild's engine {state}: registry {connection.registry}, folder {where.dir}")


def down() -> None:
    """Stops the private engine."""
    where = layout()
    with Reporter() as reporter:
        did = control.down(where, reporter)
    say("ohbuild's engine is down" if did else "ohbuild's engine was not up; nothing was stopped")


def remove() -> None:
    """Stops the private engine and deletes its data."""
    where = layout()
    with Reporter() as reporter:
        did = control.remove(where, reporter)
    say(f"removed ohbuild's engine in {where.dir}" if did else f"no engine in {where.dir}; nothing was removed")


def prune(*, yes: bool, json_: bool) -> None:
    """Frees disk space of the private engine and reports how much."""
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("pruning was not confirmed: standard input is not a terminal", "add --yes")
        print(_PRUNED, file=sys.stderr, flush=True)
        typer.confirm("Continue?", abort=True, err=True)
    where = layout()
    with Reporter() as reporter:
        freed = control.prune(where, reporter)
    free = disk.free(where)
    if json_:
        _print_json({"freed": {**freed.parts, "total": freed.total}, "manifests": freed.manifests, "free": free})
        return
    parts = ", ".join(f"{name} {decimal(size)}" for name, size in freed.parts.items())
    say(f"freed {decimal(freed.total)}: {parts}" + (f"; {decimal(free)} are free" if free is not None else ""))


def env() -> None:
    """Prints shell commands that set the engine's variables."""
    connection = find()
    for name, value in connection.environment().items():
        say(f"export {name}={shlex.quote(value)}" if value else f"unset {name}")


def status(*, json_: bool) -> None:
    """Prints which engine is used and the state of the private one."""
    data = control.status(layout())
    if json_:
        _print_json(data)
        return
    private = data["private"]

    def row(name: str, value: str) -> None:
        say(f"{name:<16}{value}")

    names = {"system": "your own Docker", "ohbuild": "ohbuild's private engine", None: "none"}
    row("engine", names[data["engine"]])
    if data["versions"]:
        row("versions", ", ".join(f"{name} {value}" for name, value in data["versions"].items()))
    row("private engine", f"{'up' if private['up'] else 'not up'}, folder {private['folder']}")
    if private["up"]:
        row("registry", f"{private['registry']}, also serves as the mirror for Docker Hub")
        row("access log", private["registry_log"])
        row("bridge", " ".join(filter(None, private["bridge"].values())))
    if private["disk"]:
        row("disk", _disk(private))
    for name, value in private["emulation"].items():
        row("emulation", f"linux/{name}: {value}")
    for entry in private["seeded"]:
        row("seeded", f"{entry['name']} for {words(sorted(entry['platforms']))}")
    console.note(*(f"{entry['problem']}; {entry['fix']}" for entry in private["problems"]))
    if data["engine"] is None:
        say("to start one: ohbuild engine up")
    elif data["engine"] == "ohbuild":
        say('to use it directly: eval "$(ohbuild engine env)"')


def _disk(private: Mapping[str, Any]) -> str:
    """Returns the disk usage in words."""
    within = ", ".join(f"{name.replace('_', ' ')} {decimal(size)}" for name, size in private["stored"].items())
    parts = [
        f"{name} {decimal(size)}" + (f" ({within})" if name == "docker" and within else "")
        for name, size in private["disk"].items()
    ]
    free = f"; {decimal(private['free'])} free" if private["free"] is not None else ""
    return f"{decimal(sum(private['disk'].values()))}: {', '.join(parts)}{free}"


def seed(name: str, source: Path | None, platforms: Sequence[str], *, force: bool, json_: bool) -> None:
    """Seeds a base into the engine's registry."""
    where = layout()
    ref = seeding.base_name(name)
    if source is None:
        if ref.path != "library/debian":
            raise UsageError(
                f"cannot seed {name} by its name: only debian can be", "provide its root file system with --from"
            )
        Suite.of_tag(ref.tag)
    found = rootfs.look(source).architecture if source else ""
    chosen = seeding.chosen_platforms(parse_platforms(platforms), source, found)
    connection = find(layout=where)
    if connection.registry is None:
        seeding.available(connection.docker, ref)
        if json_:
            _print_json({"name": str(ref), "made": False, "platforms": {}})
        else:
            say(f"nothing to seed: your own Docker pulls {ref} itself")
        return
    port = int(connection.registry.rpartition(":")[2])
    with Reporter() as reporter, lock(where, "seed", lambda: reporter.say("waiting for another seed to finish")):
        seeded, made = seeding.seed(
            where, ref, port=port, platforms=chosen, source=source, force=force, reporter=reporter
        )
    if json_:
        _print_json({"name": str(ref), "made": made, "platforms": seeded})
    elif made:
        say(f"seeded {ref} for {words(sorted(seeded))}")
