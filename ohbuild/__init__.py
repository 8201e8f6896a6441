"""ohbuild puts a complete AI-agent runtime into any container image, with BuildKit.

The names below are the Python API; everything else may change. They are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ohbuild.builders.base import RuntimeBuilder as RuntimeBuilder
    from ohbuild.builders.core import BuildxBuilder as BuildxBuilder
    from ohbuild.builders.docker import DockerBuilder as DockerBuilder
    from ohbuild.builders.errors import AgentRuntimeBuildError as AgentRuntimeBuildError
    from ohbuild.builders.errors import Category as Category
    from ohbuild.builders.factory import create_builder as create_builder
    from ohbuild.builders.kubernetes import KubernetesBuilder as KubernetesBuilder
    from ohbuild.components import Component as Component
    from ohbuild.components.checks import Check as Check
    from ohbuild.kubernetes_options import KubernetesOptions as KubernetesOptions
    from ohbuild.runtime_build import build_runtime_image as build_runtime_image
    from ohbuild.runtime_build import ensure_runtime_image as ensure_runtime_image
    from ohbuild.sandbox import SandboxConfig as SandboxConfig
    from ohbuild.sandbox import resolve_runtime_image as resolve_runtime_image
    from ohbuild.settings import Settings as Settings
    from ohbuild.tags import BuildFromImageType as BuildFromImageType

__version__ = "0.1.0"

_PLACES = {
    "RuntimeBuilder": "builders.base",
    "BuildxBuilder": "builders.core",
    "DockerBuilder": "builders.docker",
    "KubernetesBuilder": "builders.kubernetes",
    "KubernetesOptions": "kubernetes_options",
    "AgentRuntimeBuildError": "builders.errors",
    "Category": "builders.errors",
    "create_builder": "builders.factory",
    "build_runtime_image": "runtime_build",
    "ensure_runtime_image": "runtime_build",
    "SandboxConfig": "sandbox",
    "resolve_runtime_image": "sandbox",
    "BuildFromImageType": "tags",
    "Component": "components",
    "Check": "components.checks",
    "Settings": "settings",
}
__all__ = ["__version__", *sorted(_PLACES)]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
