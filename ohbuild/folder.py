"""The files of a build, written so that BuildKit sees the same files on every machine."""

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
    """A file of a rendered folder.

    Attributes:
        data: Content.
        executable: Whether it is executable.
    """

    data: bytes
    executable: bool = False


def script(path: Path) -> File:
    """Reads a file, and makes scripts executable: package managers do not always keep the mode."""
    data = path.read_bytes()
    return File(data, executable=data.startswith(b"#!"))


def write_folder(files: Mapping[str, File], folder: Path, epoch: int) -> None:
    """Writes files into a folder, with the same modes and times on every machine.

    Args:
        files: Files by path in the folder. Other files in the folder are kept.
        folder: Folder to write to; created if missing.
        epoch: Time of all files and folders, in seconds since 1970.

    Raises:
        UsageError: The folder cannot be written.
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
        raise UsageError(f"cannot write {error.filename or folder}: {error.strerror}", "use another folder") from error


def _moment(file: File, epoch: int) -> int:
    """Returns the time of a file in nanoseconds: the epoch, plus a fraction of a second derived from the content.

    BuildKit transfers only files whose mode, owner, size or time has changed since the last transfer. With one time for
    all files, changed content of the same length would never be sent. Layers keep whole seconds only.
    """
    fraction = int.from_bytes(hashlib.sha256(file.data).digest()[:8], "big") % 10**9
    return epoch * 10**9 + fraction


def empty_folder(folder: Path, old: Sequence[str]) -> None:
    """Removes the files of an earlier run from a folder, and marks it as ours.

    Args:
        folder: Folder to prepare; created if missing.
        old: Files and folders in it that an earlier run may have written.

    Raises:
        UsageError: The folder contains files that ohbuild did not write, or cannot be written.
    """
    marker = folder / ".gitignore"
    ours = marker.is_file() and marker.read_text(encoding="utf-8", errors="replace") == _MARKER
    try:
        if folder.exists() and not ours and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} is not empty and was not created by ohbuild", "choose another with --folder")
        folder.mkdir(parents=True, exist_ok=True)
        marker.write_text(_MARKER, encoding="utf-8")
        for path in (folder / name for name in old):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {error.filename or folder}: {error.strerror}", "see --folder") from error
