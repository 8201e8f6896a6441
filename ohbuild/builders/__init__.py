"""OpenHands' ``RuntimeBuilder`` interface and its implementations."""

from ohbuild.builders.base import RuntimeBuilder
from ohbuild.builders.buildx import BuildxBuilder
from ohbuild.builders.docker import DockerBuilder
from ohbuild.builders.errors import AgentRuntimeBuildError, Category
from ohbuild.builders.factory import create_builder
from ohbuild.builders.kubernetes import KubernetesBuilder

__all__ = [
    "AgentRuntimeBuildError",
    "BuildxBuilder",
    "Category",
    "DockerBuilder",
    "KubernetesBuilder",
    "RuntimeBuilder",
    "create_builder",
]
