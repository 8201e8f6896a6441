"""The last step of a component: normalises shebangs, modes, owners and times so that layers are reproducible."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from .elf import walk

# -E: the base's PYTHON* variables are meant for the base's Python.
PYTHON = b"#!/openhands/python/bin/python3.13 -E"
# Interpreters in shebangs, by path or through env, and their replacements.
SHEBANGS = (
    (re.compile(rb"python3?(?:\.\d+)?"), PYTHON),
    (re.compile(rb"bash"), b"#!/openhands/bin/bash"),
    (re.compile(rb"sh|dash|ash"), b"#!/openhands/libexec/sh"),
    (re.compile(rb"node"), b"#!/openhands/node/bin/node"),
)


def shebang(line: bytes) -> bytes:
    """Replaces the interpreter in the first line of a script by ours. Unknown interpreters are kept.

    The kernel passes everything after the interpreter as one argument (execve(2)), so options are merged: ``-s`` and
    our ``-E`` become ``-Es``.
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
    """Makes the scripts of a tree run with our interpreters; returns how many were changed."""
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
    """Normalises a tree: world-readable, writable by root only, owned by root, no setuid bits, one timestamp.

    Args:
        tree: A component's ``/openhands``.
        epoch: The timestamp, in seconds since 1970 (https://reproducible-builds.org/specs/source-date-epoch/).
    """
    for folder, folders, files in os.walk(tree, topdown=False):
        for name in [*files, *folders]:
            normalise(Path(folder) / name, epoch)
    normalise(tree, epoch)


def normalise(path: Path, epoch: int) -> None:
    """Normalises one entry; see ``finish``. Unchanged files are not touched: overlayfs would copy them up."""
    status = path.lstat()
    if (status.st_uid, status.st_gid) != (0, 0):
        os.chown(path, 0, 0, follow_symlinks=False)
    executable = stat.S_ISDIR(status.st_mode) or bool(status.st_mode & 0o111)
    mode = 0o755 if executable else 0o644
    if not stat.S_ISLNK(status.st_mode) and stat.S_IMODE(status.st_mode) != mode:
        path.chmod(mode)
    if status.st_mtime_ns != epoch * 10**9:
        os.utime(path, (epoch, epoch), follow_symlinks=False)
