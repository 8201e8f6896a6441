"""Starts the agent-server, or runs a command. Python programs, because a shell does not pass on all variables."""

from __future__ import annotations

import os
import runpy
import sys

import _openhands
from oh_container import startup
from oh_container.environment import base
from oh_container.first import as_first_process, execute

from . import seams
from .variables import server_variables, unusable

PYTHON = "/openhands/agent-server/bin/python3.13"
PROGRAM = "/openhands/bin/oh-agent-server"
SERVER = "openhands.agent_server"


def main() -> None:
    """Runs ``oh-agent-server``: starts the server if there are no arguments or only options, or runs a command."""
    arguments = sys.argv[1:]
    if arguments and not arguments[0].startswith("-"):
        execute(arguments)
    serve(arguments)


def python() -> None:
    """Runs ``/agent-server/.venv/bin/python``, with which OpenHands' clients start the server as a module."""
    arguments = server_arguments(sys.argv[1:])
    if arguments is None:
        os.execv(PYTHON, [PYTHON, *sys.argv[1:]])
    serve(arguments)


def server_arguments(words: list[str]) -> list[str] | None:
    """Returns the server's arguments of a Python command line; ``None`` if it does not start the server."""
    while words and words[0] in ("-u", "-E", "-P", "-I", "-B", "-s"):
        words = words[1:]
    return words[2:] if words[:2] == ["-m", SERVER] else None


def serve(arguments: list[str]) -> None:
    """Prepares the container and runs the server in this process, or below tini if it is the first one."""
    if os.getpid() == 1:
        words = as_first_process([PROGRAM, *arguments], 1)
        os.execv(words[0], words)
    if not {"-h", "--help", "--version"} & set(arguments):
        # Importing its packages takes seconds, in which it logs nothing.
        startup.say("starting OpenHands' agent-server")
    startup.start()
    container = base(os.environ)
    os.environ.update(
        server_variables(
            os.environ,
            container,
            folder=_folder(),
            state=_openhands.state(),
            writable=startup.writable,
        )
    )
    for name in unusable(os.environ, os.path.exists):
        del os.environ[name]
    seams.install()
    sys.argv = [PROGRAM, *arguments]
    runpy.run_module(SERVER, run_name="__main__", alter_sys=True)


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "/"
