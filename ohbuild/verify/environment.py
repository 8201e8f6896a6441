"""Compares the environment of the agent's shell with that of the container's config."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

# Variables set by tmux and bash, by our shell, which has no prompt, by Docker if the image does not set them, and by a
# change of the user. Documented in docs/verify.md.
TERMINAL = frozenset(("TERM", "COLUMNS", "LINES", "PWD", "OLDPWD", "SHLVL", "_"))
PROMPT = frozenset(("PS1",))
DOCKER = frozenset(("HOSTNAME", "HOME"))
SWITCHED = frozenset(("HOME", "SHELL", "USER", "LOGNAME"))


def differences(
    wanted: Mapping[str, str], seen: Mapping[str, str], *, switched: bool, allowed: Container[str] = ()
) -> Iterator[str]:
    """Compares the environment of the agent's shell with that of the container's config.

    Args:
        wanted: The container's variables.
        seen: The shell's variables.
        switched: Whether the server started the shell as another user.
        allowed: Variables that the server may add or leave out.

    Yields:
        One line for each variable that is missing, changed or added.
    """
    theirs = TERMINAL | PROMPT | (SWITCHED if switched else frozenset())
    for name, value in sorted(wanted.items()):
        if name in theirs or name in allowed:
            continue
        if name not in seen:
            yield f"{name} is missing (it was {value!r})"
        elif seen[name] != value:
            yield f"{name} is {seen[name]!r}, not {value!r}"
    for name in sorted(seen.keys() - wanted.keys() - theirs - DOCKER):
        if name in allowed:
            continue
        yield f"{name}={seen[name]!r} was added"


def variables(block: str) -> dict[str, str]:
    """Parses the output of ``env -0``."""
    return dict(item.partition("=")[::2] for item in block.split("\0") if item)
