"""Makes layers for the tests: tar archives out of a few words per entry."""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COMPRESS: dict[str, Callable[[bytes], bytes]] = {"plain": bytes, "gzip": gzip.compress, "zstd": zstd.compress}


@dataclass(frozen=True, kw_only=True)
class Item:
    """An entry of an archive.

    Args:
        link, hard: what a symbolic, a hard link leads to.
    """

    name: str
    data: bytes = b""
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    mode: int | None = None
    uid: int = 0
    pax: tuple[tuple[str, str], ...] = ()


def file(name: str, data: bytes | str = b"", mode: int = 0o644, uid: int = 0) -> Item:
    return Item(name=name, data=data.encode() if isinstance(data, str) else data, mode=mode, uid=uid)


def folder(name: str, mode: int = 0o755) -> Item:
    return Item(name=name, kind=tarfile.DIRTYPE, mode=mode)


def link(name: str, target: str) -> Item:
    return Item(name=name, kind=tarfile.SYMTYPE, link=target)


def hard(name: str, target: str) -> Item:
    return Item(name=name, kind=tarfile.LNKTYPE, link=target)


def gone(name: str) -> Item:
    """The whiteout of a path."""
    parent, slash, base = name.rpartition("/")
    return file(f"{parent}{slash}.wh.{base}")


def opaque(name: str) -> Item:
    """The opaque whiteout of a folder."""
    return file(f"{name}/.wh..wh..opq")


def archive(items: Iterable[Item]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as out:
        for item in items:
            info = tarfile.TarInfo(item.name)
            info.type, info.linkname, info.size, info.uid = item.kind, item.link, len(item.data), item.uid
            info.mode = 0o777 if item.mode is None else item.mode
            info.pax_headers = dict(item.pax)
            out.addfile(info, io.BytesIO(item.data))
    return stream.getvalue()


def digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()
