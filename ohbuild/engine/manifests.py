"""Finds the manifests in the registry's storage that no tag needs.

``docker-registry garbage-collect`` deletes blobs that no manifest refers to. Its option ``--delete-untagged`` is not
usable: until version 3 it also deletes the platforms of a tagged multi-platform image, which have no tags of their own.

The layout of the storage is described in
https://github.com/distribution/distribution/blob/v2.8.3/registry/storage/paths.go.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ohbuild.images import labels

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LARGEST = 8 << 20  # bytes; the registry accepts manifests of up to 4 MiB

Node = tuple[str, str]
"""A repository and the digest of a manifest in it."""


@dataclass(frozen=True)
class Repository:
    """The manifests of a repository.

    Attributes:
        name: Its name.
        tags: Digest by tag.
        revisions: Digests of all manifests that were pushed to it.
    """

    name: str
    tags: Mapping[str, str]
    revisions: frozenset[str]


@dataclass(frozen=True)
class Manifest:
    """What a manifest refers to.

    Attributes:
        children: Digests of the manifests that it lists, if it is an index.
        subject: Digest of the manifest that it describes, if it is a signature or another artifact.
        config: Digest of its config, if it is an image.
    """

    children: tuple[str, ...] = ()
    subject: str = ""
    config: str = ""

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """Parses a manifest. If it is not valid JSON, every digest in it counts as a child."""
        content = _json(data)
        if not isinstance(content, dict):
            return cls(children=tuple(_DIGEST.findall(data.decode(errors="replace"))))
        listed = content.get("manifests")
        children = map(_digest_of, listed if isinstance(listed, list) else ())
        subject, config = _digest_of(content.get("subject")), _digest_of(content.get("config"))
        return cls(tuple(filter(None, children)), subject, config)


def unneeded(repositories: Sequence[Repository], read: Callable[[str], bytes | None]) -> set[Node]:
    """Returns the manifests that no tag needs.

    A tag needs its manifest, and a needed manifest needs

    - what it lists, if it is an index,
    - the manifests that refer to it as their subject (signatures and other artifacts),
    - the component images that ohbuild's labels of the image name by digest, in any repository.

    A manifest whose blob is lost cannot be pulled, so it is not needed either.

    Args:
        repositories: All repositories.
        read: Returns a blob, or None if it is lost.
    """
    everything = {(repository.name, digest) for repository in repositories for digest in repository.revisions}
    content: dict[str, Manifest] = {}
    for digest in {digest for _, digest in everything}:
        data = read(digest)
        if data is not None:
            content[digest] = Manifest.parse(data)
    holders: dict[str, list[Node]] = {}
    referrers: dict[Node, list[Node]] = {}
    for name, digest in everything:
        holders.setdefault(digest, []).append((name, digest))
        if digest in content:
            referrers.setdefault((name, content[digest].subject), []).append((name, digest))
    needed: set[Node] = set()
    waiting = [(repository.name, digest) for repository in repositories for digest in repository.tags.values()]
    while waiting:
        node = waiting.pop()
        name, digest = node
        if node in needed or node not in everything or digest not in content:
            continue
        needed.add(node)
        manifest = content[digest]
        waiting += [(name, child) for child in manifest.children]
        waiting += referrers.get(node, ())
        for component in _components(read(manifest.config)) if manifest.config else ():
            waiting += holders.get(component, ())
    return everything - needed


def _json(data: bytes) -> Any:
    try:
        return json.loads(data.decode(errors="replace"))  # as the registry does, which accepts invalid UTF-8
    except (ValueError, RecursionError):
        return None


def _digest_of(descriptor: Any) -> str:
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    return digest if isinstance(digest, str) and _DIGEST.fullmatch(digest) else ""


def _components(config: bytes | None) -> Iterator[str]:
    """Yields the digests of the component images that the labels in an image's config name."""
    value = _json(config or b"")
    for name in ("config", "Labels"):
        value = value.get(name) if isinstance(value, dict) else None
    for name, text in value.items() if isinstance(value, dict) else ():
        if name.startswith(labels.COMPONENT_IMAGE) and isinstance(text, str):
            yield from _DIGEST.findall(text)


class Storage:
    """The storage of a registry that is not running.

    Args:
        folder: The registry's root directory.
    """

    def __init__(self, folder: Path) -> None:
        self._root = folder / "docker/registry/v2"

    @property
    def exists(self) -> bool:
        """Whether anything was pushed."""
        return (self._root / "repositories").is_dir()

    def repositories(self) -> list[Repository]:
        """Returns all repositories."""
        found = []
        top = self._root / "repositories"
        for folder, names, _ in os.walk(top):
            if "_manifests" in names:
                place = Path(folder)
                links = (place / "_manifests/tags").glob("*/current/link")
                tags = {link.parent.parent.name: link.read_text(encoding="utf-8").strip() for link in links}
                revisions = (place / "_manifests/revisions/sha256").glob("*/link")
                digests = frozenset(f"sha256:{link.parent.name}" for link in revisions)
                found.append(Repository(str(place.relative_to(top)), tags, digests))
            names[:] = [name for name in names if not name.startswith("_")]  # a repository's name begins otherwise
        return found

    def read(self, digest: str) -> bytes | None:
        """Returns a blob, or None if it is lost or is too large for a manifest or a config."""
        hexadecimal = digest.partition(":")[2]
        blob = self._root / "blobs/sha256" / hexadecimal[:2] / hexadecimal / "data"
        try:
            return blob.read_bytes() if blob.stat().st_size <= _LARGEST else None
        except OSError:
            return None

    def delete(self, node: Node) -> None:
        """Deletes a manifest from a repository; its blob is left to the garbage collection."""
        name, digest = node
        hexadecimal = digest.partition(":")[2]
        manifests = self._root / "repositories" / name / "_manifests"
        # The tags' former digests first: if this is interrupted, the next run finds the manifest again.
        for former in (manifests / "tags").glob(f"*/index/sha256/{hexadecimal}"):
            shutil.rmtree(former)
        shutil.rmtree(manifests / "revisions/sha256" / hexadecimal)
