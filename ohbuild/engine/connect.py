"""Finds the builder of a run, and reads registries with that builder's mirrors and credentials."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from ohbuild.docker.buildx import Builder, Buildx
from ohbuild.docker.connection import Connection
from ohbuild.engine.find import find
from ohbuild.errors import NoEngine
from ohbuild.images.registry import Registry
from ohbuild.images.registry_config import Registries


def connect_builder(name: str, connect: Callable[[], Connection] = find) -> tuple[Buildx, Builder]:
    """Returns a builder and its description.

    Args:
        name: Name of a buildx builder; the current one if empty.
        connect: Finds the engine.

    Raises:
        NoEngine: It does not exist or does not respond.
    """
    buildx, builder = connect_or_not(name, connect, optional=False)
    assert buildx is not None  # None is only returned with optional
    assert builder is not None
    return buildx, builder


def connect_or_not(
    name: str, connect: Callable[[], Connection] = find, *, optional: bool
) -> tuple[Buildx | None, Builder | None]:
    """Returns the builder to use and its description.

    The engine is tried first, then the user's own docker client, which may know a builder on another machine.

    Args:
        name: Name of a buildx builder; the current one if empty.
        connect: Finds the engine.
        optional: Whether nothing will be built here, so that no builder is required.

    Returns:
        The builder and its description; with ``optional``, None for what is not available.

    Raises:
        NoEngine: No builder responds, and ``optional`` is false.
    """
    client = shutil.which("docker")
    candidates: list[Connection] = []
    problem: NoEngine | None = None
    try:
        candidates.append(connect())
    except NoEngine as error:
        problem = error
    if client and (name or optional) and not (candidates and candidates[0].origin == "system"):
        # The private engine does not know the user's builders, and a remote builder needs no engine on this machine.
        registry = candidates[0].registry if candidates else None
        candidates.append(
            Connection(docker=Path(client), host=None, config_dir=None, registry=registry, origin="system")
        )
    for connection in candidates:
        buildx = Buildx(connection, name)
        try:
            return buildx, buildx.describe()
        except NoEngine as error:
            problem = problem or error
    if not optional and problem:
        raise problem
    return (Buildx(candidates[0], name) if candidates else None), None


def open_registry(connection: Connection | None) -> Registry:
    """Returns a registry client with the mirrors and credentials of an engine.

    Raises:
        NoEngine: The engine does not respond.
    """
    if connection is None:
        return Registry()
    buildx = Buildx(connection)
    return open_registry_of(buildx, None if connection.registry else buildx.describe())


def open_registry_of(buildx: Buildx | None, builder: Builder | None) -> Registry:
    """Returns a registry client with the mirrors and credentials of a builder.

    Args:
        buildx: How to reach the builder, if there is one.
        builder: Description of the builder, if available. If the engine has its own registry, it replaces the
            builder's mirrors.
    """
    if buildx is None:
        return Registry()
    connection = buildx.connection
    registries = builder.registries if builder else Registries()
    if connection.registry:
        registries = registries.with_mirror(connection.registry)
    return Registry(registries, connection.config_dir)
