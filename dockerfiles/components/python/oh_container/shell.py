"""A shell for an agent's commands, which outlives what a base's start-up files, and the commands, do to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from . import protocol
from .startup import say
from .terminal import Command, Terminal

# For the base's start-up files; a busy machine needs some of it.
START_SECONDS = 20.0
# For what we run ourselves.
OWN_SECONDS = 10.0
SCREEN_LINES = 20

KEYS = {
    "ENTER": "Enter", "TAB": "Tab", "BS": "BSpace", "ESC": "Escape", "UP": "Up", "DOWN": "Down", "LEFT": "Left",
    "RIGHT": "Right", "HOME": "Home", "END": "End", "PGUP": "PPage", "PGDN": "NPage",
}  # fmt: skip
"""OpenHands' names of keys, and tmux's."""


@dataclass(frozen=True, kw_only=True)
class State:
    """Where a shell stands after a command.

    Attributes:
        status: The exit code.
        folder: The working folder.
        job: The process ID of the last background job, or empty.
        python: The path of ``python`` on PATH, or empty.
    """

    status: int
    folder: str
    job: str = ""
    python: str = ""


class Shell:
    """A bash that is started again when it ends, and without the base's start-up files if those do not end.

    Attributes:
        state: Where it stands after the last command.
        running: Whether a command runs.
        output: The output of the last command, or so far.
        complete: Whether all of the output is there.
        left_out: The start-up file without which the shell runs; empty if it has read them all.
    """

    def __init__(
        self,
        bash: str,
        *,
        command: Command,
        environ: Mapping[str, str],
        folder: str,
        uid: int | None = None,
        niceness: int = 0,
    ) -> None:
        """Starts the shell.

        Args:
            bash: Its path.
            command: Returns the command line that runs the given one as the agent's user.
            environ: The environment of the terminal.
            folder: The working folder.
            uid: The UID of the agent's user, if it is not the process's.
            niceness: What to add to the process's niceness, so that commands do not starve the server.

        Raises:
            OSError: It does not start, not even without the base's start-up files.
        """
        self._bash, self._command, self._environ = bash, command, environ
        self._uid, self._niceness = uid, niceness
        self._first_folder = folder
        # In POSIX mode, bash reads no such files.
        self._start_files = "POSIXLY_CORRECT" not in environ
        self.state = State(status=0, folder=folder)
        self.running = False
        self.output, self.complete = "", True
        self.left_out = self._message = ""
        self._folder = folder
        self._terminal = self._started(folder)

    def run(self, text: str) -> None:
        """Runs a command. ``poll`` tells its end.

        Raises:
            OSError: The shell has ended and cannot be started again.
        """
        if not self._terminal.alive():
            self._revive("The shell's files were removed" if self._terminal.lost() else "The shell had ended")
        self.running, self.output, self.complete = True, "", True
        self._terminal.run(protocol.command_file(text, self.state.status))

    def poll(self, seconds: float = 0.0) -> None:
        """Updates the attributes.

        Args:
            seconds: How long to wait for the end of the command, in seconds.

        Raises:
            OSError: The shell has ended and cannot be started again.
        """
        if not self.running:
            return
        event = self._terminal.ended(seconds)
        alive = event is not None or self._terminal.alive()
        self._folder = (self._terminal.work_folder() if alive else "") or self._folder
        self.output, self.complete = self._terminal.screen(event.title if event else "")
        if event is not None:
            self._end(State(status=event.status, folder=event.folder, job=event.job, python=event.python))
        elif not alive:
            folder = self._terminal.last_folder or self._folder
            self._end(State(status=self._terminal.status(), folder=folder))
            cause = f"The shell ended with exit code {self.state.status}"
            self._revive("The shell's files were removed" if self._terminal.lost() else cause)
            self.output = "\n".join(filter(None, [self.output, self._told()]))

    def type(self, text: str, *, enter: bool) -> None:
        """Types text for the program that runs, or presses a key: one of ``KEYS``, or ``C-c`` and the like."""
        name = key(text)
        if name:
            self._terminal.key(name)
            return
        self._terminal.type(text)
        if enter and not text.endswith("\n"):
            self._terminal.key("Enter")

    def close(self) -> None:
        """Ends the shell."""
        self._terminal.close()

    def _end(self, state: State) -> None:
        self.state, self._folder, self.running = state, state.folder, False
        self.output = "\n".join(filter(None, [self._told(), self.output]))

    def _told(self) -> str:
        """Returns what the agent has to know, once."""
        message, self._message = self._message, ""
        return message

    def _revive(self, cause: str) -> None:
        self._terminal.close()
        self._terminal = self._started(self._folder if os.path.isdir(self._folder) else self._first_folder)
        self._tell(
            f"{cause}. A new one was started in {self._folder}; variables and functions of the old one are gone."
        )

    def _tell(self, message: str) -> None:
        say(message)
        self._message = "\n".join(filter(None, [self._message, f"[{message}]"]))

    def _started(self, folder: str) -> Terminal:
        self._folder = folder
        while True:
            terminal = Terminal(
                self._bash, command=self._command, environ=self._environ, work_folder=folder,
                start_files=self._start_files, uid=self._uid, niceness=self._niceness,
            )  # fmt: skip
            if terminal.ended(START_SECONDS) is not None:
                terminal.run(protocol.put_right(terminal.folder, terminal.device, folder))
                event = terminal.ended(OWN_SECONDS)
                if event is not None and event.status == protocol.RIGHT:
                    return terminal
            failure = self._failure(terminal)
            terminal.close()
            if not self._start_files:
                raise OSError(f"{self._bash} does not start: {failure}")
            self._start_files = False
            self._tell(f"The shell reads no start-up file, because of {failure}")

    def _failure(self, terminal: Terminal) -> str:
        shown = terminal.screen()[0].strip().split("\n")[-SCREEN_LINES:]
        self.left_out = "~/.bashrc" if terminal.reading else next(filter(os.path.exists, protocol.SYSTEM_FILES), "bash")
        if terminal.alive():
            what = f"had not ended after {START_SECONDS:.0f} s"
        else:
            what = f"ended the shell with exit code {terminal.status()}"
        return f"{self.left_out}, which {what}. Its screen: {chr(10).join(shown) or 'empty'}"


def key(text: str) -> str:
    """Returns tmux's name of a key that OpenHands names; empty for other text."""
    name = text.strip().upper().replace("CTRL-", "C-").replace("CTRL+", "C-")
    if len(name) == len("C-x") and name.startswith("C-"):
        return name.lower().replace("c-", "C-")
    return KEYS.get(name, "")
