"""``DockerBuilder``: any buildx builder that is there, or one of the ``docker-container`` driver with limits."""

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
    """Builds on any buildx builder (drivers ``docker``, ``docker-container``, ``remote``; ``kubernetes`` too).

    Images are loaded into the local Docker unless it is told to push them: it takes the place of OpenHands'
    ``DockerRuntimeBuilder``. With a limit it builds in a builder of the ``docker-container`` driver, which is made if
    it is not there and then removed by ``close()``. Docker's own builder (driver ``docker``) knows no limits.

    Args:
        builder: name of a buildx builder; the current one if empty, or ``ohbuild`` with a limit.
        memory: of the builder's container, as Docker writes it (``4g``, ``512m``); empty for no limit.
        cpus: of the builder's container, as a number of processors (``1.5``); 0 for no limit.
        image: of the builder's container, instead of ``moby/buildkit``.
        **options: as for ``BuildxBuilder``.

    Raises:
        AgentRuntimeBuildError: a parameter is wrong.
    """

    def __init__(
        self, *, builder: str = "", memory: str = "", cpus: float = 0.0, image: str = "", **options: Any
    ) -> None:
        limited = bool(memory or cpus or image)
        super().__init__(builder=builder or (_NAME if limited else ""), **options)
        self._created = False
        self._container: dict[str, str] | None = None
        if limited:
            with translated("making a DockerBuilder"):
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
