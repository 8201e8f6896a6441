"""Imports modules when they are first used. The server, Jupyter's kernel and the browser's process need few of them."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any


def module(name: str) -> ModuleType:
    """Returns a module that is loaded when one of its attributes is read.

    See https://docs.python.org/3/library/importlib.html#implementing-lazy-imports.

    Args:
        name: Name of the module. Its parent packages are imported.

    Raises:
        ModuleNotFoundError: There is none.
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    loader = importlib.util.LazyLoader(spec.loader)
    spec.loader = loader
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    loader.exec_module(found)
    return found


def attributes(places: Mapping[str, str]) -> Callable[[str], Any]:
    """Returns a module's ``__getattr__`` (PEP 562) that imports what the module would have imported from others.

    Args:
        places: Name → module that has it.
    """

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(name)
        return getattr(importlib.import_module(places[name]), name)

    return get


def is_a(thing: object, place: str, name: str) -> bool:
    """Whether something is an instance of a class. If its module was never imported, it cannot be.

    Args:
        thing: The thing.
        place: The module that has the class.
        name: Name of the class.
    """
    return place in sys.modules and isinstance(thing, getattr(sys.modules[place], name))


@contextmanager
def without_main() -> Iterator[None]:
    """Hides the program from processes that are spawned within the context. They would import all of it again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
