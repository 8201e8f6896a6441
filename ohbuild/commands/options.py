"""The arguments and options of the commands; as all that their help needs, this loads nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Bases = Annotated[list[str] | None, typer.Argument(metavar="[BASE]...", help="Bases, such as debian:trixie.")]
Platform = Annotated[
    list[str] | None, typer.Option("--platform", help="Platforms, by comma or repeated: linux/amd64,linux/arm64.")
]
Config = Annotated[
    Path | None, typer.Option("--config", help="Settings file, instead of ohbuild.toml or pyproject.toml.")
]
Images = Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Images in a registry, or in the local Docker.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Push = Annotated[bool, typer.Option("--push", help="Push the images to their registry.")]
Load = Annotated[bool, typer.Option("--load", help="Load the images into Docker.")]
Image = Annotated[str | None, typer.Option("--image", help="Repository of the runtime images.")]
Component = Annotated[list[str] | None, typer.Option("--component", help="Components, by comma or repeated; else all.")]
Plugin = Annotated[
    list[str] | None,
    typer.Option("--plugin", help="OpenHands' plug-ins that the images are for: agent_skills, jupyter, vscode, …"),
]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Leave the browser out.")]
BuildArg = Annotated[
    list[str] | None, typer.Option("--build-arg", metavar="NAME=VALUE", help="A component's build argument, repeated.")
]
ExtraDeps = Annotated[
    str | None,
    typer.Option("--extra-deps", metavar="COMMANDS", help="Shell commands to run as root in the bases, last."),
]
SystemPackages = Annotated[
    list[str] | None,
    typer.Option("--system-packages", help="Packages to install into the bases, by comma."),
]
DepsImage = Annotated[str | None, typer.Option("--deps-image", help="Use this deps image instead of building one.")]
Builder = Annotated[str | None, typer.Option("--builder", help="The buildx builder to use.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Build all components again, even those that exist.")]
CacheTo = Annotated[
    str | None, typer.Option("--cache-to", help="Registry reference to write the build cache to, or off.")
]
CacheFrom = Annotated[
    list[str] | None, typer.Option("--cache-from", help="Registry references to read the build cache from, or off.")
]
Folder = Annotated[Path | None, typer.Option("--folder", help="Where the generated files go (.ohbuild).")]
Verify = Annotated[bool, typer.Option("--verify", help="Then start the images and check them, as `ohbuild verify`.")]
Print = Annotated[bool, typer.Option("--print", help="Print the bake file that would run (with --json as JSON).")]
