"""Files of a build: what they hold, and how they are written so that BuildKit sees the same ones everywhere."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ohbuild.errors import UsageError

_MARKER = "# Made by ohbuild: everything in this folder is written anew by it.\n*\n"


@dataclass(frozen=True)
class File:
    """A file of a rendered folder."""

    data: bytes
    executable: bool = False


def script(path: Path) -> File:
    """A file; a script is executable, whatever a package manager made of its mode."""
    data = path.read_bytes()
    return File(data, executable=data.startswith(b"#!"))


def write_folder(files: Mapping[str, File], folder: Path, epoch: int) -> None:
    """Write files into a folder that is made if it is missing, with modes and times that are the same everywhere.

    Args:
        files: path in the folder → content; what else the folder has stays.
        epoch: seconds since 1970 that stand for every time.

    Raises:
        UsageError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, file in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.data)
            path.chmod(0o755 if file.executable else 0o644)
            os.utime(path, ns=(_moment(file, epoch),) * 2)
        inside = {parent for name in files for parent in (folder / name).relative_to(folder).parents}
        for path in sorted((folder / part for part in inside), reverse=True):
            if path != folder:
                path.chmod(0o755)
                os.utime(path, (epoch,) * 2)
    except OSError as error:
        raise UsageError(f"cannot write {error.filename or folder}: {error.strerror}", "name another folder") from error


def _moment(file: File, epoch: int) -> int:
    """The time of a file in nanoseconds: one second for all of them, a fraction of it for each content.

    BuildKit sends only what differs in mode, owner, size or time from what it was sent before: with one time for all,
    a file of another content and the same length would never arrive. Layers keep whole seconds.
    """
    fraction = int.from_bytes(hashlib.sha256(file.data).digest()[:8], "big") % 10**9
    return epoch * 10**9 + fraction


def empty_folder(folder: Path, old: Sequence[str]) -> None:
    """Make a folder of our own ready to be written anew, or mark one as ours that is new.

    Args:
        old: files and folders in it that an earlier run may have written.

    Raises:
        UsageError: the folder has something in it that ohbuild did not write, or cannot be written.
    """
    marker = folder / ".gitignore"
    ours = marker.is_file() and marker.read_text(errors="replace") == _MARKER
    try:
        if folder.exists() and not ours and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} is not empty and was not made by ohbuild", "name another with --folder")
        folder.mkdir(parents=True, exist_ok=True)
        marker.write_text(_MARKER)
        for path in (folder / name for name in old):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {error.filename or folder}: {error.strerror}", "see --folder") from error
