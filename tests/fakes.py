"""Small components that build from nothing, on any engine, in a second, to test everything around the real ones."""

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
    """Components ``core``, ``python`` and ``tmux``, each in a folder of its name below ``folder``.

    Args:
        folder: Where they are; those that are there already stay as they are.
        seed: Goes into the files: another seed gives other layers.
        broken: Name of a component whose build fails.
    """
    for name, definition in _DEFINITIONS.items():
        own = folder / name
        if own.exists():
            continue
        own.mkdir(parents=True)
        (own / "component.toml").write_text(f'{definition}files = ["data"]\n')
        (own / "data").write_text(f"{name} {seed}\n" * 1000)
        # One stage for all platforms: its folders have the time of day, which content-based caching ignores.
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
"""Fakes for tests that change nothing in their files."""
