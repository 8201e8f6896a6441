"""Shows a ``Shell`` to OpenHands' classes as what they expect: a terminal in which their prompt ends each command.

They detect a command's end by the number of prompts, and read the exit code and the folder from the last one. The text
of a command, which a real terminal would show after the prompt, is not there, so nothing has to be removed.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import time

from .shell import Shell, key

# A program's output may contain OpenHands' own marks, or what looks like a prompt.
_NONCE = secrets.token_hex(8)
BEGIN = f"\n###PS1JSON-{_NONCE}###\n"
END = f"\n###PS1END-{_NONCE}###"
PATTERN = re.compile(f"^{BEGIN.strip()}(.*?){END.strip()}", re.DOTALL | re.MULTILINE)
"""These replace OpenHands' constants of this purpose."""
INTERRUPT_SECONDS = 2.0


class Screen:
    """The content of a terminal with prompts.

    Attributes:
        shell: The shell.
    """

    def __init__(self, shell: Shell, username: str, wait: float = 0.0) -> None:
        """Creates the screen of an idle shell.

        Args:
            shell: The shell.
            username: The name in the prompts.
            wait: How long ``read`` waits for the end of a command, in seconds.
        """
        self.shell, self._username, self._wait = shell, username, wait
        self._cleared = True

    def send_keys(self, text: str, enter: bool = True) -> None:
        """Runs a command, or types text for the one that runs."""
        self._cleared = False
        if self.shell.running:
            self.shell.type(text, enter=enter)
        elif key(text):
            # At a prompt, a key gives a new prompt.
            self.shell.output = ""
        else:
            self.shell.run(text)

    def interrupt(self) -> None:
        """Presses Ctrl-C, if a command runs, and waits until it has ended."""
        end = time.monotonic() + INTERRUPT_SECONDS
        if self.shell.running:
            self.shell.type("C-c", enter=False)
        while self.shell.running and time.monotonic() < end:
            self.shell.poll(end - time.monotonic())

    def read(self) -> str:
        """Returns the content."""
        self.shell.poll(self._wait)
        output = self.shell.output
        prompt = self._prompt()
        if self.shell.running:
            # Never ends with a prompt, not even before the first output.
            return f"{prompt}{output}" if output.strip() else "\n"
        if self._cleared:
            return prompt
        return f"{prompt if self.shell.complete else ''}{output}\n{prompt}"

    def clear(self) -> None:
        """Leaves the last prompt only."""
        self._cleared = not self.shell.running

    def _prompt(self) -> str:
        state = self.shell.state
        content = {
            "pid": state.job,
            "exit_code": state.status,
            "username": self._username,
            "hostname": socket.gethostname().partition(".")[0],
            "working_dir": state.folder,
            "py_interpreter_path": state.python,
        }
        return f"{BEGIN.lstrip()}{json.dumps(content, indent=2)}{END}\n"
