"""Copies the libraries that programs need from an unpacked Debian root into ``/openhands``."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from .elf import TRIPLETS, elves, read


class MissingLibrary(Exception):
    """A required library is not in any of the root's library folders."""


class Root:
    """An unpacked Debian root for one architecture.

    Args:
        path: The folder.
        arch: The architecture, as Debian and OCI name it: ``amd64`` or ``arm64``.
    """

    def __init__(self, path: Path, arch: str) -> None:
        self.path = path
        triplet = TRIPLETS[arch]
        # Debian's search order, then the subfolders that some packages reach through a RUNPATH.
        self.folders = [path / f"{prefix}lib/{triplet}" for prefix in ("", "usr/")]
        self.folders += [path / "lib", path / "lib64", path / "usr/lib", path / "usr/lib64"]
        self.folders += [folder for folder in sorted((path / f"usr/lib/{triplet}").glob("*")) if folder.is_dir()]

    def library(self, name: str) -> Path | None:
        """Returns the file for a DT_NEEDED name, symlinks resolved inside the root; None if it is missing."""
        for folder in self.folders:
            if (found := self.follow(folder / name)) is not None:
                return found
        return None

    def follow(self, path: Path) -> Path | None:
        """Resolves symlinks as if the root were ``/``; None if the target does not exist."""
        for _ in range(16):
            if not path.is_symlink():
                return path if path.exists() else None
            target = path.readlink()
            path = self.path / str(target).lstrip("/") if target.is_absolute() else path.parent / target
        return None


def libraries(root: Root, seeds: Iterable[Path], lib: Path, provided: frozenset[str]) -> list[Path]:
    """Copies the libraries that ELF files need, recursively, into one flat folder under their DT_NEEDED names.

    Args:
        root: The unpacked Debian root.
        seeds: ELF files, inside or outside the root.
        lib: The folder to copy to.
        provided: Names that are available already: in a required component, or in the component's own tree.

    Returns:
        The files that were copied.

    Raises:
        MissingLibrary: A name is neither provided nor in the root. The message names the file that needs it.
    """
    copied: list[Path] = []
    queue = list(seeds)
    done = set(provided)
    while queue:
        path = queue.pop()
        elf = read(path)
        for name in elf.needed if elf else ():
            if name in done:
                continue
            done.add(name)
            source = root.library(name)
            if source is None:
                raise MissingLibrary(f"{path}: {name} not found in the fetched packages")
            target = lib / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                shutil.copy2(source, target)
                copied.append(target)
            queue.append(source)
    return copied


def names(folders: Iterable[Path]) -> frozenset[str]:
    """Returns the names of all files directly in the given folders; missing folders are skipped."""
    return frozenset(path.name for folder in folders if folder.is_dir() for path in folder.iterdir())


def seeds(tree: Path) -> list[Path]:
    """Returns the paths of all ELF files of a tree."""
    return [elf.path for elf in elves(tree)]
