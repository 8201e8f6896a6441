"""Starts the server: ``oh-action-execution-server`` and the ``micromamba`` that OpenHands calls.

Both are Python programs, because a shell would not pass on all variables (``discovery.type=single-node``) and would add
its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import _openhands
from oh_container import accounts, startup
from oh_container.environment import base
from oh_container.first import as_first_process, execute

from . import parts

PYTHON = "/openhands/python/bin/python3.13"
PROGRAMS = "/openhands/python/bin"
SERVER = "openhands.runtime.action_execution_server"
VALUE_OPTIONS = ("-n", "--name", "-p", "--prefix")
FLAGS = ("--no-capture-output", "--live-stream", "--attach")


def micromamba_command(arguments: list[str]) -> list[str]:
    """Returns COMMAND of ``micromamba run -n openhands [poetry run] COMMAND…``; empty if there is none.

    There is only one Python below /openhands, and no environment to activate. If COMMAND is the name of one of its
    programs, that program is run. Python ignores the base's PYTHON* variables (-E).
    """
    words = list(arguments)
    if words[:1] == ["run"]:
        del words[0]
    while words and (words[0] in FLAGS or words[0] in VALUE_OPTIONS):
        del words[: 1 if words[0] in FLAGS else 2]
    if words[:2] == ["poetry", "run"]:
        del words[:2]
    if words and "/" not in words[0]:
        if words[0] in ("python", "python3", "python3.13"):
            return [PYTHON, "-E", *words[1:]]
        if os.access(f"{PROGRAMS}/{words[0]}", os.X_OK):
            words[0] = f"{PROGRAMS}/{words[0]}"
    return words


def workspace(wanted: str, home: str, state: str, writable: Callable[[str], bool], make: Callable[[str], None]) -> str:
    """Returns the working folder: the requested one, or one in the user's home or our state if it is not writable.

    Args:
        wanted: The requested folder.
        home: The user's home.
        state: The folder for our tools' data of the user.
        writable: Checks whether a folder is writable.
        make: Creates a folder if possible.
    """
    own = [f"{home}/workspace"] if writable(home) and home != "/" else []
    for folder in [wanted, *own, f"{state}/workspace"]:
        make(folder)
        if writable(folder):
            return folder
    return wanted


def make_folder(path: str) -> None:
    """Creates a folder and its parents. Errors are ignored."""
    with suppress(OSError):
        Path(path).mkdir(parents=True, exist_ok=True)


def micromamba() -> None:
    """Runs COMMAND; see ``micromamba_command``."""
    words = micromamba_command(sys.argv[1:])
    if not words:
        sys.exit("usage: micromamba run -n openhands [poetry run] COMMAND…")
    execute(words)


def server() -> None:
    """Runs the server, with the given arguments or with those for a plain ``docker run IMAGE``."""
    arguments = sys.argv[1:]
    if not arguments:
        startup.start()
        wanted = os.environ.get("OH_WORKSPACE") or "/workspace"
        home = base(os.environ).get("HOME", "")
        folder = workspace(wanted, home, _openhands.state(), startup.writable, make_folder)
        if folder != wanted:
            startup.say(f"{wanted} is not writable; using {folder}")
        # The VS Code plug-in reads its port and its folder from these.
        os.environ.setdefault("VSCODE_PORT", "8001")
        os.environ.update(WORKSPACE_BASE=folder, WORKSPACE_MOUNT_PATH_IN_SANDBOX=folder)
        account = accounts.lookup(uid=os.geteuid())
        arguments = [
            os.environ.get("OH_SERVER_PORT") or "8000",
            *("--working-dir", folder, "--plugins", *parts.plugins()),
            *([] if parts.browser() else ["--no-enable-browser"]),
            *("--username", account.name if account else startup.NAME, "--user-id", str(os.geteuid())),
        ]
    # -P: modules are imported from our packages, not from the container's working folder.
    words = as_first_process([PYTHON, "-EPu", "-m", SERVER, *arguments], os.getpid())
    os.execv(words[0], words)


def switch_user() -> None:
    """Runs ``oh-as``; see ``switch``."""
    from . import switch

    switch.main(sys.argv[1:])
