"""What the commands of ``ohbuild`` do and print: a module each, loaded when it is first used.

``ohbuild.cli`` has their signatures and their help.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ohbuild.commands import audit, bake, check, config, engine, plugins, verify

__all__ = ["audit", "bake", "check", "config", "engine", "plugins", "verify"]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
