"""Where the Dockerfiles, the bake template and the wrappers are: in the checkout, or inside the installed wheel."""

from __future__ import annotations

from pathlib import Path


def assets() -> Path:
    """The folder that holds ``dockerfiles/``, ``bake/`` and ``wrappers/``."""
    inside = Path(__file__).parent / "_assets"
    return inside if inside.is_dir() else Path(__file__).parent.parent
