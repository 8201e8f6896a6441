"""The flags that give a setting, and how they are written. Help loads this, so it loads no Typer and no settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ohbuild.errors import UsageError


class Flag(NamedTuple):
    """One argument or option; a setting that a mere flag gives is ``value``.

    Args:
        panel: the heading that it stands under in the help.
        old: what it was called before, which is still taken.
    """

    help: str
    kind: type
    setting: str = ""
    metavar: str | None = None
    value: Any = None
    panel: str | None = None
    old: str = ""


_IMAGES, _CONTENT, _BUILD = "Images", "What is in them", "How they are built"

# By the name of the parameter: `no_cache` is --no-cache, `json_` is --json.
FLAGS = {
    "bases": Flag("Bases, such as debian:trixie.", list, metavar="[BASE]..."),
    "platform": Flag("Platforms, by comma or repeated: linux/amd64,linux/arm64.", list, "platforms", panel=_IMAGES),
    "push": Flag("Push the images to their registry.", bool, "output", value="push", panel=_IMAGES),
    "load": Flag("Load the images into Docker.", bool, "output", value="load", panel=_IMAGES),
    "image": Flag("Repository of the runtime images.", str, "image", panel=_IMAGES),
    "component": Flag("Components, by comma or repeated; else all.", list, "components", panel=_CONTENT),
    "agent_plugin": Flag(
        "OpenHands' plug-ins that the images are for: agent_skills, jupyter, vscode, …",
        list,
        "requirements",
        panel=_CONTENT,
        old="plugin",
    ),
    "no_browser": Flag("Leave the browser out.", bool, "enable_browser", value=False, panel=_CONTENT),
    "build_arg": Flag("A component's build argument, repeated.", dict, "build_args", "NAME=VALUE", panel=_CONTENT),
    "system_packages": Flag("Packages to install into the bases, by comma.", list, "system_packages", panel=_CONTENT),
    "extra_deps": Flag(
        "Shell commands to run as root in the bases, last.", str, "extra_deps", "COMMANDS", panel=_CONTENT
    ),
    "deps_image": Flag("Use this deps image instead of building one.", str, "deps_image", panel=_CONTENT),
    "builder": Flag("The buildx builder to use.", str, "builder", panel=_BUILD),
    "no_cache": Flag("Build all components again, even those that exist.", bool, panel=_BUILD),
    "cache_to": Flag("Registry reference to write the build cache to, or off.", str, "cache_to", panel=_BUILD),
    "cache_from": Flag("Registry references to read the build cache from, or off.", list, "cache_from", panel=_BUILD),
    "folder": Flag("Where the generated files go (.ohbuild).", Path, "folder", panel=_BUILD),
    "config": Flag("Settings file, instead of ohbuild.toml or pyproject.toml.", Path),
    "verify": Flag("Then start the images and check them, as `ohbuild verify`.", bool),
    "print_": Flag("Print the bake file that would run (with --json as JSON).", bool),
    "json_": Flag("Print the result as JSON.", bool),
}


def origin(setting: str) -> str:
    """Where a setting was given on the command line."""
    name = next((name for name, flag in FLAGS.items() if flag.setting == setting), setting)
    return "arguments" if name == "bases" else f"flag {written(name)}"


def written(name: str) -> str:
    """A parameter as it stands on the command line."""
    return "--" + name.strip("_").replace("_", "-")


def settings_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that flags give.

    Args:
        given: flag → its value; nothing for those that were left out.

    Raises:
        UsageError: two of them exclude each other, or a value is no pair.
    """
    if given.get("push") and given.get("load"):
        raise UsageError("--push and --load exclude each other", "give one of them")
    found: dict[str, Any] = {}
    for name, value in given.items():
        flag = FLAGS[name]
        if value in (None, False, []):
            continue
        if flag.kind is list:
            value = ",".join(value)  # the settings split it
        elif flag.kind is dict:
            value = _pairs(value)
        found[flag.setting] = flag.value if flag.kind is bool else value
    return found


def _pairs(words: list[str]) -> dict[str, str]:
    for word in words:
        if "=" not in word:
            raise UsageError(f"--build-arg {word}: it has no '='", "write NAME=VALUE")
    return dict(word.split("=", 1) for word in words)
