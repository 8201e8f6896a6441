"""Caches the parsed contents of layers on disk by digest, so that no layer is fetched and parsed twice.

A file name contains the digest of the layer and a hash of the code that parses it, so entries never go stale. The
format is JSON: a manipulated file can be wrong, but it cannot execute code.
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

# Maximum number of cached layers. A runtime image has about ten per platform.
_KEPT = 200


@functools.cache
def _version() -> str:
    """Returns a hash of the code that parses layers."""
    sources = (Path(str(module.__file__)).read_bytes() for module in (layers, entries, elf))
    return hashlib.sha256(b"\0".join(sources)).hexdigest()[:12]


def _path(digest: str) -> Path:
    return cache_folder("layers") / f"{digest.replace(':', '-')}-{_version()}"


def load(digest: str) -> Layer | None:
    """Returns a cached layer; None if it is not cached or its file cannot be read."""
    path = _path(digest)
    try:
        layer = decode(zlib.decompress(path.read_bytes()))
        os.utime(path)  # ``save`` drops the least recently used layers
    except (OSError, ValueError, zlib.error):
        return None
    return layer


def save(digest: str, layer: Layer) -> None:
    """Caches a layer, and drops the least recently used ones. Does nothing if the folder is not writable."""
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
    """Encodes a layer as JSON, without fields that have their default value."""
    # With the standard library, because a file name may be invalid UTF-8, which pydantic's serializer rejects.
    return json.dumps(_adapter().dump_python(layer, mode="json", exclude_defaults=True), separators=(",", ":")).encode()


def decode(data: bytes) -> Layer:
    """Decodes a layer encoded by ``encode``.

    Raises:
        ValueError: The data is not an encoded layer.
    """
    return _adapter().validate_python(json.loads(data))
