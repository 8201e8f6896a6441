"""What is verified and what came of it, as values; and the ways of starting an image."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ohbuild.components.checks import Check
from ohbuild.errors import UsageError, nearest
from ohbuild.images.platform import Platform

OPENHANDS_UID = 1000
NUMERIC_UID = 12345


@dataclass(frozen=True)
class Mode:
    """A way of starting an image.

    Args:
        description: one line for people.
        options: options of ``docker run``.
        command: what is started instead of the image's own command; empty for that.
        agent: the user number that an agent's commands must run as; ``None`` for the container's own user.
        switched: the server changes to another user, whose HOME, USER, LOGNAME, SHELL and MAIL are its own.
    """

    name: str
    description: str
    options: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    agent: int | None = None
    switched: bool = False

    def command_for(self, plugins: Collection[str]) -> tuple[str, ...]:
        """The command for an image that has these of OpenHands' plug-ins: it is asked for no other."""
        return tuple(word for word in self.command if word not in _PLUGINS or word in plugins)


_PLUGINS = ("agent_skills", "jupyter", "vscode")

# The variables of issue 3, with values that break a program which heeds them.
HOSTILE: Mapping[str, str] = {
    "PYTHONPATH": "/nonexistent/python",
    "PYTHONHOME": "/nonexistent/home",
    "PYTHONSTARTUP": "/nonexistent/startup.py",
    "NODE_OPTIONS": "--require=/nonexistent/poison.js",
    "LD_PRELOAD": "/nonexistent/preload.so",
    "LD_LIBRARY_PATH": "/nonexistent/lib",
    "LOCPATH": "/nonexistent/locale",
    "SSL_CERT_FILE": "/nonexistent/ca.pem",
    "LANG": "xx_XX.KOI8-Z",
    "LC_ALL": "tlh_QO.EBCDIC",
    "TERM": "dumb",
    "HOME": "/nonexistent/home",
}

# What OpenHands 1.6.0 does with an image (openhands/runtime/impl/docker/docker_runtime.py, utils/command.py).
_OPENHANDS_COMMAND = (
    "/openhands/micromamba/bin/micromamba", "run", "-n", "openhands", "poetry", "run",
    "python", "-u", "-m", "openhands.runtime.action_execution_server", "8000", "--working-dir", "/workspace",
    "--plugins", *_PLUGINS, "--username", "openhands", "--user-id", str(OPENHANDS_UID),
)  # fmt: skip

MODES: tuple[Mode, ...] = (
    Mode("default", "as the image says: its USER, its command"),
    Mode("numeric-user", f"with --user {NUMERIC_UID}, who has no entry in /etc/passwd",
         ("--user", str(NUMERIC_UID)), agent=NUMERIC_UID),
    Mode("read-only", "with --read-only --tmpfs /tmp", ("--read-only", "--tmpfs", "/tmp")),
    Mode("no-capabilities", "with --cap-drop ALL --security-opt no-new-privileges",
         ("--cap-drop", "ALL", "--security-opt", "no-new-privileges")),
    Mode("openhands", f"by OpenHands' own command, as root, for the user openhands ({OPENHANDS_UID})",
         ("--user", "root", "--workdir", "/openhands/code",
          "--env", "VSCODE_PORT=8001", "--env", "PYTHONUNBUFFERED=1", "--env", "PIP_BREAK_SYSTEM_PACKAGES=1"),
         _OPENHANDS_COMMAND, agent=OPENHANDS_UID, switched=True),
    Mode("hostile-environment", "with variables that break what heeds them (LD_PRELOAD, PYTHONHOME, LC_ALL, …)",
         tuple(word for name, value in HOSTILE.items() for word in ("--env", f"{name}={value}"))),
)  # fmt: skip


def mode_named(name: str) -> Mode:
    """The way of starting of that name.

    Raises:
        UsageError: there is none; the hint names the nearest.
    """
    for mode in MODES:
        if mode.name == name:
            return mode
    raise UsageError(f"unknown mode {name!r}", nearest(name, [mode.name for mode in MODES]))


class State(StrEnum):
    """What came of a point. ``skipped``: it could not be asked, or does not apply; the reason says which."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class PointResult:
    """What came of one point of the contract.

    Args:
        name: ``server``, ``browse``, … or a component's name.
        reasons: one line each: what is wrong (or why it was skipped), with the file or variable.
        seconds: how long it took.
    """

    name: str
    state: State
    reasons: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One image to start in one way.

    Args:
        label: what people call it; a column's title.
        reference: what ``docker run`` gets: pinned by digest, unless it is in Docker's own store only.
        digest: of the image in its registry; empty for one that is in Docker's own store only.
        group: subjects of one group run one after the other, and what was pulled for them goes after the last; so
            images that share layers are unpacked once.
        extra: checks of this image's own, asked as those of a component are; they make the point ``special``.
    """

    label: str
    reference: str
    platform: Platform
    mode: Mode = MODES[0]
    digest: str = ""
    group: str = ""
    extra: tuple[Check, ...] = ()

    @property
    def title(self) -> str:
        """Label and way of starting, for people."""
        return self.label if self.mode.name == MODES[0].name else f"{self.label} ({self.mode.name})"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of a subject.

    Args:
        points: in the order of the table.
        log: the last lines of the server's log, where it did not answer.
        seconds: of it all, pulling and starting included; ``start_seconds``: until the server answered.
    """

    subject: Subject
    points: tuple[PointResult, ...] = ()
    log: tuple[str, ...] = ()
    seconds: float = 0.0
    start_seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return bool(self.points) and not any(point.state is State.FAILED for point in self.points)
