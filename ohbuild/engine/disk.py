"""Measures what the private engine holds on disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

from rich.filesize import decimal

from ohbuild import process
from ohbuild.engine import http
from ohbuild.engine.state import DIR_VARIABLE, Layout

LOW = 10_000_000_000  # bytes
_SECONDS = 120


class Problem(NamedTuple):
    """Something that is wrong with the engine.

    Attributes:
        problem: What is wrong.
        fix: How to fix it, as an imperative.
    """

    problem: str
    fix: str


def sizes(layout: Layout) -> dict[str, int]:
    """Returns the disk usage in bytes of each part of the state folder."""
    parts = {"engine": layout.root, "docker": layout.docker_data, "registry": layout.registry_data, "logs": layout.logs}
    there = {name: path for name, path in parts.items() if path.exists()}
    if not there:
        return {}
    # du exits with code 1 if a file disappears meanwhile; its totals are still good
    said = process.ask(["du", "-sxB1", *there.values()], timeout=_SECONDS).out
    found = {Path(path): int(size) for size, _, path in (line.partition("\t") for line in said.splitlines())}
    return {name: found[path] for name, path in there.items() if path in found}


def stored(sock: Path) -> dict[str, int]:
    """Returns how much of Docker's disk usage are images and build cache, in bytes; empty if Docker does not respond.

    Args:
        sock: Docker's socket.
    """
    return shares(http.docker_json(sock, "/system/df?type=image&type=build-cache", seconds=_SECONDS))


def shares(usage: Any) -> dict[str, int]:
    """Returns the sizes of images and build cache from Docker's response to ``/system/df``."""
    if not isinstance(usage, dict) or "LayersSize" not in usage:
        return {}
    # Docker counts layers in both: those of the cache that are also an image's are `Shared`, and the size of all layers
    # includes the cache's, which are in the same store.
    cache = sum(entry["Size"] for entry in usage.get("BuildCache") or () if not entry.get("Shared"))
    return {"images": max(0, usage["LayersSize"] - cache), "build_cache": cache}


def free(layout: Layout) -> int | None:
    """Returns the free space in bytes on the disk with the state folder, or None if there is no such folder."""
    try:
        return shutil.disk_usage(layout.dir).free
    except OSError:
        return None


def shortage(free: int | None, folder: Path) -> Problem | None:
    """Returns the problem of a disk that is nearly full.

    Args:
        free: Free space in bytes, if known.
        folder: A folder on the disk.
    """
    if free is None or free >= LOW:
        return None
    return Problem(
        f"only {decimal(free)} are free on the disk with {folder}",
        f"run `ohbuild engine prune`, or set {DIR_VARIABLE} to a folder on a larger disk",
    )
