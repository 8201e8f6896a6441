"""Prepares a container for OpenHands' action execution server, even if the base lacks what the server needs.

Uses only the standard library. ``adapt.py`` makes the server call ``start()`` first, so the container is prepared no
matter how the server is started. The modules:

``environment``  separates the base's environment from the variables that our own processes need
``accounts``     reads and writes entries of /etc/passwd, /etc/group and /etc/shadow
``startup``      creates what is missing: /tmp, /bin/sh, a home, an entry for the user
``users``        the user that an agent works as, and its files
``switch``       switches to that user and runs a command in the base's environment (``/openhands/libexec/oh-as``)
``parts``        detects which agent plug-ins are in the image
``launch``       starts the server (``oh-action-execution-server``)
``gateway``, ``kernel``  Jupyter's two processes
``terminal``     detects when an agent's shell is ready

An agent's shell sees exactly the environment that the container was started with, plus ``TERM`` (set by tmux),
``SHLVL``, ``PWD``, ``OLDPWD`` and ``_`` (by bash), and ``PS1``, ``PS2`` and ``PROMPT_COMMAND`` (by OpenHands, which
detects the end of a command by the prompt). ``TMUX`` and ``TMUX_PANE`` are not set. Code in the kernel sees the same
environment, plus the variables that ipykernel sets so that programs do not wait for a key: ``TERM``, ``CLICOLOR``,
``CLICOLOR_FORCE``, ``FORCE_COLOR``, ``PAGER``, ``GIT_PAGER``, ``MPLBACKEND``, ``PYDEVD_USE_FRAME_EVAL``. If the agent
works as another user (``--username``), both have that user's ``HOME``, ``USER``, ``LOGNAME`` and ``SHELL``.
"""

from __future__ import annotations


def start() -> None:
    """Prepares the container and this process's environment for the server."""
    from . import startup

    startup.start()
