"""Reads what is below ``/openhands`` from the layers of an image, without unpacking them.

A layer is a tar archive of changes (https://github.com/opencontainers/image-spec/blob/main/layer.md). Each is read
once, as a stream, into a list of small entries. Merged in order, these give the tree that a container would see. Where
the specification is silent (an entry whose parent is a symlink in a lower layer), containerd's ``archive`` package is
the reference.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import posixpath
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from ohbuild.errors import RegistryError
from ohbuild.relocate.entries import HEAD, TEXT_LIMIT, Content, Entry, content, needs_all
from ohbuild.relocate.links import resolve
from ohbuild.relocate.pin import PREFIX

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdError, ZstdFile
else:
    from backports.zstd import ZstdError, ZstdFile

_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_CAPABILITY = "SCHILY.xattr.security.capability"
# ELF files need random access: those of up to this many bytes are held in memory, larger ones on disk.
_IN_MEMORY = 16 << 20
_CHUNK = 1 << 18
_FOLDER = Entry(kind="folder")
# RFC 1952 (gzip); RFC 8878 (zstd), whose streams may begin with a skippable frame.
_GZIP, _ZSTD, _SKIPPABLE = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x2a\x4d\x18"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What a layer changes below the prefix. Paths are relative to the prefix, which itself is the empty path.

    Attributes:
        entries: Files, folders and links in the order of the archive.
        hidden: Paths that are hidden if they exist in lower layers.
        opaque: Folders whose contents in lower layers are hidden.
    """

    entries: tuple[tuple[str, Entry], ...] = ()
    hidden: frozenset[str] = frozenset()
    opaque: frozenset[str] = frozenset()

    @property
    def hides_all(self) -> bool:
        """Whether everything in lower layers is hidden."""
        return "" in self.hidden or "" in self.opaque


class Blob(io.RawIOBase):
    """A stream of chunks that can be checked against a digest at the end.

    Args:
        chunks: Contents of the blob.
        digest: Expected digest, ``sha256:…`` or ``sha512:…`` as in a manifest.

    Raises:
        RegistryError: The digest algorithm is not supported.
    """

    def __init__(self, chunks: Iterable[bytes], digest: str) -> None:
        algorithm, _, self._wanted = digest.partition(":")
        if algorithm not in ("sha256", "sha512"):
            raise RegistryError(f"blob {digest}: unsupported digest algorithm")
        self._chunks = iter(chunks)
        self._digest = digest
        self._hash = hashlib.new(algorithm)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Returns true."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fills a buffer and returns the number of bytes; fewer than its size only at the end."""
        into = memoryview(buffer)
        size = 0
        while size < len(into):
            if not self._rest:
                chunk = next(self._chunks, None)
                if chunk is None:
                    break
                self._hash.update(chunk)
                self._rest = memoryview(chunk)
            part = self._rest[: len(into) - size]
            into[size : size + len(part)] = part
            self._rest = self._rest[len(part) :]
            size += len(part)
        return size

    def check(self) -> None:
        """Reads the remaining chunks and checks the digest.

        Raises:
            RegistryError: The digest does not match.
        """
        for chunk in self._chunks:
            self._hash.update(chunk)
        if self._hash.hexdigest() != self._wanted:
            raise RegistryError(
                f"blob {self._digest} is damaged: its content does not match the digest", "push the image again"
            )


def _read(blob: Blob) -> Layer:
    """Reads a layer: a tar archive, plain or compressed with gzip or zstd, as detected from its first bytes.

    Raises:
        RegistryError: The format is not supported, or the archive is truncated.
    """
    whole = io.BufferedReader(blob, _CHUNK)
    head = whole.peek(4)[:4]
    try:
        source: BinaryIO = whole
        if head[:2] == _GZIP:
            source = cast(BinaryIO, gzip.GzipFile(fileobj=whole))
        elif head == _ZSTD or head[1:] == _SKIPPABLE:
            source = cast(BinaryIO, ZstdFile(whole))
        with tarfile.open(fileobj=source, mode="r|", bufsize=_CHUNK) as archive:
            return _read_archive(archive)
    except (tarfile.TarError, EOFError, zlib.error, ZstdError, gzip.BadGzipFile) as error:
        raise RegistryError(f"the layer cannot be read: {error}") from error


def _read_archive(archive: tarfile.TarFile) -> Layer:
    entries: list[tuple[str, Entry]] = []
    hidden: set[str] = set()
    opaque: set[str] = set()
    for member in archive:
        # tarfile would otherwise keep thousands of headers, which are useless for a stream.
        archive.members = []  # type: ignore[attr-defined]
        path = _absolute(member.name)
        folder, _, base = path.rpartition("/")
        if base == _OPAQUE:
            if (name := _below(folder or PREFIX)) is not None:
                opaque.add(name)
        elif base.startswith(_WHITEOUT):
            if (name := _below(f"{folder}/{base[len(_WHITEOUT) :]}")) is not None:
                hidden.add(name)
        elif (name := _below(path)) is not None:
            entries.append((name, _entry(archive, member, name)))
    return Layer(entries=tuple(entries), hidden=frozenset(hidden), opaque=frozenset(opaque))


def _absolute(name: str) -> str:
    return posixpath.normpath("/" + name.lstrip("/"))


def _below(path: str) -> str | None:
    """Returns a path relative to the prefix; None if it is outside."""
    if path == PREFIX:
        return ""
    return path[len(PREFIX) + 1 :] if path.startswith(PREFIX + "/") else None


def _entry(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> Entry:
    mode, owner = member.mode & 0o7777, (member.uid, member.gid)
    if member.isdir():
        return Entry(kind="folder", mode=mode, owner=owner)
    if member.issym():
        return Entry(kind="link", owner=owner, target=member.linkname)
    if member.islnk():
        return Entry(kind="hard link", mode=mode, owner=owner, target=_absolute(member.linkname))
    if not member.isreg():
        return Entry(kind="device", mode=mode, owner=owner)
    return Entry(
        kind="file",
        mode=mode,
        owner=owner,
        capabilities=_CAPABILITY in member.pax_headers,
        size=member.size,
        content=_content(archive, member, name),
    )


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> Content:
    stream = archive.extractfile(member)
    assert stream is not None
    head = stream.read(HEAD)
    if not needs_all(name, head):
        return content(name, io.BytesIO(head))
    limit = member.size if head.startswith(b"\x7fELF") else TEXT_LIMIT
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
        spool.write(head)
        while limit > 0 and (chunk := stream.read(min(limit, _CHUNK))):
            spool.write(chunk)
            limit -= len(chunk)
        spool.seek(0)
        return content(name, cast(BinaryIO, spool))


def merge(layers: Iterable[Layer]) -> dict[str, Entry]:
    """Merges layers into what a container would see below the prefix.

    Args:
        layers: The layers, lowest first.

    Returns:
        The entries by path; empty if the prefix does not exist.
    """
    tree: dict[str, Entry] = {}
    for layer in layers:
        tree = _uncovered(tree, layer)
        for name, entry in layer.entries:
            _put(tree, name, entry)
    return tree


def _uncovered(tree: dict[str, Entry], layer: Layer) -> dict[str, Entry]:
    """Applies a layer's whiteouts to the tree of the lower layers; they never affect the layer itself."""
    if not layer.hidden and not layer.opaque:
        return tree
    if layer.hides_all:
        return {}
    # Their folders may be symlinks in lower layers. (None: a symlink that points outside.)
    hidden = {_place(tree, name) for name in layer.hidden}
    opaque = {_place(tree, name + "/.") for name in layer.opaque}
    return {
        path: entry
        for path, entry in tree.items()
        if path not in hidden and not any(parent in hidden or parent in opaque for parent in _parents(path))
    }


def _parents(path: str) -> Iterator[str]:
    while path:
        path = path.rpartition("/")[0]
        yield path


def _put(tree: dict[str, Entry], name: str, entry: Entry) -> None:
    """Adds an entry as containerd unpacks it: creates missing folders and follows symlinks to folders."""
    place = _place(tree, name)
    if place is None:
        return
    for missing in [parent for parent in _parents(place) if parent not in tree or tree[parent].kind != "folder"]:
        tree[missing] = _FOLDER
    if entry.kind == "hard link" and (target := _below(entry.target)) is not None:
        at = _place(tree, target)
        found = tree.get(at) if at is not None else None
        entry = found if found is not None and found.kind != "folder" else entry
    old = tree.get(place)
    if old is not None and old.kind == "folder" and entry.kind != "folder":
        below = place + "/" if place else ""
        for path in [path for path in tree if path.startswith(below)]:
            del tree[path]
    tree[place] = entry


def _place(tree: dict[str, Entry], name: str) -> str | None:
    """Returns the path at which an entry is unpacked: symlinks in its parent are followed, the entry itself is not.

    None if a symlink points outside the prefix.
    """
    parent = name.rpartition("/")[0]
    if not name or (parent in tree and tree[parent].kind == "folder" and not name.endswith("/.")):
        return name
    place, problem = resolve(tree, f"{PREFIX}/{name}", whole=False)
    return None if problem else place


def layer_of(chunks: Iterable[bytes], digest: str) -> Layer:
    """Reads a layer and checks it against its digest.

    Args:
        chunks: Contents of the blob.
        digest: Expected digest.

    Raises:
        RegistryError: The digest does not match, or the blob is not a layer.
    """
    blob = Blob(chunks, digest)
    try:
        layer = _read(blob)
    except RegistryError as error:
        blob.check()  # a damaged blob is the better explanation
        raise RegistryError(f"{digest}: {error.message}") from error
    blob.check()
    return layer
