"""Locates the Dockerfiles, the bake template and the wrappers, in a checkout or an installed wheel."""

from __future__ import annotations

from pathlib import Path


def assets() -> Path:
    """Returns the folder that contains ``dockerfiles/``, ``bake/`` and ``wrappers/``."""
    inside = Path(__file__).parent / "_assets"
    return inside if inside.is_dir() else Path(__file__).parent.parent
