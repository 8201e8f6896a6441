"""Frees disk space of the private engine."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ohbuild import process
from ohbuild.docker.client import LABEL
from ohbuild.engine import daemon, disk, http, namespace
from ohbuild.engine.errors import EngineFailed, explained
from ohbuild.engine.manifests import Storage, unneeded
from ohbuild.engine.progress import Reporter
from ohbuild.engine.state import Layout

_SECONDS = 600
# Containers that `ohbuild verify` left behind when it was killed. One that is running now is younger.
_LEFT_BEHIND = {"label": [LABEL], "until": ["1h"]}


@dataclass(frozen=True)
class Freed:
    """What was freed.

    Attributes:
        parts: Bytes by part of the engine: ``docker``, ``registry``.
        manifests: The number of manifests that were deleted from the registry.
    """

    parts: Mapping[str, int]
    manifests: int

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(self.parts.values())


def prune(layout: Layout, reporter: Reporter) -> Freed:
    """Deletes everything that no tag needs. The caller must hold the locks.

    The registry is pruned even if the engine is not running, because Docker may not start on a full disk.

    Args:
        layout: Paths of the engine.
        reporter: Shows the progress.

    Raises:
        EngineFailed: Something could not be deleted.
    """
    before = disk.sizes(layout)
    if daemon.running(layout):
        task = reporter.task("pruning images, build cache and leftover containers")
        prune_docker(layout.socket)
        task.done()
    task = reporter.task("pruning the registry")
    count = prune_registry(layout)
    task.done(f"{count} manifests that no tag needs")
    return Freed(freed(before, _settled(layout)), count)


def freed(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Returns by how much each part has become smaller, in bytes; 0 if it has grown."""
    return {name: max(0, before.get(name, 0) - after.get(name, 0)) for name in ("docker", "registry")}


def _settled(layout: Layout) -> dict[str, int]:
    """Returns the sizes when they no longer change: containerd deletes what is unused a moment later."""
    last: dict[str, int] = {}
    for _ in range(10):
        now = disk.sizes(layout)
        if last and now.get("docker") == last.get("docker"):
            break
        last = now
        time.sleep(0.5)
    return last


def prune_docker(sock: Path) -> None:
    """Deletes leftover containers, images without a name, and build cache that is not in use.

    Args:
        sock: Docker's socket.

    Raises:
        EngineFailed: Docker did not do it.
    """
    for what, path in (
        ("containers", f"/containers/prune?filters={quote(json.dumps(_LEFT_BEHIND))}"),
        ("images", f"/images/prune?filters={quote(json.dumps({'dangling': ['true']}))}"),
        ("build cache", "/build/prune"),
    ):
        if http.docker_json(sock, path, method="POST", seconds=_SECONDS) is None:
            raise EngineFailed(f"the engine's {what} could not be pruned", "check `ohbuild engine status`, try again")


def prune_registry(layout: Layout) -> int:
    """Deletes the manifests that no tag needs, and the blobs that no manifest needs.

    The registry is stopped meanwhile: its garbage collection would delete the blobs of an image that is being pushed.

    Args:
        layout: Paths of the engine.

    Returns:
        The number of deleted manifests.

    Raises:
        EngineFailed: The garbage collection failed, or the registry does not exit or start.
    """
    config = layout.config / "registry.yml"
    storage = Storage(layout.registry_data)
    if not config.exists() or not storage.exists:
        return 0
    with daemon.without_registry(layout):
        nodes = unneeded(storage.repositories(), storage.read)
        for node in nodes:
            storage.delete(node)
        job = process.Job(
            argv=namespace.inside(layout.root, "docker-registry", "garbage-collect", config),
            log=layout.logs / "registry-prune.log",
            env={"PATH": namespace.search_path()},
        )
        with explained(EngineFailed, "the registry's garbage collection failed", "check the log, then try again"):
            process.work(job)
    return len(nodes)
