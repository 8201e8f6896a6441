"""OpenHands' ``RuntimeBuilder`` and its implementations, for programs that hold one and call ``build()``."""

from ohbuild.builders.base import RuntimeBuilder
from ohbuild.builders.errors import AgentRuntimeBuildError, Category

__all__ = ["AgentRuntimeBuildError", "Category", "RuntimeBuilder"]
