"""Two environments: the base's, which agents see, and ours.

Our processes need a writable home, a PATH and more, even if the base's variables are unusable, and some of their
libraries set variables too. So our first process stores a copy of the environment that the container was started with
in variables, and all programs that run for an agent get exactly that environment.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, MutableMapping

RECORD = "OH_BASE_ENVIRONMENT_"
# Linux limits a variable to 128 KiB (MAX_ARG_STRLEN, execve(2)).
CHUNK_CHARACTERS = 100_000
# These variables mark a shell inside tmux. The base's own tmux, of another version, would refuse to start.
INSIDE_TMUX = ("TMUX", "TMUX_PANE")
# tmux sets the type of the terminal that an agent's shell runs in.
TERMINAL = ("TERM",)


def remember(environ: MutableMapping[str, str]) -> None:
    """Stores a copy of the environment in its own variables, unless there is one already."""
    if f"{RECORD}0" in environ:
        return
    # In ASCII, so that bytes that are not valid UTF-8 survive (as lone surrogates).
    text = json.dumps({name: value for name, value in environ.items() if name not in INSIDE_TMUX})
    for number, start in enumerate(range(0, len(text), CHUNK_CHARACTERS)):
        environ[f"{RECORD}{number}"] = text[start : start + CHUNK_CHARACTERS]


def base(environ: Mapping[str, str], keep: Iterable[str] = ()) -> dict[str, str]:
    """Returns the environment stored by ``remember``; the given one if there is none.

    Args:
        environ: The current environment.
        keep: Variables that keep their current values, if they are set.
    """
    chunks: list[str] = []
    while (chunk := environ.get(f"{RECORD}{len(chunks)}")) is not None:
        chunks.append(chunk)
    if not chunks:
        return dict(environ)
    remembered: dict[str, str] = json.loads("".join(chunks))
    return {**remembered, **{name: environ[name] for name in keep if name in environ}}
