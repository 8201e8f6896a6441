"""Finds the builder of a run, and opens registries as that builder would ask them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from ohbuild.bake import Builder, Buildx
from ohbuild.engine import Connection, find
from ohbuild.errors import NoEngine
from ohbuild.registry import Registry
from ohbuild.settings import Settings


def connect_builder(settings: Settings, connect: Callable[[], Connection] = find) -> tuple[Buildx, Builder]:
    """The builder that the settings name, and what it is.

    Raises:
        NoEngine: it does not answer, or there is none.
    """
    buildx, builder = connect_or_not(settings, connect, show_only=False)
    assert buildx is not None  # only what is just shown may do without
    assert builder is not None
    return buildx, builder


def connect_or_not(
    settings: Settings, connect: Callable[[], Connection], *, show_only: bool
) -> tuple[Buildx | None, Builder | None]:
    """The builder to use. Without an engine: the user's client, for a builder that is elsewhere or just to show."""
    client = shutil.which("docker")
    candidates: list[Connection] = []
    problem: NoEngine | None = None
    try:
        candidates.append(connect())
    except NoEngine as error:
        problem = error
    if client and (settings.builder or show_only) and not (candidates and candidates[0].origin == "system"):
        # The private engine knows none of the builders that the user has made, and a remote one needs no engine here.
        registry = candidates[0].registry if candidates else None
        candidates.append(
            Connection(docker=Path(client), host=None, config_dir=None, registry=registry, origin="system")
        )
    for connection in candidates:
        buildx = Buildx(connection, settings.builder)
        try:
            return buildx, buildx.describe()
        except NoEngine as error:
            problem = problem or error
    if not show_only and problem:
        raise problem
    return (Buildx(candidates[0], settings.builder) if candidates else None), None


def open_registry(buildx: Buildx | None, builder: Builder | None) -> Registry:
    """What asks registries as the builder would: by the same mirrors, with the same credentials."""
    own = buildx.connection.registry if buildx else None
    mirrors = [own] if own else list(builder.mirrors) if builder else []
    config_dir = buildx.connection.config_dir if buildx else None
    return Registry(mirrors, config_dir, insecure=builder.insecure if builder else ())
