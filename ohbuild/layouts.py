"""Component images where there is no registry and the builder is not Docker's own: OCI image layouts on this machine.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from ohbuild.targets import ComponentImage

_UNUSED_DAYS = 30


def folder() -> Path:
    """``$XDG_CACHE_HOME/ohbuild/components`` (https://specifications.freedesktop.org/basedir-spec/latest/)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ohbuild" / "components"


def context(item: ComponentImage) -> str:
    """The named context that BuildKit copies a component from; buildx finds the image by its tag."""
    return f"oci-layout://{folder() / item.image.tag}:{item.image.tag}"


def exists(item: ComponentImage) -> bool:
    """Whether there is a layout of this image; what is asked for is kept."""
    path = folder() / item.image.tag
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
