"""OpenHands' ``BashSession`` with our shell (``oh_container.shell``) in place of a bash that shows prompts."""

from __future__ import annotations

import functools
import os
from typing import Any

from oh_container.environment import base
from oh_container.prompts import Screen
from oh_container.shell import Shell
from oh_container.shells import bash, is_bash

from . import users

# OpenHands looks for the end of a command every half second.
WAIT_SECONDS = 0.4


def initialize(session: Any, username: str | None) -> None:
    """Starts the shell of a session.

    Args:
        session: OpenHands' ``BashSession``.
        username: The agent's user; None for the server's own.
    """
    environ = dict(os.environ)
    shell = Shell(
        bash(base(environ), is_bash), command=lambda words: users.command(username, *words), environ=environ,
        folder=session.work_dir, uid=users.number(username),
    )  # fmt: skip
    session.pane = Screen(shell, username or users.own_name(), WAIT_SECONDS)
    session.prev_status, session.prev_output, session._closed = None, "", False
    session._cwd = os.path.abspath(session.work_dir)
    session._initialized = True


def install(session: type[Any], username_of: Any) -> None:
    """Replaces the methods of ``BashSession`` that talk to its terminal.

    Args:
        session: The class.
        username_of: Returns the agent's user of a session; None for the server's own.
    """

    @functools.wraps(session.initialize)
    def start(self: Any) -> None:
        initialize(self, username_of(self))

    def close(self: Any) -> None:
        if getattr(self, "_initialized", False) and not self._closed:
            self.pane.shell.close()
        self._closed = True

    session.initialize, session.close = start, close
    session._get_pane_content = lambda self: self.pane.read()
    session._clear_screen = lambda self: self.pane.clear()
