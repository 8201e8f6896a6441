"""Component images as OCI image layouts on this machine.

Used when there is no registry and the builder is not Docker's own.
https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from ohbuild.bake.model import ComponentImage
from ohbuild.caches import cache_folder

_UNUSED_DAYS = 30


def folder() -> Path:
    """Returns the folder of all layouts; each has a folder in it."""
    return cache_folder("components")


def place(item: ComponentImage) -> Path:
    """Returns the folder of an image's layout."""
    return folder() / item.image.tag


def context(item: ComponentImage) -> str:
    """Returns the named context that BuildKit copies a component from; buildx finds the image by its tag."""
    return f"oci-layout://{place(item)}:{item.image.tag}"


def exists(item: ComponentImage) -> bool:
    """Checks whether the layout of an image exists, and marks it as used so that ``prune`` keeps it."""
    path = place(item)
    if not (path / "index.json").is_file():
        return False
    os.utime(path)
    return True


def prune() -> None:
    """Removes the layouts that have not been used for 30 days."""
    oldest = time.time() - _UNUSED_DAYS * 86_400
    for path in folder().iterdir() if folder().is_dir() else ():
        if path.stat().st_mtime < oldest:
            shutil.rmtree(path, ignore_errors=True)
