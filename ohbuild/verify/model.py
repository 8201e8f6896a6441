"""Data types of verify: the modes of starting an image, the subjects and the results."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ohbuild.components.checks import Check
from ohbuild.components.choice import ACTION_EXECUTION_SERVER, AGENT_SERVER
from ohbuild.errors import UsageError, nearest
from ohbuild.images.platform import Platform

OPENHANDS_UID = 1000
NUMERIC_UID = 12345


@dataclass(frozen=True)
class Mode:
    """A way of starting an image.

    Attributes:
        name: Name of the mode, as in ``--mode``.
        description: Description for users, in one line.
        options: Options for ``docker run``.
        command: Command to start instead of the image's own; empty for the image's own.
        agent: UID that the agent's commands must run as; ``None`` for the container's own user.
        switched: Whether the server runs the agent's shell as another user, with that user's ``HOME``, ``USER``,
            ``LOGNAME`` and ``SHELL``.
        server: The server that the command starts; empty for the image's own.
    """

    name: str
    description: str
    options: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    agent: int | None = None
    switched: bool = False
    server: str = ""

    def command_for(self, plugins: Collection[str]) -> tuple[str, ...]:
        """Returns the command for an image that has only some of OpenHands' plug-ins.

        Args:
            plugins: Plug-ins of the image; others are left out of the command.
        """
        return tuple(word for word in self.command if word not in _PLUGINS or word in plugins)


_PLUGINS = ("agent_skills", "jupyter", "vscode")

# The values break any program that uses these variables.
HOSTILE: Mapping[str, str] = {
    "PYTHONPATH": "/nonexistent/python",
    "PYTHONHOME": "/nonexistent/home",
    "PYTHONSTARTUP": "/nonexistent/startup.py",
    "NODE_OPTIONS": "--require=/nonexistent/poison.js",
    "PLAYWRIGHT_NODEJS_PATH": "/nonexistent/node",
    "PLAYWRIGHT_BROWSERS_PATH": "/nonexistent/browsers",
    "WEB_CONCURRENCY": "4",
    # Not a configuration.
    "OPENSSL_CONF": "/etc/passwd",
    "XDG_CONFIG_HOME": "/nonexistent/config",
    "LD_PRELOAD": "/nonexistent/preload.so",
    "LD_LIBRARY_PATH": "/nonexistent/lib",
    "LOCPATH": "/nonexistent/locale",
    "SSL_CERT_FILE": "/nonexistent/ca.pem",
    "LANG": "xx_XX.KOI8-Z",
    "LC_ALL": "tlh_QO.EBCDIC",
    "TERM": "dumb",
    "TMOUT": "1",
    "PS0": "[start] ",
    "HOME": "/nonexistent/home",
}

# How OpenHands 1.6.0 starts an image (openhands/runtime/impl/docker/docker_runtime.py, utils/command.py).
_OPENHANDS_COMMAND = (
    "/openhands/micromamba/bin/micromamba", "run", "-n", "openhands", "poetry", "run",
    "python", "-u", "-m", "openhands.runtime.action_execution_server", "8000", "--working-dir", "/workspace",
    "--plugins", *_PLUGINS, "--username", "openhands", "--user-id", str(OPENHANDS_UID),
)  # fmt: skip

MODES: tuple[Mode, ...] = (
    Mode("default", "as configured in the image: its USER, its command"),
    Mode("numeric-user", f"with --user {NUMERIC_UID}, a UID without a passwd entry",
         ("--user", str(NUMERIC_UID)), agent=NUMERIC_UID),
    Mode("read-only", "with --read-only --tmpfs /tmp", ("--read-only", "--tmpfs", "/tmp")),
    Mode("no-capabilities", "with --cap-drop ALL --security-opt no-new-privileges",
         ("--cap-drop", "ALL", "--security-opt", "no-new-privileges")),
    Mode("docker-runtime", "as the agent-server's Docker runtime starts it: UID, no capabilities, limits",
         ("--user", f"{NUMERIC_UID}:{NUMERIC_UID}", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
          "--ulimit", "core=0", "--memory", "4g", "--cpus", "2", "--pids-limit", "512"),
         ("--host", "0.0.0.0", "--port", "8000"), agent=NUMERIC_UID, server=AGENT_SERVER),
    Mode("openhands", f"with the command of OpenHands 1.6.0 as root, for the user openhands ({OPENHANDS_UID})",
         ("--user", "root", "--workdir", "/openhands/code",
          "--env", "VSCODE_PORT=8001", "--env", "PYTHONUNBUFFERED=1", "--env", "PIP_BREAK_SYSTEM_PACKAGES=1"),
         _OPENHANDS_COMMAND, agent=OPENHANDS_UID, switched=True, server=ACTION_EXECUTION_SERVER),
    Mode("hostile-environment", "with variables that break programs using them (LD_PRELOAD, PYTHONHOME, LC_ALL, …)",
         tuple(word for name, value in HOSTILE.items() for word in ("--env", f"{name}={value}"))),
)  # fmt: skip


def mode_named(name: str) -> Mode:
    """Returns the mode with this name.

    Raises:
        UsageError: The name is unknown; the hint suggests the closest one.
    """
    for mode in MODES:
        if mode.name == name:
            return mode
    raise UsageError(f"unknown mode {name!r}", nearest(name, [mode.name for mode in MODES]))


class State(StrEnum):
    """The outcome of a point. ``skipped`` means that it could not be checked or does not apply."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class PointResult:
    """The result of one point of the contract.

    Attributes:
        name: ``server``, ``browse``, … or the name of a component.
        state: Outcome.
        reasons: One line for each problem, naming the file or variable; for a skipped point, why it was skipped.
        seconds: Duration in seconds.
    """

    name: str
    state: State
    reasons: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An image to verify on one platform in one mode.

    Attributes:
        label: Name for users, and title of its column.
        reference: Reference for ``docker run``, pinned to the digest unless the image is only in Docker's own store.
        platform: Platform to verify.
        mode: How to start the image.
        digest: Digest of the image in its registry; empty if the image is only in Docker's own store.
        group: Name of a group; empty to group by image and platform. The subjects of a group are verified one after
            another, and pulled images are removed after the last one, so that shared layers are unpacked only once.
        extra: Additional checks, run in the same way as those of a component. They form the point ``special``.
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
        """The label, followed by the mode unless it is the default."""
        return self.label if self.mode.name == MODES[0].name else f"{self.label} ({self.mode.name})"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The result of verifying a subject.

    Attributes:
        subject: What was verified.
        points: Results in the order of the table.
        log: Last lines of the server's log if it did not start.
        seconds: Total duration in seconds, including the pull and the start.
        start_seconds: Seconds until the server responded.
    """

    subject: Subject
    points: tuple[PointResult, ...] = ()
    log: tuple[str, ...] = ()
    seconds: float = 0.0
    start_seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the subject was verified and no point failed."""
        return bool(self.points) and not self.failed

    @property
    def failed(self) -> tuple[PointResult, ...]:
        """The points that failed."""
        return tuple(point for point in self.points if point.state is State.FAILED)
