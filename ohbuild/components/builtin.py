"""ohbuild's own components, as ``dockerfiles/components/*.toml`` define them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from ohbuild.assets import assets
from ohbuild.components.checks import Check
from ohbuild.components.component import Component
from ohbuild.components.lockfiles import version_in


def _builtin(name: str) -> Component:
    """One of ohbuild's own, as ``dockerfiles/components/<name>.toml`` defines it."""
    folder = assets() / "dockerfiles"
    data = tomllib.loads((folder / "components" / f"{name}.toml").read_text(encoding="utf-8"))
    lock, package = data.pop("version")
    checks = tuple(Check(**_tuples(check)) for check in data.pop("checks"))
    return Component(name=name, version=version_in(folder / lock, package), checks=checks, **_tuples(data))


def _tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}


# In layer order: from the seldom to the often changed, so that an upgrade re-ships as little as possible.
_ORDER = "core tmux git chromium python node vscode playwright jupyter action-execution-server"
BUILTIN: tuple[Component, ...] = tuple(map(_builtin, _ORDER.split()))
