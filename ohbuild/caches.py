"""The folders for files that ohbuild can recreate."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Returns ``$XDG_CACHE_HOME/ohbuild/<name>`` (https://specifications.freedesktop.org/basedir-spec/latest/)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ohbuild" / name
