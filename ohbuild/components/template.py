"""Templates of Dockerfiles and of components' stages, and what may stand in them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, TemplateSyntaxError

from ohbuild.assets import assets
from ohbuild.components.component import Component
from ohbuild.errors import OhbuildError

# What would reach into the programs of the base, which must see their own world only (DESIGN.md, decision 4).
_FORBIDDEN_ENV = ("PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONHOME")


def dockerfile_quote(text: str) -> str:
    """A double-quoted word of a Dockerfile instruction that stands for ``text``; nothing in it is expanded.

    Raises:
        ValueError: the text has a control character, which a Dockerfile's one-line instructions cannot hold.
    """
    if any(ord(character) < 32 or ord(character) == 127 or character in "\u0085\u2028\u2029" for character in text):
        raise ValueError(f"{text!r} has a control character")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'


@cache
def _environment(folders: tuple[Path, ...]) -> Environment:
    """Jinja2 for these folders; kept, because it keeps the compiled templates, and compiles again what has changed."""
    jinja = Environment(
        loader=FileSystemLoader(folders),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Dockerfiles and HCL have quoting of their own
    )
    jinja.filters["dockerfile"] = dockerfile_quote
    return jinja


class Templates:
    """The templates below some folders, ohbuild's own by default; of two of one name, the first folder's counts."""

    def __init__(self, *folders: Path) -> None:
        self._jinja = _environment(folders or (assets(),))

    def fill(self, name: str, **variables: Any) -> str:
        """The template's text with these variables.

        Raises:
            OhbuildError: there is no such template, or something is wrong in it (with its name and line).
        """
        try:
            return self._jinja.get_template(name).render(**variables)
        except TemplateError as error:
            where = getattr(error, "name", None) or name
            line = f":{error.lineno}" if isinstance(error, TemplateSyntaxError) else ""
            raise OhbuildError(f"template {where}{line}: {error.message or type(error).__name__}") from error
        except ValueError as error:
            raise OhbuildError(f"template {name}: {error}") from error


def component_part(component: Component) -> str:
    """A component's part of the Dockerfile, without a line break at its end.

    Raises:
        OhbuildError: there is no template, or something is wrong in it (with the component's name).
    """
    path = component.template
    shared = (component.root / "dockerfiles", component.root) if component.root else ()
    try:
        return Templates(path.parent, *shared).fill(path.name, component=component).rstrip("\n")
    except OhbuildError as error:
        raise OhbuildError(f"component {component.name!r}: {error.message}", error.hint) from error


def component_env(components: Iterable[Component]) -> dict[str, str]:
    """The environment variables that components set.

    Raises:
        OhbuildError: one of them may not be set by a component.
    """
    env: dict[str, str] = {}
    for component in components:
        for name, value in component.env.items():
            if name in _FORBIDDEN_ENV or not name.isidentifier() or not name.isascii():
                raise OhbuildError(f"component {component.name!r} may not set the variable {name!r}")
            env[name] = value
    return env
