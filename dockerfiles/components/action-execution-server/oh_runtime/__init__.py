"""What a container must have before OpenHands' action execution server can work in it, whatever the base lacks.

Standard library only. ``adapt.py`` makes the server call ``start()`` as its first act, so it happens however the server
is started. The modules:

``environment``  keeps the base's environment apart from what our own processes need
``accounts``     entries of /etc/passwd, /etc/group and /etc/shadow, as text and in place
``startup``      makes what is missing: /tmp, /bin/sh, a home, an entry for the user
``users``        the user that an agent works as, and its files
``switch``       becomes that user and runs a command in the base's environment (``/openhands/libexec/oh-as``)
``parts``        what of the server's plug-ins is in the image
``launch``       the server's own start (``oh-action-execution-server``)
``gateway``, ``kernel``  Jupyter's two processes

What an agent's shell sees is exactly the environment that the container was started with, and beyond it only
``TERM`` (by tmux), ``SHLVL``, ``PWD``, ``OLDPWD`` and ``_`` (by bash), and ``PS1``, ``PS2`` and ``PROMPT_COMMAND`` (by
OpenHands, which tells by the prompt that a command has ended). ``TMUX`` and ``TMUX_PANE`` are absent. Code in the
kernel sees the same environment, and beyond it what ipykernel sets so that programs do not wait for a key: ``TERM``,
``CLICOLOR``, ``CLICOLOR_FORCE``, ``FORCE_COLOR``, ``PAGER``, ``GIT_PAGER``, ``MPLBACKEND``, ``PYDEVD_USE_FRAME_EVAL``.
Under another user (``--username``) both have that user's ``HOME``, ``USER``, ``LOGNAME`` and ``SHELL``.
"""

from __future__ import annotations


def start() -> None:
    """Prepares the container and this process's environment for the server."""
    from . import startup

    startup.start()
