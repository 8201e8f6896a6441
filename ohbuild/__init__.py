"""ohbuild adds a complete AI-agent runtime to any container image, with BuildKit.

The names in ``__all__`` are the public Python API; everything else may change without notice. They are imported when
first used.

Example:
    >>> from ohbuild import build_runtime_image, create_builder
    >>> with create_builder("docker") as builder:
    ...     name = build_runtime_image("debian:trixie", builder)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ohbuild.version import __version__

if TYPE_CHECKING:
    from ohbuild.builders.base import RuntimeBuilder as RuntimeBuilder
    from ohbuild.builders.buildx import BuildxBuilder as BuildxBuilder
    from ohbuild.builders.docker import DockerBuilder as DockerBuilder
    from ohbuild.builders.errors import AgentRuntimeBuildError as AgentRuntimeBuildError
    from ohbuild.builders.errors import Category as Category
    from ohbuild.builders.factory import create_builder as create_builder
    from ohbuild.builders.kubernetes import KubernetesBuilder as KubernetesBuilder
    from ohbuild.components.checks import Check as Check
    from ohbuild.components.component import Component as Component
    from ohbuild.config.kubernetes import KubernetesOptions as KubernetesOptions
    from ohbuild.config.sandbox import SandboxConfig as SandboxConfig
    from ohbuild.config.settings import Settings as Settings
    from ohbuild.openhands.build import build_runtime_image as build_runtime_image
    from ohbuild.openhands.build import ensure_runtime_image as ensure_runtime_image
    from ohbuild.openhands.build import resolve_runtime_image as resolve_runtime_image
    from ohbuild.openhands.tags import BuildFromImageType as BuildFromImageType

_PLACES = {
    "RuntimeBuilder": "builders.base",
    "BuildxBuilder": "builders.buildx",
    "DockerBuilder": "builders.docker",
    "AgentRuntimeBuildError": "builders.errors",
    "Category": "builders.errors",
    "create_builder": "builders.factory",
    "KubernetesBuilder": "builders.kubernetes",
    "Check": "components.checks",
    "Component": "components.component",
    "KubernetesOptions": "config.kubernetes",
    "SandboxConfig": "config.sandbox",
    "Settings": "config.settings",
    "build_runtime_image": "openhands.build",
    "ensure_runtime_image": "openhands.build",
    "resolve_runtime_image": "openhands.build",
    "BuildFromImageType": "openhands.tags",
}
__all__ = ["__version__", *sorted(_PLACES)]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
