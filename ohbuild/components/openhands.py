"""Identifies the source that OpenHands would copy into an image by a hash: its release, or modified source."""

from __future__ import annotations

import hashlib
from pathlib import Path

VERSION = "1.6.0"
"""The release of ``openhands-ai`` in the component ``action-execution-server``."""

SOURCE_HASH = "1ddd6919f962ddc5e8e069a91e6efd59d8b25bdae8ecc5a4f6ab44cc02ba989c"
"""``source_hash`` of that release's wheel on PyPI."""

# Other distributions that also install below ``openhands/``. openhands-ai pins their versions, and so do our locks.
_OTHERS = ("agent_server", "sdk", "tools", "workspace")
# What OpenHands' `prep_build_folder` omits, and what running the source creates.
_LEFT_OUT = (".md", ".pyc")


def source_hash(folder: Path) -> str:
    """Returns the SHA-256 (hex) of the paths and contents of the package's own source.

    Args:
        folder: ``code/openhands`` in a build folder prepared by OpenHands, or the installed package ``openhands``. Both
            have the same hash, because it ignores the files that OpenHands does not copy (``*.pyc``, ``*.md``).

    Raises:
        OSError: The folder or a file in it cannot be read.
    """
    whole = hashlib.sha256()
    for name, path in sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*")):
        if name.partition("/")[0] in _OTHERS or path.suffix in _LEFT_OUT or not path.is_file():
            continue
        whole.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()
