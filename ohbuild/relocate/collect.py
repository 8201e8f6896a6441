"""Copies programs and the libraries they need out of an unpacked Debian root into ``/openhands``."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from .elf import TRIPLETS, elves, read


class MissingLibrary(Exception):
    """A library that a file needs is in none of the folders of the root."""


class Root:
    """An unpacked Debian root for one architecture.

    Args:
        path: the folder.
        arch: Debian's and OCI's name of the architecture, ``amd64`` or ``arm64``.
    """

    def __init__(self, path: Path, arch: str) -> None:
        self.path = path
        triplet = TRIPLETS[arch]
        # Debian's own search order, and the sub-folders that its packages reach through a RUNPATH of theirs.
        self.folders = [path / f"{prefix}lib/{triplet}" for prefix in ("", "usr/")]
        self.folders += [path / "lib", path / "lib64", path / "usr/lib", path / "usr/lib64"]
        self.folders += [folder for folder in sorted((path / f"usr/lib/{triplet}").glob("*")) if folder.is_dir()]

    def library(self, name: str) -> Path | None:
        """The file that a DT_NEEDED name stands for, links followed inside the root; None if there is none."""
        for folder in self.folders:
            if (found := self.follow(folder / name)) is not None:
                return found
        return None

    def follow(self, path: Path) -> Path | None:
        """Follows links as if the root were ``/``; None if they lead nowhere."""
        for _ in range(16):
            if not path.is_symlink():
                return path if path.exists() else None
            target = path.readlink()
            path = self.path / str(target).lstrip("/") if target.is_absolute() else path.parent / target
        return None


def libraries(root: Root, seeds: Iterable[Path], lib: Path, provided: frozenset[str]) -> list[Path]:
    """Copies what the seeds need, and what that needs, into a flat folder under the names it is asked for.

    Args:
        seeds: ELF files, inside or outside the root.
        lib: the folder that takes the libraries.
        provided: names that a required component has already, or that the seeds' own folders hold.

    Raises:
        MissingLibrary: a name is neither provided nor in the root; says which file asks for it.
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
                raise MissingLibrary(f"{path}: {name} is not in the packages that were fetched")
            target = lib / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                shutil.copy2(source, target)
                copied.append(target)
            queue.append(source)
    return copied


def names(folders: Iterable[Path]) -> frozenset[str]:
    """The names of all files directly in the ``lib`` folders of components."""
    return frozenset(path.name for folder in folders if folder.is_dir() for path in folder.iterdir())


def seeds(tree: Path) -> list[Path]:
    """Every ELF file of a tree."""
    return [elf.path for elf in elves(tree)]
