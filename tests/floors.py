"""Counts modules, floors and imports of the package: ``python -m tests.floors``.

A module is one floor above the highest module that it imports. The order of the rooms is in pyproject.toml.
"""

from __future__ import annotations

from functools import cache

import grimp

_GRAPH = grimp.build_graph("ohbuild")


@cache
def floor(module: str) -> int:
    """Returns the floor of a module, from 1.

    Raises:
        RecursionError: It is imported in a circle.
    """
    return 1 + max(map(floor, _GRAPH.find_modules_directly_imported_by(module)), default=0)


if __name__ == "__main__":
    modules = _GRAPH.modules
    print(f"{len(modules)} modules on {max(map(floor, modules))} floors, {_GRAPH.count_imports()} imports")
