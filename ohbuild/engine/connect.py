"""Finds the builder of a run, and opens registries as that builder would ask them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from ohbuild.docker.buildx import Builder, Buildx
from ohbuild.docker.connection import Connection
from ohbuild.engine.find import find
from ohbuild.errors import NoEngine
from ohbuild.images.registry import Registry


def connect_builder(name: str, connect: Callable[[], Connection] = find) -> tuple[Buildx, Builder]:
    """A builder, and what it is.

    Args:
        name: of a buildx builder; the current one if empty.
        connect: finds the engine.

    Raises:
        NoEngine: it does not answer, or there is none.
    """
    buildx, builder = connect_or_not(name, connect, show_only=False)
    assert buildx is not None  # only what is just shown may do without
    assert builder is not None
    return buildx, builder


def connect_or_not(
    name: str, connect: Callable[[], Connection] = find, *, show_only: bool
) -> tuple[Buildx | None, Builder | None]:
    """The builder to use. Without an engine: the user's client, for a builder that is elsewhere or just to show."""
    client = shutil.which("docker")
    candidates: list[Connection] = []
    problem: NoEngine | None = None
    try:
        candidates.append(connect())
    except NoEngine as error:
        problem = error
    if client and (name or show_only) and not (candidates and candidates[0].origin == "system"):
        # The private engine knows none of the builders that the user has made, and a remote one needs no engine here.
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
    if not show_only and problem:
        raise problem
    return (Buildx(candidates[0], name) if candidates else None), None


def open_registry(connection: Connection | None) -> Registry:
    """What asks registries as the engine would: by the same mirrors, with the same credentials.

    Raises:
        NoEngine: the engine does not answer.
    """
    if connection is None:
        return Registry()
    buildx = Buildx(connection)
    return open_registry_of(buildx, None if connection.registry else buildx.describe())


def open_registry_of(buildx: Buildx | None, builder: Builder | None) -> Registry:
    """What asks registries as a builder would.

    Args:
        builder: what is known of it; a registry of the engine's own stands in for its mirrors.
    """
    if buildx is None:
        return Registry()
    connection = buildx.connection
    mirrors = [connection.registry] if connection.registry else list(builder.mirrors) if builder else []
    return Registry(mirrors, connection.config_dir, insecure=builder.insecure if builder else ())
