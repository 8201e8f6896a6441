"""OpenHands' classes of a terminal, with our shell (``oh_container.shell``) in place of a bash that shows prompts."""

from __future__ import annotations

import functools
import getpass
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from oh_container.environment import base
from oh_container.prompts import Screen
from oh_container.shell import Shell
from oh_container.shells import bash, is_bash
from oh_container.startup import BUSYBOX

# tmux sets these in its terminals.
SET_BY_TMUX = ("SHELL", "PATH", "TERM_PROGRAM", "TERM_PROGRAM_VERSION", "COLORTERM")


def command(environ: Mapping[str, str], words: Sequence[str]) -> list[str]:
    """Returns the command line that runs bash in a terminal.

    Args:
        environ: The environment that bash gets, up to ``TERM``.
        words: The command line of bash.
    """
    unset = [f"-u{name}" for name in SET_BY_TMUX if name not in environ]
    kept = [f"{name}={environ[name]}" for name in SET_BY_TMUX if name in environ]
    return [BUSYBOX, "env", *unset, *kept, *words]


def niceness(environ: Mapping[str, str]) -> int:
    """Returns what OpenHands adds to the niceness of an agent's commands (its process_priority.py)."""
    return 0 if environ.get("OH_TERMINAL_PROCESS_PRIORITY", "").strip().lower() == "none" else 10


@functools.cache
def _bash() -> str:
    return bash(base(os.environ), is_bash)


class _NoTerminal(Exception):
    """A terminal did not start."""


def terminal(original: type[Any]) -> type[Any]:
    """Returns ``TmuxTerminal`` with our shell."""
    module = sys.modules[original.__module__]

    class TmuxTerminal(original):  # type: ignore[misc]
        """A terminal of the agent."""

        pane: Screen
        _initialized: bool
        _closed: bool

        def initialize(self) -> None:
            if self._initialized:
                return
            environ = vars(module)["build_terminal_env"](self._env)
            shell = Shell(
                _bash(), command=functools.partial(command, environ), environ=environ, folder=self.work_dir,
                niceness=niceness(environ),
            )  # fmt: skip
            self.pane = Screen(shell, _user())
            self._initialized = True

        def send_keys(self, text: str, enter: bool = True) -> None:
            self.pane.send_keys(text, enter)

        def read_screen(self) -> str:
            return self.pane.read()

        def clear_screen(self) -> None:
            self.pane.clear()

        def interrupt(self) -> bool:
            self.pane.interrupt()
            return True

        def is_running(self) -> bool:
            return self._initialized and self.pane.shell.running

        def close(self) -> None:
            if self._initialized and not self._closed:
                self.pane.shell.close()
            self._closed = True

    return TmuxTerminal


def pooled(original: type[Any]) -> type[Any]:
    """Returns ``PooledTmuxTerminal``, which is a terminal like any other: none shares its tmux."""
    parent: Any = original.__mro__[1]
    return type(original.__name__, (original,), {"close": parent.close})


def pool(original: type[Any]) -> type[Any]:
    """Returns ``TmuxPanePool`` with our terminals, without a tmux of its own."""
    module = sys.modules[original.__module__]

    class TmuxPanePool(original):  # type: ignore[misc]
        """The terminals of an agent."""

        _all_panes: list[Any]
        _semaphore: threading.Semaphore

        def initialize(self) -> None:
            self._initialized = True

        def close(self) -> None:
            for found in list(self._all_panes):
                found.close()
            super().close()

        def checkout(self, timeout: float | None = None) -> Any:
            try:
                return super().checkout(timeout)
            except _NoTerminal as error:
                # OpenHands keeps the place of a terminal that did not start, so that the next ones wait for ever.
                self._semaphore.release()
                raise RuntimeError(f"the agent's shell does not start: {error}") from error

        def _create_pane(self) -> Any:
            new = vars(module)["PooledTmuxTerminal"](self.work_dir, self.username, env=self.env)
            try:
                new.initialize()
            except Exception as error:
                raise _NoTerminal(str(error) or type(error).__name__) from error
            return new

        def replace(self, old_terminal: Any) -> Any:
            with self._lock:
                new = self._create_pane()
                self._all_panes = [found for found in self._all_panes if found is not old_terminal] + [new]
            old_terminal.close()
            return new

    return TmuxPanePool


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.geteuid())
