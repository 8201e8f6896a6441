"""The variables of an agent's shell against those of the container's configuration."""

from __future__ import annotations

from collections.abc import Iterator

# What tmux and bash, OpenHands' prompt, and Docker where the image does not, set: documented in docs/verify.md.
TERMINAL = frozenset(("TERM", "PWD", "OLDPWD", "SHLVL", "_"))
PROMPT = frozenset(("PS1", "PS2", "PROMPT_COMMAND"))
DOCKER = frozenset(("HOSTNAME", "HOME"))
SWITCHED = frozenset(("HOME", "SHELL", "USER", "LOGNAME"))


def differences(wanted: dict[str, str], seen: dict[str, str], *, switched: bool) -> Iterator[str]:
    """How the environment of the agent's shell differs from that of the container's configuration.

    Args:
        switched: the server changed to another user for the shell.
    """
    theirs = TERMINAL | PROMPT | (SWITCHED if switched else frozenset())
    for name, value in sorted(wanted.items()):
        if name in theirs:
            continue
        if name not in seen:
            yield f"{name} is gone (it was {value!r})"
        elif seen[name] != value:
            yield f"{name} is {seen[name]!r}, not {value!r}"
    for name in sorted(seen.keys() - wanted.keys() - theirs - DOCKER):
        yield f"{name}={seen[name]!r} is added"


def variables(block: str) -> dict[str, str]:
    """Variables as ``env -0`` prints them."""
    return dict(item.partition("=")[::2] for item in block.split("\0") if item)
