"""What an image's config says, for one platform.

The format is that of the OCI image specification 1.1 (config.md) and of Docker's image specification v1.3, which adds
``Healthcheck`` and ``OnBuild``. ``docker image inspect`` shows the same with capital letters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ohbuild.errors import OhbuildError
from ohbuild.images.platform import Platform

_FIRST_YEAR = 2000
"""What claims to be older has a date that stands for none (1970, 0001: made reproducible)."""


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """The config of an image for one platform.

    Args:
        size: compressed size of config and layers in bytes; 0 if it is not known.
        created: when it was made; ``None`` if it does not tell.
        user: as written: empty, a name or a number, perhaps with ``:group``.
        env: variables in their order; one without ``=`` has no value.
        onbuild: Dockerfile instructions for the images made from it.
        history: the commands that made it, as far as it tells.
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
    history: tuple[str, ...] = ()

    @classmethod
    def parse(cls, body: Mapping[str, Any], *, size: int = 0) -> ImageConfig:
        """Read a config blob, or what ``docker image inspect`` prints about an image.

        Raises:
            ValueError, TypeError, AttributeError: it is none.
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
            history=tuple(line for line in history if line),
        )


def config_platform(body: Mapping[str, Any]) -> Platform:
    """The platform in a config, in a descriptor of an index, or in what ``docker image inspect`` prints."""
    names = (("os", "Os"), ("architecture", "Architecture"), ("variant", "Variant"))
    parts = [str(body.get(small) or body.get(capital) or "") for small, capital in names]
    try:
        return Platform.parse("/".join(part for part in parts if part))
    except OhbuildError:
        return Platform(*parts)


def _words(value: object) -> tuple[str, ...]:
    """A list of strings. Very old images have one string in the place of a list."""
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
