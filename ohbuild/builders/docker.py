"""``DockerBuilder``: builds with any existing buildx builder, or in a container with limits."""

from __future__ import annotations

from typing import Any

from ohbuild.builders.buildx import BuildxBuilder
from ohbuild.builders.errors import translated
from ohbuild.docker import nodes
from ohbuild.docker.buildx import Builder, Buildx
from ohbuild.docker.described import Node
from ohbuild.engine.connect import connect_builder

_NAME = "ohbuild"
_BOOT_WITHIN = 300.0  # seconds; the image may have to be pulled


class DockerBuilder(BuildxBuilder):
    """Builds with a buildx builder on this machine or elsewhere; replaces OpenHands' ``DockerRuntimeBuilder``.

    By default, builds run on the current buildx builder (any driver), and images are loaded into the local Docker
    instead of being pushed.

    If ``memory``, ``cpus`` or ``image`` is set, builds run on a builder with the ``docker-container`` driver, because
    Docker's own builder (driver ``docker``) does not support limits. That builder is created unless it exists, and
    ``close()`` removes it again if this object created it.

    Args:
        builder: Name of a buildx builder; by default the one in the settings, or else buildx's current builder. With
            ``memory``, ``cpus`` or ``image``, the default is ``ohbuild``.
        memory: Memory limit of the builder's container in Docker's notation (``4g``, ``512m``); empty for no limit.
        cpus: CPU limit of the builder's container as a number of CPUs (``1.5``); 0 for no limit.
        image: BuildKit image for the builder's container; ``moby/buildkit`` if empty.
        **options: Arguments of ``BuildxBuilder``: ``settings``, ``push``, ``load``, ``platform``, ``max_builds``,
            ``timeout``, ….

    Raises:
        AgentRuntimeBuildError: A setting or an argument is invalid.

    Example:
        >>> with ohbuild.DockerBuilder(memory="4g", cpus=2) as builder:
        ...     name = ohbuild.build_runtime_image("debian:trixie", builder)
    """

    def __init__(
        self, *, builder: str = "", memory: str = "", cpus: float = 0.0, image: str = "", **options: Any
    ) -> None:
        limited = bool(memory or cpus or image)
        super().__init__(builder=builder or (_NAME if limited else ""), **options)
        self._created = False
        self._container: dict[str, str] | None = None
        if limited:
            with translated("creating the DockerBuilder"):
                self._container = nodes.docker_container_options(memory=memory, cpus=cpus, image=image)

    def _provide(self) -> tuple[Buildx, Builder]:
        if self._container is not None:
            name = self.settings.builder
            node = Node(name=nodes.node_name(name), options=self._container)
            self._created = nodes.ensure(self._engine, name, "docker-container", [node], until=self._closing.is_set)
            try:
                nodes.boot(self._engine, name, timeout=_BOOT_WITHIN, until=self._closing.is_set)
            except BaseException:
                self._release()
                raise
        return connect_builder(self.settings.builder, self._connect)

    def _release(self) -> None:
        if self._created:
            nodes.remove(self._engine, self.settings.builder)
            self._created = False
