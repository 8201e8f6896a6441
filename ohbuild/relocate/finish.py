"""The last step of a component: modes, owners and times, so that equal content gives an equal layer."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from .elf import walk

# -E: a base's PYTHON* variables are for the base's Python.
PYTHON = b"#!/openhands/python/bin/python3.13 -E"
# The interpreter that a shebang names by path or through env, and what stands for it here.
SHEBANGS = (
    (re.compile(rb"python3?(?:\.\d+)?"), PYTHON),
    (re.compile(rb"bash"), b"#!/openhands/bin/bash"),
    (re.compile(rb"sh|dash|ash"), b"#!/openhands/libexec/sh"),
    (re.compile(rb"node"), b"#!/openhands/node/bin/node"),
)


def shebang(line: bytes) -> bytes:
    """The first line of a script, with a program of ours for the interpreter; unknown ones stay.

    The kernel passes all that follows the interpreter as one argument (execve(2)), so an option of the old line is
    joined to ours (``-s`` to ``-E`` gives ``-Es``).
    """
    words = line[2:].split() if line.startswith(b"#!") else []
    if words and words[0].rpartition(b"/")[2] == b"env":
        words = words[2:] if words[1:2] == [b"-S"] else words[1:]
    if not words:
        return line
    name = words[0].rpartition(b"/")[2]
    own = next((own for pattern, own in SHEBANGS if pattern.fullmatch(name)), None)
    if own is None or words[0].startswith(b"/openhands/"):
        return line
    options = b"".join(word[1:] for word in words[1:] if word.startswith(b"-"))
    if own == PYTHON:
        return own + options.replace(b"E", b"") + b"\n"
    return own + (b" -" + options if options else b"") + b"\n"


def scripts(tree: Path) -> int:
    """Lets the scripts of a tree be run by the programs of ours; returns how many were changed."""
    changed = 0
    for path in walk(tree):
        if path.is_symlink() or not path.stat().st_mode & 0o111:
            continue
        with path.open("rb") as stream:
            first = stream.readline(256)
        if (own := shebang(first)) != first:
            path.write_bytes(own + path.read_bytes()[len(first) :])
            changed += 1
    return changed


def finish(tree: Path, epoch: int) -> None:
    """World-readable, written by nobody, owned by root, no setuid bits, all times at one moment.

    Args:
        tree: a component's ``/openhands``.
        epoch: seconds since 1970 (https://reproducible-builds.org/specs/source-date-epoch/).
    """
    for folder, folders, files in os.walk(tree, topdown=False):
        for name in [*files, *folders]:
            normalise(Path(folder) / name, epoch)
    normalise(tree, epoch)


def normalise(path: Path, epoch: int) -> None:
    """One entry: see ``finish``. What is so already is not touched: overlayfs would copy it from the layer below."""
    status = path.lstat()
    if (status.st_uid, status.st_gid) != (0, 0):
        os.chown(path, 0, 0, follow_symlinks=False)
    executable = stat.S_ISDIR(status.st_mode) or bool(status.st_mode & 0o111)
    mode = 0o755 if executable else 0o644
    if not stat.S_ISLNK(status.st_mode) and stat.S_IMODE(status.st_mode) != mode:
        path.chmod(mode)
    if status.st_mtime_ns != epoch * 10**9:
        os.utime(path, (epoch, epoch), follow_symlinks=False)
