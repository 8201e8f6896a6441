"""The flags of the commands and the settings they give. ``--help`` loads this module, so it imports little."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ohbuild.config.descriptions import DESCRIPTIONS
from ohbuild.errors import UsageError


class Flag(NamedTuple):
    """One argument or option.

    Attributes:
        kind: Type of the value. A list or a dict can be given several times, a list also as one text.
        setting: The setting it gives, whose description is its help; empty if none.
        metavar: The value's name in the help.
        about: Help of its own, for one that gives no setting, or a fixed value of one.
        value: That fixed value.
        panel: Heading it is listed under in the help.
        old: Former name, which still works.
    """

    kind: type
    setting: str = ""
    metavar: str | None = None
    about: str = ""
    value: Any = None
    panel: str | None = None
    old: str = ""

    @property
    def help(self) -> str:
        """The help text."""
        text = self.about or DESCRIPTIONS[self.setting]
        return f"{text} Repeatable." if self.kind is dict else text


_IMAGES, _CONTENTS, _BUILD = "Images", "Contents", "Build"

# By parameter name: `no_cache` is --no-cache, `json_` is --json.
FLAGS = {
    "bases": Flag(tuple, "bases", "BASE", "Base images, such as debian:trixie; by default the bases in the settings."),
    "bases_file": Flag(
        str,
        metavar="FILE",
        about="File with more bases: one per line, with comments after #, or a JSON list; - is standard input.",
    ),
    "platform": Flag(list, "platforms", "PLATFORM,...", panel=_IMAGES),
    "push": Flag(bool, "output", about="Push the images to their registry.", value="push", panel=_IMAGES),
    "load": Flag(bool, "output", about="Load the images into Docker.", value="load", panel=_IMAGES),
    "image": Flag(str, "image", "REPOSITORY", panel=_IMAGES),
    "server": Flag(str, "server", "agent-server|action-execution-server|both", panel=_CONTENTS),
    "agent_server_version": Flag(str, "agent_server_version", "VERSION", panel=_CONTENTS),
    "component": Flag(list, "components", "NAME,...", panel=_CONTENTS),
    "agent_plugin": Flag(list, "requirements", "NAME,...", panel=_CONTENTS, old="plugin"),
    "no_browser": Flag(bool, "enable_browser", about="Leave out the browser.", value=False, panel=_CONTENTS),
    "allow_secret_args": Flag(
        bool, "allow_secret_args", about=DESCRIPTIONS["allow_secret_args"], value=True, panel=_CONTENTS
    ),
    "build_arg": Flag(dict, "build_args", "NAME=VALUE", panel=_CONTENTS),
    "system_packages": Flag(list, "system_packages", "PACKAGE,...", panel=_CONTENTS),
    "extra_deps": Flag(str, "extra_deps", "COMMANDS", panel=_CONTENTS),
    "deps_image": Flag(str, "deps_image", "IMAGE", panel=_CONTENTS),
    "builder": Flag(str, "builder", "NAME", panel=_BUILD),
    "no_cache": Flag(bool, about="Build all components again, even if their images exist.", panel=_BUILD),
    "cache_to": Flag(str, "cache_to", "IMAGE", panel=_BUILD),
    "cache_from": Flag(list, "cache_from", "IMAGE,...", panel=_BUILD),
    "folder": Flag(Path, "folder", "DIRECTORY", panel=_BUILD),
    "config": Flag(Path, metavar="FILE", about="Settings file to use instead of ohbuild.toml or pyproject.toml."),
    "verify": Flag(bool, about="Verify the images after the build, as `ohbuild verify` does."),
    "components_only": Flag(
        bool,
        about="Build only the missing component images, and assemble nothing. With --component, build only the images "
        "of these and those missing among the components that they are built with.",
    ),
    "for_": Flag(str, metavar="components|runtimes", about="Kind of jobs (see above)."),
    "runner": Flag(
        dict,
        metavar="PLATFORM=LABEL,...",
        about="Label of the runner for a platform, or several; by default ubuntu-24.04 for linux/amd64 and "
        "ubuntu-24.04-arm for linux/arm64.",
    ),
    "groups": Flag(int, metavar="N", about="Number of groups of bases; by default one for every 50 bases."),
    "print_": Flag(bool, about="Print the bake file (as JSON with --json) instead of building."),
    "json_": Flag(bool, about="Print the result as JSON."),
}


def origin(setting: str) -> str:
    """Returns where on the command line a setting was given."""
    name = next((name for name, flag in FLAGS.items() if flag.setting == setting), setting)
    return "arguments" if name == "bases" else f"flag {written(name)}"


def written(name: str) -> str:
    """Returns a parameter as it is written on the command line."""
    return "BASE…" if name == "bases" else "--" + name.strip("_").replace("_", "-")


def settings_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that flags give.

    Args:
        given: Flags and their values; ``None``, ``False`` or an empty list for those not given.

    Raises:
        UsageError: Two flags exclude each other, or a value is not ``NAME=VALUE``.
    """
    from ohbuild.text import list_items  # loads too much for `--help`

    if given.get("push") and given.get("load"):
        raise UsageError("--push and --load cannot be combined", "use one of them")
    found: dict[str, Any] = {}
    for name, value in given.items():
        flag = FLAGS[name]
        if value in (None, False, []):
            continue
        if flag.kind is list:
            value = [item for text in value for item in list_items(text)]
        elif flag.kind is dict:
            value = pairs(value, written(name))
        found[flag.setting] = flag.value if flag.kind is bool else value
    return found


def pairs(words: Iterable[str], flag: str, form: str = "NAME=VALUE") -> dict[str, str]:
    """Splits the values of a flag at their first ``=``.

    Args:
        words: The values.
        flag: The flag, for errors.
        form: The form of its values, for errors.

    Raises:
        UsageError: A value has no ``=``.
    """
    for word in words:
        if "=" not in word:
            raise UsageError(f"{flag} {word!r} is not {form}", f"use {flag} {form}")
    return dict(word.split("=", 1) for word in words)
