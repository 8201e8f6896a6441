"""Finds the builder of a run, and reads registries with that builder's mirrors and credentials."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from ohbuild.docker.buildx import Builder, Buildx
from ohbuild.docker.connection import Connection
from ohbuild.engine.errors import UnmetChoice
from ohbuild.engine.find import NamedBuilder, find, named_builder, own_client
from ohbuild.errors import NoEngine
from ohbuild.images.registry import Registry
from ohbuild.images.registry_config import Registries


@dataclass(frozen=True)
class Reached:
    """What is known of the builder of a run.

    Attributes:
        buildx: Runs buildx. It also reads bake files if there is no builder; ``None`` if there is no docker client.
        builder: Description of the builder; ``None`` if it cannot be used.
        problem: Why it cannot be used; ``None`` if it can.
    """

    buildx: Buildx | None
    builder: Builder | None
    problem: NoEngine | None = None


def connect_builder(name: str, connect: Callable[[], Connection] = find) -> tuple[Buildx, Builder]:
    """Returns a builder and its description.

    Args:
        name: Setting ``builder``; if empty, the builder that the user names elsewhere, or the engine's default.
        connect: Finds the engine.

    Raises:
        NoEngine: It does not exist or does not respond.
    """
    found = reach(name, connect)
    if found.problem:
        raise found.problem
    assert found.buildx is not None
    assert found.builder is not None
    return found.buildx, found.builder


def reach(name: str, connect: Callable[[], Connection] = find) -> Reached:
    """Looks for the builder to use.

    A builder that the user names is also looked up with the user's own docker client, because it may be on another
    machine and need no engine on this one.

    Args:
        name: Setting ``builder``; if empty, the builder that the user names elsewhere, or the engine's default.
        connect: Finds the engine.

    Returns:
        The builder. If one is named and cannot be used, no other takes its place, and the problem is an
        ``UnmetChoice``.
    """
    named = named_builder(name, os.environ)
    connections: list[Connection] = []
    problem: NoEngine | None = None
    try:
        connections.append(connect())
    except NoEngine as error:
        problem = error
    if not any(connection.origin == "system" for connection in connections) and (client := own_client()):
        registry = connections[0].registry if connections else None
        connections.append(Connection(docker=client, host=None, config_dir=None, registry=registry, origin="system"))
    candidates = [Buildx(connection, named.name if named else "") for connection in connections]
    fallback = candidates[0] if candidates else None
    if not named and problem:
        return Reached(fallback, None, problem)
    failures: list[NoEngine] = []
    for buildx in candidates if named else candidates[:1]:
        try:
            return Reached(buildx, buildx.describe())
        except NoEngine as error:
            failures.append(error)
    # Of two clients, the one that knows the builder says more than the one that does not.
    known = [error for error in failures if "no builder" not in error.message]
    reason = next(iter([*known, *failures]), problem)
    assert reason is not None  # either there is no connection, or the builder of each failed
    return Reached(fallback, None, _unmet(named, reason) if named else reason)


def _unmet(named: NamedBuilder, reason: NoEngine) -> UnmetChoice:
    source = f"{named.source} cannot be used: " if named.source else ""
    return UnmetChoice(f"{source}{reason.message}", reason.hint)


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
