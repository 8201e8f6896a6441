"""What was read of layers, kept on disk by their digests, so that no layer is fetched and read a second time.

A digest stands for the bytes, and the file's name also for the code that read them, so nothing here can be out of
date. It is JSON: a file that somebody has meddled with can be wrong, but not run anything.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import tempfile
import zlib
from pathlib import Path
from typing import Any

from ohbuild import layers
from ohbuild.layers import Layer
from ohbuild.relocate import elf, entries
from ohbuild.relocate.elf import Elf
from ohbuild.relocate.entries import NOTHING, Content, Entry

# A runtime image has about ten layers for each platform.
_KEPT = 200


def folder() -> Path:
    """``$XDG_CACHE_HOME/ohbuild/layers`` (https://specifications.freedesktop.org/basedir-spec/latest/)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ohbuild" / "layers"


@functools.cache
def _version() -> str:
    """Changes with the code that reads layers."""
    sources = (Path(str(module.__file__)).read_bytes() for module in (layers, entries, elf))
    return hashlib.sha256(b"\0".join(sources)).hexdigest()[:12]


def _path(digest: str) -> Path:
    return folder() / f"{digest.replace(':', '-')}-{_version()}"


def load(digest: str) -> Layer | None:
    """A layer that was kept; None if it was not, or cannot be read any more."""
    path = _path(digest)
    try:
        layer = decode(zlib.decompress(path.read_bytes()))
        os.utime(path)  # the time of its last use
    except (OSError, ValueError, KeyError, TypeError, zlib.error):
        return None
    return layer


def save(digest: str, layer: Layer) -> None:
    """Keeps a layer, and of all only those last used; does nothing where the folder cannot be written."""
    with contextlib.suppress(OSError):
        where = folder()
        where.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=where, prefix=".new-")
        with open(handle, "wb") as stream:  # noqa: PTH123 — it is a file descriptor
            stream.write(zlib.compress(encode(layer), 1))
        Path(name).rename(_path(digest))
        kept = sorted(where.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in kept[_KEPT:]:
            path.unlink(missing_ok=True)


def encode(layer: Layer) -> bytes:
    """A layer as JSON; fields that have their usual value are left out."""
    data = {
        "entries": [[name, _plain(entry)] for name, entry in layer.entries],
        "hidden": sorted(layer.hidden),
        "opaque": sorted(layer.opaque),
    }
    return json.dumps(data, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        pairs = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {field.name: _plain(item) for field, item in pairs if item != field.default}
    return str(value) if isinstance(value, Path) else value


def decode(data: bytes) -> Layer:
    """The reverse of ``encode``.

    Raises
    ------
    ValueError, KeyError, TypeError: it is none.
    """
    body = json.loads(data)
    return Layer(
        entries=tuple((str(name), _entry(fields)) for name, fields in body["entries"]),
        hidden=frozenset(body["hidden"]),
        opaque=frozenset(body["opaque"]),
    )


def _entry(fields: dict[str, Any]) -> Entry:
    owner, content = fields.pop("owner", None), fields.pop("content", None)
    return Entry(
        **fields,
        owner=(owner[0], owner[1]) if owner is not None else None,
        content=_content(content) if content is not None else None,
    )


def _content(fields: dict[str, Any]) -> Content:
    if not fields:
        return NOTHING
    found, paths = fields.pop("elf", None), fields.pop("paths", ())
    return Content(**fields, elf=_elf(found) if found is not None else None, paths=tuple(paths))


def _elf(fields: dict[str, Any]) -> Elf:
    lists: dict[str, Any] = {name: tuple(fields[name]) for name in ("needed", "rpath", "runpath")}
    return Elf(**{**fields, **lists, "path": Path(fields["path"])})
