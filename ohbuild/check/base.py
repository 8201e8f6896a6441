"""Checks whether bases are usable, based only on the manifests and configs in their registries.

``remarks`` and ``judge`` are pure: the same configs and the same day give the same verdict.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from ohbuild.check.depth import MANY, depth_remarks
from ohbuild.check.environment import environment_remarks
from ohbuild.check.remark import Remark
from ohbuild.errors import ExitCode, OhbuildError, PlatformMissing, RegistryError, WontWork
from ohbuild.images import labels as label
from ohbuild.images.config import ImageConfig
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Image, Registry
from ohbuild.text import printable

_AT_ONCE = 8
"""Number of bases that are requested in parallel; 32 cost a tenth more CPU."""
_OLD_DAYS = 730
_LARGE_BYTES = 5_000_000_000
# Commands that only start a shell or an interpreter: replacing them needs no remark.
_SHELLS = frozenset({"sh", "bash", "ash", "dash", "zsh", "busybox", "python", "python3", "node", "irb", "jshell", "R"})
# ONBUILD instructions that neither touch files nor run anything: BuildKit only applies them to the config.
_HARMLESS = frozenset({"ENV", "LABEL", "ARG", "EXPOSE", "CMD", "ENTRYPOINT", "USER", "STOPSIGNAL", "VOLUME", "SHELL"})


class State(StrEnum):
    """The verdict on a base."""

    OK = "ok"
    REMARKS = "remarks"
    WONT_WORK = "wont-work"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class BaseReport:
    """The result of checking a base.

    Attributes:
        base: The base.
        wanted: Requested platforms.
        digest: Digest of its index or manifest; empty if it is not from a registry.
        available: Platforms that exist.
        configs: Configs of the requested platforms that exist.
        remarks: What to know about it.
        errors: Why it is not usable, or why there is no verdict.
    """

    base: ImageRef
    wanted: tuple[Platform, ...]
    digest: str = ""
    available: tuple[Platform, ...] = ()
    configs: Mapping[Platform, ImageConfig] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()
    errors: tuple[OhbuildError, ...] = ()

    @property
    def state(self) -> State:
        """The verdict."""
        if any(not isinstance(error, RegistryError) for error in self.errors):
            return State.WONT_WORK
        if self.errors:
            return State.UNKNOWN
        return State.REMARKS if self.remarks else State.OK


def check(
    registry: Registry,
    wanted: Iterable[tuple[ImageRef, Sequence[Platform]]],
    *,
    today: datetime,
    added: Callable[[ImageRef], int] = lambda _: 0,
) -> list[BaseReport]:
    """Checks all bases in parallel. Errors are part of the report on each base.

    Args:
        registry: Registry client.
        wanted: The bases, each with the requested platforms.
        today: Reference date for the age of a base.
        added: Returns the number of layers that a runtime image has above a base.
    """

    def ask(pair: tuple[ImageRef, Sequence[Platform]]) -> BaseReport:
        base, platforms = pair[0], tuple(pair[1])
        try:
            return judge(base, platforms, registry.describe(base, platforms), today=today, added=added)
        except OhbuildError as error:
            return BaseReport(base=base, wanted=platforms, errors=(error,))

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return list(pool.map(ask, wanted))


def judge(
    base: ImageRef,
    wanted: Sequence[Platform],
    image: Image,
    *,
    today: datetime,
    added: Callable[[ImageRef], int] = lambda _: 0,
) -> BaseReport:
    """Returns the report on a base that exists in its registry."""
    errors: list[OhbuildError] = list(_platforms(base, wanted, image))
    where: dict[Remark, list[Platform]] = {}  # a remark that applies to two platforms is reported once
    for platform, config in image.configs.items():
        ours = added(base) if config.layers > MANY else 0
        for remark in remarks(config, today=today, added=ours):
            where.setdefault(remark, []).append(platform)
    everywhere = list(image.configs)
    found = [
        remark if platforms == everywhere else replace(remark, platforms=tuple(platforms))
        for remark, platforms in where.items()
    ]
    errors += [WontWork(f"{base} is not usable: {remark.text}", remark.meaning) for remark in found if remark.fatal]
    return BaseReport(
        base=base,
        wanted=tuple(wanted),
        digest=image.digest,
        available=image.platforms,
        configs=image.configs,
        remarks=tuple(remark for remark in found if not remark.fatal),
        errors=tuple(errors),
    )


def _platforms(base: ImageRef, wanted: Sequence[Platform], image: Image) -> Iterator[OhbuildError]:
    have = ", ".join(str(platform) for platform in image.platforms) or "none"
    if not any(platform.system == "linux" for platform in image.platforms):
        yield WontWork(f"{base} is not usable: it has no Linux image; available: {have}", "use a base for Linux")
        return
    missing = [str(platform) for platform in wanted if platform not in image.sizes]
    if missing:
        hint = f'build for those only, or set `platforms` for this base: {{image = "{base}", platforms = […]}}'
        yield PlatformMissing(f"{base} has no image for {', '.join(missing)}; available: {have}", hint)


def remarks(config: ImageConfig, *, today: datetime, added: int = 0) -> list[Remark]:
    """Returns all remarks on a config, in a fixed order. They quote it, so control characters are escaped."""
    found = [
        *_onbuild(config),
        *_volumes(config),
        *_openhands(config),
        *_user(config),
        *_start(config),
        *environment_remarks(config.env),
        *depth_remarks(config.layers, added),
        *_size_and_age(config, today),
    ]
    return [
        replace(remark, text=printable(remark.text, 500), meaning=printable(remark.meaning, 500)) for remark in found
    ]


def _onbuild(config: ImageConfig) -> Iterator[Remark]:
    heavy = [line for line in config.onbuild if (line.split() or [""])[0].upper() not in _HARMLESS]
    if heavy:
        yield Remark(
            "onbuild",
            f"it has ONBUILD {_shown(heavy)}",
            "BuildKit would run this in the base with ohbuild's files as the build context: use the base's own base,"
            " or a variant without ONBUILD",
            fatal=True,
        )
    elif config.onbuild:
        yield Remark(
            "onbuild", f"it has ONBUILD {_shown(config.onbuild)}", "BuildKit applies this to the runtime image's config"
        )


def _volumes(config: ImageConfig) -> Iterator[Remark]:
    for path in config.volumes:
        clean = posixpath.normpath("/" + path.lstrip("/"))
        if clean in ("/", "/openhands"):
            yield Remark(
                "volume",
                f"it has a VOLUME at {path}",
                "Docker would copy 1.7 GB there for each new container, and a reused volume would hide a newer"
                " /openhands: build the base without this VOLUME",
                fatal=True,
            )
        elif clean.startswith("/openhands/"):
            yield Remark(
                "volume",
                f"it has a VOLUME at {path}",
                "if /openhands has this folder, Docker copies it there for each new container, and a reused volume"
                " hides a newer one",
            )


def _openhands(config: ImageConfig) -> Iterator[Remark]:
    ours = sorted(name for name in config.labels if name.startswith(label.OURS))
    if ours:
        own = config.labels.get("org.opencontainers.image.base.name", "")
        better = f"; use its base {own} instead" if own else ""
        yield Remark(
            "openhands",
            "it is itself a runtime or deps image",
            "the new /openhands hides its own completely, but its layers remain part of the image" + better,
        )
        return
    signs = [
        ("PATH", any(_is_openhands(entry) for entry in config.env.get("PATH", "").split(":"))),
        ("WORKDIR", _is_openhands(config.workdir)),
        ("ENTRYPOINT", any(_is_openhands(word) for word in config.entrypoint)),
        ("CMD", any(_is_openhands(word) for word in config.cmd)),
        ("history", any("/openhands" in line for line in config.history)),
    ]
    where = [name for name, is_there in signs if is_there]
    if where:
        gone = ", and its WORKDIR will be empty" if "WORKDIR" in where else ""
        yield Remark(
            "openhands",
            f"it seems to have its own /openhands (judging by its {', '.join(where)})",
            f"ours hides it completely: none of its files are visible in the runtime image{gone}",
        )


def _is_openhands(path: str) -> bool:
    return path == "/openhands" or path.startswith("/openhands/")


def _user(config: ImageConfig) -> Iterator[Remark]:
    name = config.user.partition(":")[0]
    if name not in ("", "root", "0"):
        yield Remark(
            "user",
            f"it runs as user {config.user}",
            "server and agent run as this user too, and cannot install system packages"
            " (use --system-packages to include them in the image)",
        )


def _start(config: ImageConfig) -> Iterator[Remark]:
    if config.entrypoint:
        yield Remark(
            "entrypoint",
            f"its ENTRYPOINT {_shown(config.entrypoint)} is not run",
            "`docker run IMAGE` starts the server and `docker run IMAGE cmd…` runs cmd, without what the entrypoint"
            " sets up",
        )
    elif config.cmd and not _is_shell(config.cmd) and not _is_openhands(config.cmd[0]):
        yield Remark(
            "cmd",
            f"its CMD {_shown(config.cmd)} is not run",
            "`docker run IMAGE` starts the server; the agent can run the command",
        )
    if config.healthcheck and config.healthcheck[0] != "NONE":
        yield Remark("healthcheck", "its HEALTHCHECK is disabled", "the service that it checks is not started")
    if config.stop_signal and config.stop_signal.removeprefix("SIG") not in ("TERM", "15"):
        yield Remark(
            "stopsignal",
            f"its STOPSIGNAL {config.stop_signal} becomes SIGTERM",
            "the service that expects it is not started",
        )


def _is_shell(command: Sequence[str]) -> bool:
    words = list(command)
    if words[:2] in (["/bin/sh", "-c"], ["/bin/bash", "-c"]) and len(words) == 3:
        words = words[2].split()
    return all(posixpath.basename(word) in _SHELLS or word.startswith("-") for word in words) and len(words) <= 2


def _size_and_age(config: ImageConfig, today: datetime) -> Iterator[Remark]:
    if config.size > _LARGE_BYTES:
        yield Remark(
            "size",
            f"its compressed size is {config.size / 1e9:.1f} GB",
            "building the runtime image does not pull it, but each machine that runs the image does",
        )

    if config.created and (today - config.created).days > _OLD_DAYS:
        yield Remark(
            "age",
            f"it was created on {config.created:%Y-%m-%d}",
            "its packages and certificates are just as old; /openhands is not affected",
        )


def _shown(words: Sequence[str]) -> str:
    return printable(words[0] if len(words) == 1 else f"[{', '.join(words)}]", 80)


def exit_code(reports: Iterable[BaseReport]) -> ExitCode:
    """Returns 0 if all are usable, 2 if any is not, or 4 if a registry did not respond, so there is no verdict."""
    states = {report.state for report in reports}
    if State.WONT_WORK in states:
        return ExitCode.USAGE
    return ExitCode.REGISTRY if State.UNKNOWN in states else ExitCode.OK


def notes(reports: Iterable[BaseReport], limit: int = 8) -> list[str]:
    """Returns the remarks in short form, one line per base, for a run that continues."""
    some = [report for report in reports if report.state is State.REMARKS]
    lines = [
        f"{report.base}: {'; '.join(remark.text for remark in report.remarks)} (details: `ohbuild check`)"
        for report in some[:limit]
    ]
    if len(some) > limit:
        lines.append(f"{len(some) - limit} more bases have remarks: see `ohbuild check`")
    return lines


def as_data(reports: Iterable[BaseReport]) -> list[dict[str, Any]]:
    """Returns the reports as data; sizes in bytes, times in ISO 8601."""
    return [
        {
            "base": str(report.base),
            "state": str(report.state),
            "digest": report.digest or None,
            "wanted": [str(platform) for platform in report.wanted],
            "platforms": [str(platform) for platform in report.available],
            "errors": [
                {"kind": type(error).__name__, "message": error.message, "hint": error.hint} for error in report.errors
            ],
            "remarks": [
                {
                    "rule": remark.rule,
                    "text": remark.text,
                    "meaning": remark.meaning,
                    "platforms": [str(platform) for platform in remark.platforms or report.configs],
                }
                for remark in report.remarks
            ],
            "configs": {str(platform): _config_data(config) for platform, config in report.configs.items()},
        }
        for report in reports
    ]


def _config_data(config: ImageConfig) -> dict[str, Any]:
    return {
        "user": config.user,
        "entrypoint": list(config.entrypoint),
        "cmd": list(config.cmd),
        "workdir": config.workdir,
        "volumes": list(config.volumes),
        "size": config.size,
        "created": config.created.isoformat() if config.created else None,
    }
