"""What was read of layers, kept on disk by their digests, so that no layer is fetched and read a second time.

A digest stands for the bytes, and the file's name also for the code that read them, so nothing here can be out of
date. It is JSON: a file that somebody has meddled with can be wrong, but not run anything.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import tempfile
import zlib
from pathlib import Path

from pydantic import TypeAdapter

from ohbuild.audit import layers
from ohbuild.audit.layers import Layer
from ohbuild.caches import cache_folder
from ohbuild.relocate import elf, entries

# A runtime image has about ten layers for each platform.
_KEPT = 200


@functools.cache
def _version() -> str:
    """Changes with the code that reads layers."""
    sources = (Path(str(module.__file__)).read_bytes() for module in (layers, entries, elf))
    return hashlib.sha256(b"\0".join(sources)).hexdigest()[:12]


def _path(digest: str) -> Path:
    return cache_folder("layers") / f"{digest.replace(':', '-')}-{_version()}"


def load(digest: str) -> Layer | None:
    """A layer that was kept; None if it was not, or cannot be read any more."""
    path = _path(digest)
    try:
        layer = decode(zlib.decompress(path.read_bytes()))
        os.utime(path)  # the time of its last use
    except (OSError, ValueError, zlib.error):
        return None
    return layer


def save(digest: str, layer: Layer) -> None:
    """Keeps a layer, and of all only those last used; does nothing where the folder cannot be written."""
    with contextlib.suppress(OSError):
        where = cache_folder("layers")
        where.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=where, prefix=".new-", delete=False) as new:
            new.write(zlib.compress(encode(layer), 1))
        Path(new.name).rename(_path(digest))
        kept = sorted(where.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in kept[_KEPT:]:
            path.unlink(missing_ok=True)


@functools.cache
def _adapter() -> TypeAdapter[Layer]:
    return TypeAdapter(Layer)


def encode(layer: Layer) -> bytes:
    """A layer as JSON; fields that have their usual value are left out."""
    # By the standard library's json, as a name may be no UTF-8, which pydantic's own refuses.
    return json.dumps(_adapter().dump_python(layer, mode="json", exclude_defaults=True), separators=(",", ":")).encode()


def decode(data: bytes) -> Layer:
    """The reverse of ``encode``.

    Raises:
        ValueError: it is none.
    """
    return _adapter().validate_python(json.loads(data))
