"""The texts of Dockerfiles, from the templates of ohbuild and of the components. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, TemplateSyntaxError

from ohbuild.assets import assets
from ohbuild.components import Component
from ohbuild.errors import OhbuildError
from ohbuild.model import Plan
from ohbuild.plan import CONTEXT_PREFIX, DEPS_CONTEXT

# What would reach into the programs of the base, which must see their own world only (DESIGN.md, decision 4).
_FORBIDDEN_ENV = ("PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONHOME")


def dockerfile_quote(text: str) -> str:
    """A double-quoted word of a Dockerfile instruction that stands for ``text``; nothing in it is expanded.

    Raises
    ------
    ValueError: the text has a control character, which a Dockerfile's one-line instructions cannot hold.
    """
    if any(ord(character) < 32 or ord(character) == 127 or character in "\u0085\u2028\u2029" for character in text):
        raise ValueError(f"{text!r} has a control character")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'


class Templates:
    """The templates below some folders; of two of one name, the first folder's counts."""

    def __init__(self, roots: Iterable[Path]) -> None:
        folders = [str(folder / part) for folder in roots for part in ("", "dockerfiles")]
        self._jinja = Environment(
            loader=FileSystemLoader(folders),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,  # Dockerfiles and HCL have quoting of their own
        )
        self._jinja.filters["dockerfile"] = dockerfile_quote

    def fill(self, name: str, **variables: Any) -> str:
        """The template's text with these variables.

        Raises
        ------
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


class Dockerfiles:
    """The Dockerfiles of a plan.

    Parameters
    ----------
    roots: folders with ``dockerfiles/``, besides a component's own.
    labels: what the deps stage states.
    values: build arguments whose values are to stand in the text itself, as nothing else hands them over.
    runtime_labels: what a runtime states, for the same reason.
    """

    def __init__(
        self,
        plan: Plan,
        roots: Sequence[Path],
        *,
        labels: Mapping[str, str],
        values: Mapping[str, str] | None = None,
        runtime_labels: Mapping[str, str] | None = None,
    ) -> None:
        self._plan = plan
        self._templates = Templates(roots)
        values = dict(values or {})
        shared: dict[str, Any] = {
            "components": plan.components,
            "stages": plan.stages,
            "build_image": plan.build_image,
            "system_packages": plan.system_packages,
            "extra_deps": plan.extra_deps,
            "env": dict(plan.deps_image.env) if plan.deps_image else component_env(plan.components),
            "labels": labels,
            "runtime_labels": runtime_labels or {},
            "standalone": bool(values),
            "deps_image": plan.deps_image.image if plan.deps_image else None,
            "epoch": values.pop("SOURCE_DATE_EPOCH", ""),
            "base": values.pop("BASE", ""),
            "foundation": values.pop("FOUNDATION", ""),
            "arguments": {**plan.args, **values},
        }
        parts = {item.name: component_part(item, roots) for item in plan.stages} if plan.deps else {}
        self._variables = {**shared, "parts": parts}

    def deps(self) -> str:
        """The stages of the components, and the deps image."""
        return self._templates.fill("dockerfiles/Dockerfile.deps.j2", joined=False, **self._variables)

    def runtime(self) -> str:
        """A runtime alone, whose layers come from named contexts."""
        components = [CONTEXT_PREFIX + item.name for item in self._plan.components]
        return self._runtime("Dockerfile.runtime.j2", [DEPS_CONTEXT] if self._plan.deps_image else components, False)

    def joined(self) -> str:
        """The stages of the components, the deps image and a runtime."""
        return self._runtime("Dockerfile.j2", [item.name for item in self._plan.components], True)

    def _runtime(self, template: str, sources: list[str], joined: bool) -> str:
        return self._templates.fill(f"dockerfiles/{template}", sources=sources, joined=joined, **self._variables)


def component_part(component: Component, roots: Sequence[Path] = ()) -> str:
    """A component's part of the Dockerfile, without a line break at its end.

    Parameters
    ----------
    roots: folders with ``dockerfiles/`` for a component that has none of its own.

    Raises
    ------
    OhbuildError: there is no template, or something is wrong in it (with the component's name).
    """
    templates = Templates([component.root] if component.root else roots or [assets()])
    try:
        return templates.fill(component.template, component=component).rstrip("\n")
    except OhbuildError as error:
        raise OhbuildError(f"component {component.name!r}: {error.message}", error.hint) from error


def component_env(components: Iterable[Component]) -> dict[str, str]:
    """The environment variables that components set.

    Raises
    ------
    OhbuildError: one of them may not be set by a component.
    """
    env: dict[str, str] = {}
    for component in components:
        for name, value in component.env.items():
            if name in _FORBIDDEN_ENV or not name.isidentifier() or not name.isascii():
                raise OhbuildError(f"component {component.name!r} may not set the variable {name!r}")
            env[name] = value
    return env
