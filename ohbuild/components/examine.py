"""Checks whether a component of an extension is valid and does not conflict with others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from ohbuild.components.arguments import check_argument
from ohbuild.components.checks import Check
from ohbuild.components.component import Component
from ohbuild.components.secrets import secret_problem
from ohbuild.components.stages import BUILD_FILES, STAGE
from ohbuild.components.template import component_env, component_part, dockerfile_quote
from ohbuild.errors import OhbuildError, nearest

_NAME = re.compile(r"[a-z][a-z0-9-]*")
# Names of stages and paths in the build context that ohbuild's Dockerfiles use themselves.
_STAGES = ("build", "toolchain", "deps", "runtime", "extended", "system-packages", "scratch")
_FOLDERS = ("wrappers", "relocate", "opaque.tar", "system-packages", "extra-deps", "Dockerfile", *BUILD_FILES)
_TUPLES = ("requires", "builds_with", "plugins", "wrappers", "files")


class Examination:
    """Examines components one by one. The names of each accepted component are then no longer available.

    Args:
        own: Components that are accepted without examination.

    Attributes:
        good: Accepted components.
    """

    def __init__(self, own: Iterable[Component]) -> None:
        self._taken = {("stage", name): "ohbuild" for name in _STAGES}
        self._files: dict[PurePosixPath, str] = {PurePosixPath(folder): "ohbuild" for folder in _FOLDERS}
        self.good: list[Component] = []
        for component in own:
            self.add(component)

    def problem(self, component: Component) -> str:
        """Returns why a component cannot be accepted; empty if it can."""
        try:
            _check_fields(component)
            self._check_names(component)
            _check_files(component)
        except OhbuildError as error:
            said = error.message.removeprefix(f"component {component.name!r}: ")
            return said + (f" ({error.hint})" if error.hint else "")
        except (ValueError, OSError) as error:
            return str(error)
        return ""

    def add(self, component: Component) -> None:
        """Accepts a component and reserves its names."""
        self.good.append(component)
        self._taken |= dict.fromkeys(_names(component), component.name)
        self._files |= dict.fromkeys(_context(component), component.name)

    def in_order(self, new: Sequence[Component]) -> tuple[list[Component], dict[str, str]]:
        """Sorts new components so that each follows everything it needs.

        Args:
            new: Accepted components.

        Returns:
            The sorted components, and for each component that cannot be used, the reason by name.
        """
        placed = {component.name for component in self.good} - {component.name for component in new}
        waiting, ordered = list(new), []
        while ready := next((item for item in waiting if placed.issuperset(_needs(item))), None):
            waiting.remove(ready)
            ordered.append(ready)
            placed.add(ready.name)
        return ordered, {item.name: self._lacks(item, {other.name for other in waiting}) for item in waiting}

    def _lacks(self, component: Component, waiting: set[str]) -> str:
        known = [item.name for item in self.good]
        missing = [name for name in _needs(component) if name not in known]
        if missing:
            return f"requires unknown component {missing[0]!r} ({nearest(missing[0], known)})"
        names = ", ".join(repr(name) for name in _needs(component) if name in waiting)
        return f"needs {names}, whose own requirements are missing or form a cycle"

    def _check_names(self, component: Component) -> None:
        for (kind, name), what in _names(component).items():
            if owner := self._taken.get((kind, name)):
                user = "ohbuild" if owner == "ohbuild" else f"component {owner!r}"
                raise ValueError(f"{what} is already used by {user}")
        for path in _context(component):
            for other, owner in self._files.items():
                if path == other or path in other.parents or other in path.parents:
                    raise ValueError(f"its file {path} conflicts with {other} of {owner!r}")


def _names(component: Component) -> dict[tuple[str, str], str]:
    """Returns the names that must be unique, by kind and name, with their wording in a message."""
    stages = STAGE.findall(_text(component))
    return {
        ("component", component.name): "its name",
        **{("stage", stage): f"its stage {stage}" for stage in stages},
        **{("wrapper", name): f"its wrapper {name}" for name in component.wrappers},
        **{("argument", name): f"its build argument {name}" for name in component.args},
        **{("variable", name): f"its variable {name}" for name in component.env},
    }


def _needs(component: Component) -> tuple[str, ...]:
    return (*component.requires, *component.builds_with)


def _context(component: Component) -> list[PurePosixPath]:
    """Returns the paths of its files in the build context, except for wrappers, which are compared by name."""
    return [PurePosixPath(name) for name in component.file_sources]


def _text(component: Component) -> str:
    path = component.template
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _check_fields(component: Component) -> None:
    if not isinstance(component.name, str) or not _NAME.fullmatch(component.name):
        raise ValueError(f"{component.name!r} is not a valid component name (use lowercase letters, digits and '-')")
    for name in _TUPLES:
        value = getattr(component, name)
        if not isinstance(value, tuple | list) or not all(isinstance(item, str) and item for item in value):
            raise ValueError(f"`{name}` must be a tuple of non-empty strings, not {value!r}")
    for name in ("args", "env"):
        value = getattr(component, name)
        if not isinstance(value, Mapping) or not all(isinstance(text, str) for item in value.items() for text in item):
            raise ValueError(f"`{name}` must map strings to strings, not {value!r}")
    if not all(isinstance(check, Check) for check in component.checks):
        raise ValueError(f"`checks` must contain only objects of type Check, not {component.checks!r}")
    for name in ("description", "version"):
        value = getattr(component, name)
        if not isinstance(value, str) or not value.isprintable() or not value:
            raise ValueError(f"`{name}` must be one line of text, not {value!r}")
    for name in ("folder", "root"):
        if not isinstance(value := getattr(component, name), Path | None):
            raise ValueError(f"`{name}` must be a Path, not {value!r}")
    for name, text in component.args.items():
        check_argument(name)
        if problem := secret_problem(name, text):
            raise ValueError(problem[0])
    for text in (*component.args.values(), *component.env.values()):
        dockerfile_quote(text)
    component_env([component])


def _check_files(component: Component) -> None:
    for name in (component.part, *component.wrappers, *component.files):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{name} points outside its folder")
    for file in (component.template, *component.wrapper_sources.values(), *component.file_sources.values()):
        if not file.exists():
            raise ValueError(f"{file} does not exist")
    if component.name not in STAGE.findall(component_part(component)):
        raise ValueError(f"its template {component.template} has no stage named after it (FROM … AS {component.name})")
