"""Component images where there is no registry and the builder is not Docker's own: OCI image layouts on this machine.

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
    """Where the layouts are, a folder each."""
    return cache_folder("components")


def place(item: ComponentImage) -> Path:
    """The folder of its layout."""
    return folder() / item.image.tag


def context(item: ComponentImage) -> str:
    """The named context that BuildKit copies a component from; buildx finds the image by its tag."""
    return f"oci-layout://{place(item)}:{item.image.tag}"


def exists(item: ComponentImage) -> bool:
    """Whether there is a layout of this image; what is asked for is kept."""
    path = place(item)
    if not (path / "index.json").is_file():
        return False
    os.utime(path)
    return True


def prune() -> None:
    """Remove the layouts that nobody has asked for in a month."""
    oldest = time.time() - _UNUSED_DAYS * 86_400
    for path in folder().iterdir() if folder().is_dir() else ():
        if path.stat().st_mtime < oldest:
            shutil.rmtree(path, ignore_errors=True)
