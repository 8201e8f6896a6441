"""A build cache in a folder of the user's, for builders that forget theirs (``use_local_cache``)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ohbuild.builders.request import BuildRequest
from ohbuild.caches import cache_folder
from ohbuild.docker.buildx import Builder
from ohbuild.images.reference import short_hash
from ohbuild.locks import locked


def _folder(request: BuildRequest) -> Path:
    """One folder for each repository and set of platforms: what else is built does not push its cache out."""
    platforms = ",".join(str(platform) for platform in request.platforms)
    first = request.tags[0]
    name = first.path.rpartition("/")[2][:60]
    return cache_folder("build-cache") / f"{name}-{short_hash(f'{first.repository} {platforms}')}"


@contextmanager
def local_cache(wanted: bool, builder: Builder, request: BuildRequest) -> Iterator[list[str]]:
    """The options for reading and writing it; none if it is not wanted or cannot be had.

    A cache folder has one writer: a build that finds another at it only reads.
    """
    if not wanted or (builder.driver == "docker" and not builder.image_store):
        yield []
        return
    folder = _folder(request)
    folder.mkdir(parents=True, exist_ok=True)
    words = [f"--cache-from=type=local,src={folder}"] if (folder / "index.json").is_file() else []
    with locked(folder, os.O_RDONLY | os.O_DIRECTORY) as ours:
        yield [*words, *([f"--cache-to=type=local,dest={folder},mode=max,ignore-error=true"] if ours else [])]
