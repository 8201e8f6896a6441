"""The last step of a component: modes, owners and times, so that equal content gives an equal layer."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from .elf import walk

SHEBANGS = (
    (re.compile(rb"^#!\s*(?:/usr/bin/env\s+)?\S*python3?(?:\.\d+)?(?=\s)"), b"#!/openhands/python/bin/python3.13"),
    (re.compile(rb"^#!\s*(?:/usr/bin/env\s+)?\S*\bbash\b"), b"#!/openhands/bin/bash"),
)


def scripts(tree: Path) -> int:
    """Lets the Python and bash scripts of a tree be run by the programs of ours; returns how many were changed."""
    changed = 0
    for path in walk(tree):
        if path.is_symlink() or not path.stat().st_mode & 0o111:
            continue
        with path.open("rb") as stream:
            first = stream.readline(256)
        for pattern, own in SHEBANGS:
            if match := pattern.match(first):
                path.write_bytes(own + path.read_bytes()[match.end() :])
                changed += 1
    return changed


def finish(tree: Path, epoch: int) -> None:
    """World-readable, written by nobody, owned by root, no setuid bits, all times at one moment.

    Parameters
    ----------
    tree: a component's ``/openhands``.
    epoch: seconds since 1970 (https://reproducible-builds.org/specs/source-date-epoch/).
    """
    for folder, folders, files in os.walk(tree, topdown=False):
        for name in [*files, *folders]:
            normalise(Path(folder) / name, epoch)
    normalise(tree, epoch)


def normalise(path: Path, epoch: int) -> None:
    """One entry: see ``finish``."""
    status = path.lstat()
    os.chown(path, 0, 0, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        executable = stat.S_ISDIR(status.st_mode) or bool(status.st_mode & 0o111)
        path.chmod(0o755 if executable else 0o644)
    os.utime(path, (epoch, epoch), follow_symlinks=False)
