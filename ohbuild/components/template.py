"""Renders the templates of Dockerfiles and of components' stages. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, TemplateSyntaxError

from ohbuild.assets import assets
from ohbuild.components.component import Component
from ohbuild.errors import OhbuildError

# Variables that would affect the base's own programs (DESIGN.md, decision 4).
_FORBIDDEN_ENV = ("PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONHOME")


def dockerfile_quote(text: str) -> str:
    """Returns a text as a double-quoted word of a Dockerfile instruction, in which nothing is expanded.

    Raises:
        ValueError: The text has a control character, so it does not fit into a one-line instruction.
    """
    if any(ord(character) < 32 or ord(character) == 127 or character in "\u0085\u2028\u2029" for character in text):
        raise ValueError(f"{text!r} has a control character")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'


@cache
def _environment(folders: tuple[Path, ...]) -> Environment:
    """Returns Jinja2 for these folders; cached, because it caches compiled templates and recompiles changed ones."""
    jinja = Environment(
        loader=FileSystemLoader(folders),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Dockerfiles and HCL have their own quoting
    )
    jinja.filters["dockerfile"] = dockerfile_quote
    return jinja


class Templates:
    """Finds templates in folders and renders them.

    Args:
        folders: Folders, searched in this order; ohbuild's own by default.
    """

    def __init__(self, *folders: Path) -> None:
        self._jinja = _environment(folders or (assets(),))

    def fill(self, name: str, **variables: Any) -> str:
        """Renders a template.

        Args:
            name: Path of the template in one of the folders.
            variables: Variables of the template.

        Raises:
            OhbuildError: The template does not exist or is not valid (with its name and line).
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
    """Renders a component's part of the Dockerfile, without a trailing line break.

    Raises:
        OhbuildError: The template does not exist or is not valid (with the component's name).
    """
    path = component.template
    shared = (component.root / "dockerfiles", component.root) if component.root else ()
    try:
        return Templates(path.parent, *shared).fill(path.name, component=component).rstrip("\n")
    except OhbuildError as error:
        raise OhbuildError(f"component {component.name!r}: {error.message}", error.hint) from error


def component_env(components: Iterable[Component]) -> dict[str, str]:
    """Returns the environment variables that components set.

    Raises:
        OhbuildError: A component must not set one of them.
    """
    env: dict[str, str] = {}
    for component in components:
        for name, value in component.env.items():
            if name in _FORBIDDEN_ENV or not name.isidentifier() or not name.isascii():
                raise OhbuildError(f"component {component.name!r} may not set the variable {name!r}")
            env[name] = value
    return env
