"""The config of an image for one platform.

The format is defined by the OCI image specification 1.1 (config.md) and by Docker's image specification v1.3, which
adds ``Healthcheck`` and ``OnBuild``. ``docker image inspect`` prints the same fields with capitalized names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from ohbuild.errors import OhbuildError
from ohbuild.images.answers import BrokenAnswer, objects
from ohbuild.images.platform import Platform

_T = TypeVar("_T", str, dict[str, Any], list[Any])

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
            BrokenAnswer: A field has another type than in the format. BuildKit fails in this case too.
        """
        inner = _optional(body.get("config") or body.get("Config"), dict, "config")
        history = [
            _optional(item.get("created_by"), str, "created_by") for item in objects(body.get("history"), "history")
        ]
        healthcheck = _optional(inner.get("Healthcheck"), dict, "Healthcheck")
        labels = _optional(inner.get("Labels"), dict, "Labels")
        return cls(
            platform=config_platform(body),
            size=size,
            created=_moment(_optional(body.get("created") or body.get("Created"), str, "created")),
            user=_optional(inner.get("User"), str, "User"),
            env={name: value for name, _, value in (item.partition("=") for item in _words(inner.get("Env"), "Env"))},
            entrypoint=_words(inner.get("Entrypoint"), "Entrypoint"),
            cmd=_words(inner.get("Cmd"), "Cmd"),
            workdir=_optional(inner.get("WorkingDir"), str, "WorkingDir"),
            volumes=tuple(sorted(_optional(inner.get("Volumes"), dict, "Volumes"))),
            labels={name: _optional(value, str, "a label") for name, value in labels.items()},
            onbuild=_words(inner.get("OnBuild"), "OnBuild"),
            healthcheck=_words(healthcheck.get("Test"), "Test"),
            stop_signal=_optional(inner.get("StopSignal"), str, "StopSignal"),
            layers=_layers(body),
            history=tuple(line for line in history if line),
        )


def config_platform(body: Mapping[str, Any]) -> Platform:
    """Returns the platform in a config, a descriptor of an index, or the output of ``docker image inspect``.

    Raises:
        BrokenAnswer: A part of it is no word.
    """
    names = (("os", "Os"), ("architecture", "Architecture"), ("variant", "Variant"))
    parts = [_optional(body.get(small) or body.get(capital), str, small) for small, capital in names]
    if not all(re.fullmatch(r"[\w.+-]{0,64}", part, re.ASCII) for part in parts):
        raise BrokenAnswer("is invalid: its platform is not one")
    try:
        return Platform.parse("/".join(part for part in parts if part))
    except OhbuildError:
        return Platform(*parts)


def _optional(value: Any, kind: type[_T], name: str) -> _T:
    """Returns a field, or an empty value if it is missing or ``null``."""
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise BrokenAnswer(f"is invalid: {name} has the wrong type")
    return value


def _layers(body: Mapping[str, Any]) -> int:
    """Returns the number of layers in a config, or in the output of ``docker image inspect``."""
    rootfs = _optional(body.get("rootfs") or body.get("RootFS"), dict, "rootfs")
    return len(_optional(rootfs.get("diff_ids") or rootfs.get("Layers"), list, "diff_ids"))


def _words(value: object, name: str) -> tuple[str, ...]:
    """Returns a list of strings. Very old images have a single string instead of a list."""
    if isinstance(value, str):
        return (value,)
    return tuple(_optional(item, str, f"an item of {name}") for item in _optional(value, list, name))


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment if moment.year >= _FIRST_YEAR else None
