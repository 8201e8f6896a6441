"""``ohbuild engine``. Results go to standard output, progress to standard error."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from ohbuild.cli import report
from ohbuild.cli.streams import say
from ohbuild.engine import control, rootfs
from ohbuild.engine import seed as seeding
from ohbuild.engine.bootstrap import words
from ohbuild.engine.debian import Suite
from ohbuild.engine.find import find
from ohbuild.engine.progress import Reporter
from ohbuild.engine.state import layout, lock
from ohbuild.errors import UsageError
from ohbuild.images.platform import parse_platforms


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
    if private["disk"]:
        parts = ", ".join(f"{name} {decimal(size)}" for name, size in private["disk"].items())
        row("disk", f"{decimal(sum(private['disk'].values()))} ({parts})")
    for name, value in private["emulation"].items():
        row("emulation", f"linux/{name}: {value}")
    for entry in private["seeded"]:
        row("seeded", f"{entry['name']} for {words(sorted(entry['platforms']))}")
    if data["engine"] is None:
        say("to start one: ohbuild engine up")
    elif data["engine"] == "ohbuild":
        say('to use it directly: eval "$(ohbuild engine env)"')


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
