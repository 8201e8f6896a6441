"""The config of an image for one platform.

The format is defined by the OCI image specification 1.1 (config.md) and by Docker's image specification v1.3, which
adds ``Healthcheck`` and ``OnBuild``. ``docker image inspect`` prints the same fields with capitalized names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ohbuild.errors import OhbuildError
from ohbuild.images.platform import Platform

_FIRST_YEAR = 2000
"""Earlier dates (1970, 0001) are placeholders set by reproducible builds."""


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """The config of an image for one platform.

    Attributes:
        platform: Platform that the config is for.
        size: Compressed size of config and layers in bytes; 0 if unknown.
        created: Time of creation; ``None`` if unknown.
        user: User as configured: empty, a name or a number, optionally with ``:group``.
        env: Environment variables in order; a variable without ``=`` has an empty value.
        entrypoint: Entry point and its arguments.
        cmd: Default command, or default arguments of the entry point.
        workdir: Working directory; empty if not set.
        volumes: Paths declared as volumes, sorted.
        labels: Labels by name.
        onbuild: Dockerfile instructions that run in builds based on the image.
        healthcheck: Health check as in Docker's ``Test``: its type, then the command.
        stop_signal: Signal that stops a container; empty if not set.
        layers: Number of layers; 0 if unknown.
        history: Commands that built the image, as far as it records them.
    """

    platform: Platform
    size: int = 0
    created: datetime | None = None
    user: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    workdir: str = ""
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    onbuild: tuple[str, ...] = ()
    healthcheck: tuple[str, ...] = ()
    stop_signal: str = ""
    layers: int = 0
    history: tuple[str, ...] = ()

    @classmethod
    def parse(cls, body: Mapping[str, Any], *, size: int = 0) -> ImageConfig:
        """Parses a config blob, or an image as printed by ``docker image inspect``.

        Args:
            body: The config as parsed from JSON.
            size: Compressed size of config and layers in bytes; 0 if unknown.

        Raises:
            ValueError, TypeError, AttributeError: It is not an image config.
        """
        inner = body.get("config") or body.get("Config") or {}
        history = (item.get("created_by") or "" for item in body.get("history") or ())
        healthcheck = inner.get("Healthcheck") or {}
        return cls(
            platform=config_platform(body),
            size=size,
            created=_moment(body.get("created") or body.get("Created") or ""),
            user=inner.get("User") or "",
            env={name: value for name, _, value in (str(item).partition("=") for item in inner.get("Env") or ())},
            entrypoint=_words(inner.get("Entrypoint")),
            cmd=_words(inner.get("Cmd")),
            workdir=inner.get("WorkingDir") or "",
            volumes=tuple(sorted(inner.get("Volumes") or {})),
            labels=dict(inner.get("Labels") or {}),
            onbuild=_words(inner.get("OnBuild")),
            healthcheck=_words(healthcheck.get("Test")),
            stop_signal=inner.get("StopSignal") or "",
            layers=_layers(body),
            history=tuple(line for line in history if line),
        )


def config_platform(body: Mapping[str, Any]) -> Platform:
    """Returns the platform in a config, a descriptor of an index, or the output of ``docker image inspect``."""
    names = (("os", "Os"), ("architecture", "Architecture"), ("variant", "Variant"))
    parts = [str(body.get(small) or body.get(capital) or "") for small, capital in names]
    try:
        return Platform.parse("/".join(part for part in parts if part))
    except OhbuildError:
        return Platform(*parts)


def _layers(body: Mapping[str, Any]) -> int:
    """Returns the number of layers in a config, or in the output of ``docker image inspect``."""
    rootfs = body.get("rootfs") or body.get("RootFS")
    found = (rootfs.get("diff_ids") or rootfs.get("Layers")) if isinstance(rootfs, Mapping) else ()
    return len(found) if isinstance(found, list) else 0


def _words(value: object) -> tuple[str, ...]:
    """Returns a list of strings. Very old images have a single string instead of a list."""
    if isinstance(value, str):
        return (value,)
    return tuple(str(item) for item in value) if isinstance(value, Sequence) else ()


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment if moment.year >= _FIRST_YEAR else None
