"""The ``ohbuild`` command: its flags, what each command does and what it prints.

``ohbuild.cli.main`` has the signatures and the help. Each other command module is imported on first use.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ohbuild.cli import audit, bake, check, components, config, engine, matrix, verify

__all__ = ["audit", "bake", "check", "components", "config", "engine", "matrix", "verify"]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
