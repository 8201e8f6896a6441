"""A build cache in a local folder, for builders that do not keep their own (``use_local_cache``)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ohbuild.builders.request import BuildRequest
from ohbuild.caches import cache_folder
from ohbuild.docker.attributes import attributes
from ohbuild.docker.buildx import Builder
from ohbuild.images.reference import short_hash
from ohbuild.locks import locked


def _folder(request: BuildRequest) -> Path:
    """Returns the folder for a repository and a set of platforms, so that other builds do not replace the cache."""
    platforms = ",".join(str(platform) for platform in request.platforms)
    first = request.tags[0]
    name = first.path.rpartition("/")[2][:60]
    return cache_folder("build-cache") / f"{name}-{short_hash(f'{first.repository} {platforms}')}"


@contextmanager
def local_cache(wanted: bool, builder: Builder, request: BuildRequest) -> Iterator[list[str]]:
    """Locks the cache for a build, and yields the options for ``docker buildx build``.

    A cache folder has a single writer. While it is locked by another build, it is only read.

    Args:
        wanted: Whether to use a local cache.
        builder: Builder that runs the build.
        request: The build.

    Yields:
        Options to read and write the cache; none if it is not wanted, or not supported by the builder.
    """
    if not wanted or not builder.exporter.caches:
        yield []
        return
    folder = _folder(request)
    folder.mkdir(parents=True, exist_ok=True)
    source = attributes({"type": "local", "src": folder})
    sink = attributes({"type": "local", "dest": folder, "mode": "max", "ignore-error": True})
    words = [f"--cache-from={source}"] if (folder / "index.json").is_file() else []
    with locked(folder, os.O_RDONLY | os.O_DIRECTORY) as ours:
        yield [*words, *([f"--cache-to={sink}"] if ours else [])]
