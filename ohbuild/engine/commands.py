"""`ohbuild engine …`: parses, calls, prints. Results go to standard output, progress to standard error."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.filesize import decimal

from ohbuild.engine import control, rootfs
from ohbuild.engine import seed as seeding
from ohbuild.engine.bootstrap import words
from ohbuild.engine.connection import find
from ohbuild.engine.debian import Suite
from ohbuild.engine.progress import Reporter
from ohbuild.engine.state import layout, lock
from ohbuild.errors import UsageError
from ohbuild.model import parse_platforms

app = typer.Typer(help="Your own Docker if it answers, or a private engine.", no_args_is_help=True)
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def _print_json(data: Any) -> None:
    typer.echo(json.dumps(data, indent=2))


@app.command()
def up(json_: JsonOption = False) -> None:
    """Use the Docker that answers, or make and start a private engine with a registry.

    The private engine is made from Debian packages (root on Debian or Ubuntu); OHBUILD_ENGINE=ohbuild makes it even
    where a Docker answers.
    """
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
        typer.echo(f"using your own Docker ({connection.docker})")
    else:
        state = "is up" if started else "was up already"
        typer.echo(f"ohbuild's engine {state}: registry {connection.registry}, folder {where.dir}")


@app.command()
def down() -> None:
    """Stop the private engine; its images, cache and registry stay on the disk."""
    where = layout()
    with Reporter() as reporter:
        did = control.down(where, reporter)
    typer.echo("ohbuild's engine is down" if did else "ohbuild's engine was not up; nothing was stopped")


@app.command()
def remove() -> None:
    """Stop the private engine and delete it with its images, cache and registry."""
    where = layout()
    with Reporter() as reporter:
        did = control.remove(where, reporter)
    typer.echo(f"ohbuild's engine is removed ({where.dir})" if did else f"there is no engine in {where.dir}")


@app.command()
def env() -> None:
    """Print the variables for using the engine by hand: eval "$(ohbuild engine env)"."""
    connection = find()
    for name, value in connection.environment().items():
        typer.echo(f"export {name}={shlex.quote(value)}" if value else f"unset {name}")


@app.command()
def status(json_: JsonOption = False) -> None:
    """Tell which engine is used, its versions, registry, disk use and seeded bases."""
    data = control.status(layout())
    if json_:
        _print_json(data)
        return
    private = data["private"]
    rows: list[tuple[str, str]] = []
    names = {"system": "your own Docker", "ohbuild": "ohbuild's private engine", None: "none"}
    rows.append(("engine", names[data["engine"]]))
    if data["versions"]:
        rows.append(("versions", ", ".join(f"{name} {value}" for name, value in data["versions"].items())))
    rows.append(("private engine", f"{'up' if private['up'] else 'not up'}, folder {private['folder']}"))
    if private["up"]:
        rows.append(("registry", f"{private['registry']}, also the mirror for names of Docker Hub"))
        rows.append(("access log", private["registry_log"]))
    if private["disk"]:
        parts = ", ".join(f"{name} {decimal(size)}" for name, size in private["disk"].items())
        rows.append(("disk", f"{decimal(sum(private['disk'].values()))} ({parts})"))
    for name, value in private["emulation"].items():
        rows.append(("emulation", f"linux/{name}: {value}"))
    for entry in private["seeded"]:
        rows.append(("seeded", f"{entry['name']} for {words(sorted(entry['platforms']))}"))
    for name, value in rows:
        typer.echo(f"{name:<16}{value}")
    if data["engine"] is None:
        typer.echo("bring one up: ohbuild engine up")
    elif data["engine"] == "ohbuild":
        typer.echo('use it by hand: eval "$(ohbuild engine env)"')


@app.command()
def seed(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Ordinary name of the base, such as debian:trixie.")],
    source: Annotated[
        Path | None, typer.Option("--from", metavar="ROOTFS", help="Root file system: a tar (may be gzip) or a folder.")
    ] = None,
    platform: Annotated[
        list[str] | None, typer.Option(help="Platforms; default: amd64 and arm64, or what --from holds.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Make it anew if it is there.")] = False,
    json_: JsonOption = False,
) -> None:
    """Put a base into the engine's registry, so that FROM NAME works without Docker Hub.

    A suite of Debian is bootstrapped from its packages; anything else is taken from a root file system.
    """
    where = layout()
    ref = seeding.base_name(name)
    if source is None:
        if ref.path != "library/debian":
            raise UsageError(f"{name} cannot be made by its name; only debian can", "give its root file system: --from")
        Suite.of_tag(ref.tag)
    found = rootfs.look(source).architecture if source else ""
    platforms = seeding.chosen_platforms(parse_platforms(platform or ()), source, found)
    connection = find(layout=where)
    if connection.registry is None:
        seeding.available(connection.docker, ref)
        if json_:
            _print_json({"name": str(ref), "made": False, "platforms": {}})
        else:
            typer.echo(f"nothing to seed: your own Docker gets {ref} by itself")
        return
    port = int(connection.registry.rpartition(":")[2])
    with Reporter() as reporter, lock(where, "seed", lambda: reporter.say("another seed is at work; waiting for it")):
        result = seeding.seed(where, ref, port=port, platforms=platforms, source=source, force=force, reporter=reporter)
    if json_:
        _print_json({"name": result.name, "made": result.made, "platforms": result.platforms})
    elif result.made:
        typer.echo(f"seeded {result.name} for {words(sorted(result.platforms))}")
