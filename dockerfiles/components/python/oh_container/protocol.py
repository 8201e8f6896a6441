"""What the server and an agent's bash say to each other, so that a command's end is known without a prompt.

Bash is interactive, with job control, but reads its lines from a FIFO, not from the terminal, which only the agent's
programs read. Each line runs one command, between two calls of ``oh-prompt``, which reports to the server and waits for
its answer. So nothing depends on variables, which the base may make read-only, and nothing has to be told from a
program's output. If a command is aborted, by Ctrl-C or an error, bash drops the rest of the line. Then the call at the
start of the next line reports its end.
"""

from __future__ import annotations

import shlex
from typing import NamedTuple

PROMPT = "/openhands/libexec/oh-prompt"
BUSYBOX = "/openhands/libexec/busybox"
# In the session's folder.
LINES, EVENTS, ANSWERS, COMMAND, START = "lines", "events", "answers", "command", "bashrc"
GO, CLEAR = "go", "clear"
BEFORE, AFTER, READING, LEAVING = "before", "after", "reading", "leaving"
NO_FUNCTIONS = "\\unset -f builtin unset exec eval set trap shopt declare unalias cd . 2>/dev/null\n"
"""A line for bash. The base's functions would replace what we use."""
RIGHT = 42
"""The exit code of the command that puts things right."""
SYSTEM_FILES = ("/etc/bash.bashrc", "/etc/bash/bashrc")
"""The start-up file for all users, by distribution. Its path is compiled into bash."""


class Event(NamedTuple):
    """What ``oh-prompt`` reports.

    Attributes:
        moment: ``before`` or ``after`` a command, ``reading`` the user's start-up file, or ``leaving`` the shell.
        status: The last exit code.
        job: The process ID of the last background job, or empty.
        folder: The working folder.
        python: The path of ``python`` on PATH, or empty.
        title: The title of the terminal once it has shown all output.
    """

    moment: str
    status: int
    job: str
    folder: str
    python: str
    title: str


def start_file(folder: str, *, user_file: bool) -> str:
    """Returns the start-up file for bash (``--rcfile``), which reads the user's own.

    Args:
        folder: The session's folder.
        user_file: Whether to read the user's file.
    """
    lines = [
        NO_FUNCTIONS.rstrip(),
        # First, so that an error in the user's file, which ends this file too, leads to the session's lines.
        rf"\exec 0<{_quoted(folder, LINES)}",
    ]
    if user_file:
        lines += [
            f"{{ {PROMPT} {shlex.quote(folder)} {READING}; }} 2>/dev/null",
            r"if \builtin test -r ~/.bashrc; then \builtin . ~/.bashrc <&2 || \builtin :; fi",
        ]
    return "\n".join(lines) + "\n"


def put_right(folder: str, terminal: str, work_folder: str) -> str:
    """Returns the command that follows the base's start-up files.

    Some options end the shell or print more than a command's output. Traps run with each command. The terminal may be
    in any mode, and the output may go elsewhere. The prompt is not needed, and would be seen after Ctrl-C.

    Args:
        folder: The session's folder.
        terminal: The path of the terminal.
        work_folder: The working folder.
    """
    leaving = shlex.quote(f'{PROMPT} {shlex.quote(folder)} {LEAVING} "$?" 2>/dev/null')
    return rf"""{{
\builtin set +e +u +v +x +k +H +o pipefail +o history
\builtin trap - DEBUG RETURN ERR EXIT HUP INT QUIT TERM TSTP PIPE ALRM USR1 USR2 CHLD WINCH
\builtin shopt -u extdebug
\builtin shopt -s interactive_comments
\builtin unset TMUX TMUX_PANE
\builtin declare PS1=
\builtin cd -- {shlex.quote(work_folder)}
\builtin trap {leaving} EXIT
}} 2>/dev/null
\exec >{shlex.quote(terminal)} 2>&1
{BUSYBOX} stty sane
{BUSYBOX} sh -c 'exit {RIGHT}'
"""


def line(folder: str, terminal: str) -> str:
    """Returns the line for bash that runs one command.

    Args:
        folder: The session's folder.
        terminal: The path of the terminal, for the command's standard input.
    """
    before, after = (
        f'{{ {PROMPT} {shlex.quote(folder)} {moment} "$?" "${{!-}}"; }} 2>/dev/null' for moment in (BEFORE, AFTER)
    )
    run = rf'\builtin eval "$(<{_quoted(folder, COMMAND)})" <>{shlex.quote(terminal)}'
    return f"{before}; {run}; {after}\n"


def command_file(command: str, status: int) -> str:
    """Returns the content of the file with a command, in which ``$?`` is the exit code of the one before."""
    return f"(exit {status}); {command}" if status else command


def events(data: bytes) -> tuple[list[Event], bytes]:
    """Splits what was read from the FIFO into events. Also returns the rest, the start of another event."""
    fields = data.split(b"\0")
    size = len(Event._fields)
    count = (len(fields) - 1) // size
    found = []
    for number in range(count):
        moment, status, job, folder, python, title = map(_text, fields[number * size : (number + 1) * size])
        code = int(status) if status.isdecimal() else 0
        found.append(Event(moment=moment, status=code, job=job, folder=folder, python=python, title=title))
    return found, b"\0".join(fields[count * size :])


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _quoted(folder: str, name: str) -> str:
    return shlex.quote(f"{folder}/{name}")
