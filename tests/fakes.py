"""Small components that build from scratch in a second on any engine, for tests that do not need the real ones."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from ohbuild.components.component import Component

_DEFINITIONS = {
    "core": 'description = "fake core"\nversion = "1"\nwrappers = ["oh-core"]\n',
    "python": 'description = "fake python"\nversion = "3.13"\nrequires = ["core"]\n',
    "tmux": """\
description = "fake tmux"
version = "3.5a"
requires = ["core"]
env = { OH_TMUX = 'a "$HOME" \\ b' }
""",
}


def fake_components(folder: Path, *, seed: str = "", broken: str = "") -> tuple[Component, ...]:
    """Creates components ``core``, ``python`` and ``tmux``, each in a folder with its name.

    Args:
        folder: Parent folder. Components that already exist in it are not changed.
        seed: Part of the files' contents, so that each seed gives different layers.
        broken: Name of a component whose build is to fail.
    """
    for name, definition in _DEFINITIONS.items():
        own = folder / name
        if own.exists():
            continue
        own.mkdir(parents=True)
        (own / "component.toml").write_text(f'{definition}files = ["data"]\n')
        (own / "data").write_text(f"{name} {seed}\n" * 1000)
        # One stage for all platforms. Its folders have the current time, which content-based caching ignores.
        lines = [f"FROM --platform=$BUILDPLATFORM scratch AS {name}", f"COPY {name} /openhands/{name}"]
        if "wrappers" in definition:
            (own / "wrappers").mkdir()
            (own / "wrappers" / f"oh-{name}").write_text(f"#!/bin/sh\necho {name}\n")
            lines.append(f"COPY wrappers/oh-{name} /openhands/bin/oh-{name}")
        if name == broken:
            lines.append(f"COPY {name}/missing /openhands/{name}/missing")
        (own / "Dockerfile.j2").write_text("\n".join(lines) + "\n")
    return tuple(Component.from_folder(folder / name) for name in _DEFINITIONS)


_FOLDER = Path(tempfile.mkdtemp(prefix="ohbuild-test-"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
FAKES = fake_components(_FOLDER)
"""Fakes for tests that do not change their files."""
