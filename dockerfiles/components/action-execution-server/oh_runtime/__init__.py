"""Prepares a container for OpenHands' action execution server, even if the base lacks what the server needs.

Uses only the standard library and ``oh_container``. ``adapt.py`` makes the server call ``start()`` first, so the
container is prepared no matter how the server is started. The modules:

``users``        the user that an agent works as, and its files
``switch``       switches to that user and runs a command in the base's environment (``/openhands/libexec/oh-as``)
``parts``        the agent plug-ins and the browser: which are in the image, and which do not work
``launch``       starts the server (``oh-action-execution-server``)
``gateway``, ``kernel``  Jupyter's two processes
``terminal``     gives OpenHands' sessions our shell

An agent's shell sees exactly the environment that the container was started with, plus ``TERM`` (set by tmux), and
``SHLVL``, ``PWD``, ``OLDPWD`` and ``_`` (by bash). Code in the kernel sees the same environment, plus the variables
that ipykernel sets so that programs do not wait for a key: ``TERM``, ``CLICOLOR``, ``CLICOLOR_FORCE``, ``FORCE_COLOR``,
``PAGER``, ``GIT_PAGER``, ``MPLBACKEND``, ``PYDEVD_USE_FRAME_EVAL``. If the agent
works as another user (``--username``), both have that user's ``HOME``, ``USER``, ``LOGNAME`` and ``SHELL``.
"""

from __future__ import annotations

import functools


@functools.cache
def start() -> None:
    """Prepares the container and this process's environment for the server. A second call does nothing."""
    from oh_container import startup

    # Importing its packages takes seconds, in which it logs nothing.
    startup.say("starting OpenHands' action execution server")
    startup.start()
