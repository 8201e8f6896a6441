"""Two environments: the base's, which agents see, and ours.

Our processes need a home that can be written, a PATH, and so on, where the base's variables do not serve, and some of
their libraries set variables too. So the first of them keeps a copy of the environment that the container was started
with, among the variables themselves, and whatever runs on an agent's behalf is given exactly that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, MutableMapping

RECORD = "OH_BASE_ENVIRONMENT_"
# Linux takes no variable of more than 128 KiB (MAX_ARG_STRLEN, execve(2)).
CHUNK_CHARACTERS = 100_000
# These say that one is inside a tmux, which a base's own tmux of another version would then not start in.
INSIDE_TMUX = ("TMUX", "TMUX_PANE")
# tmux says what the terminal is that an agent's shell runs in.
TERMINAL = ("TERM",)


def remember(environ: MutableMapping[str, str]) -> None:
    """Keeps a copy of the environment in it, unless there is one already."""
    if f"{RECORD}0" in environ:
        return
    # In ASCII, so that bytes which are no UTF-8 survive (as lone surrogates).
    text = json.dumps({name: value for name, value in environ.items() if name not in INSIDE_TMUX})
    for number, start in enumerate(range(0, len(text), CHUNK_CHARACTERS)):
        environ[f"{RECORD}{number}"] = text[start : start + CHUNK_CHARACTERS]


def base(environ: Mapping[str, str], keep: Iterable[str] = ()) -> dict[str, str]:
    """The environment as it was remembered; this one where nothing was.

    Args:
        keep: variables that are to have the value that they have now, if any.
    """
    chunks: list[str] = []
    while (chunk := environ.get(f"{RECORD}{len(chunks)}")) is not None:
        chunks.append(chunk)
    if not chunks:
        return dict(environ)
    remembered: dict[str, str] = json.loads("".join(chunks))
    return {**remembered, **{name: environ[name] for name in keep if name in environ}}
