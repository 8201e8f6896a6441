"""The closure audit: does anything below ``/openhands`` reach for something outside of it?

The rules follow the loader's (ld.so(8)): for a DT_NEEDED name it looks into DT_RPATH, unless there is a DT_RUNPATH,
then into DT_RUNPATH, then into its built-in folders, which in our loader is ``/openhands/lib`` alone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .elf import LOADERS, MACHINES, Elf, elves, walk
from .pin import LIB, PREFIX

SHELLS = ("/bin/sh", "/usr/bin/env")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, for people: the file as an image shows it, and what it reaches for."""

    file: str
    problem: str

    def __str__(self) -> str:
        return f"ohbuild audit: {self.file}: {self.problem}"


class Audit:
    """Audits the tree of one component together with those it requires.

    Parameters
    ----------
    tree: the folder that becomes ``/openhands``.
    provided: the ``/openhands`` folders of the components that it requires.
    arch: ``amd64`` or ``arm64``.
    """

    def __init__(self, tree: Path, provided: Sequence[Path], arch: str) -> None:
        self.tree = tree
        self.trees = (tree, *provided)
        self.arch = arch

    def findings(self) -> Iterator[Finding]:
        """All that is wrong, in the order of the paths."""
        for elf in elves(self.tree):
            yield from self.elf(elf)
        for path in walk(self.tree):
            if path.is_symlink():
                yield from self.link(path)
            else:
                yield from self.file(path)

    def shown(self, path: Path) -> str:
        """The path as it will be in an image."""
        return str(PurePosixPath(PREFIX) / path.relative_to(self.tree))

    def exists(self, shown: str) -> bool:
        """Whether one of the trees holds a path of an image."""
        if not shown.startswith(PREFIX + "/"):
            return False
        return any(os.path.lexists(tree / shown[len(PREFIX) + 1 :]) for tree in self.trees)

    def elf(self, elf: Elf) -> Iterator[Finding]:
        """Interpreter, search path, libraries, machine and stack of one ELF file."""
        shown = self.shown(elf.path)
        if elf.machine != MACHINES[self.arch]:
            yield Finding(shown, f"is for {elf.machine}, not for {self.arch}")
            return
        if elf.executable_stack:
            yield Finding(shown, "asks for an executable stack, which newer kernels refuse")
        loader = f"{LIB}/{LOADERS[self.arch]}"
        if elf.interpreter not in (None, loader) and elf.path.stat().st_mode & 0o111:
            yield Finding(shown, f"interpreter {elf.interpreter} is not {loader}")
        origin = str(PurePosixPath(shown).parent)
        search = [
            os.path.normpath(entry.replace("${ORIGIN}", origin).replace("$ORIGIN", origin))
            for entry in (elf.runpath or elf.rpath)
        ]
        for folder in search:
            if folder != PREFIX and not folder.startswith(PREFIX + "/"):
                yield Finding(shown, f"search path {folder} leads out of {PREFIX}")
        for name in elf.needed:
            inside = (f"{folder}/{name}" for folder in [*search, LIB])
            if not any(self.exists(path) for path in inside):
                yield Finding(shown, f"{name} is not below {PREFIX}")

    def link(self, path: Path) -> Iterator[Finding]:
        """A symbolic link has to end inside."""
        shown = self.shown(path)
        target = os.path.normpath(PurePosixPath(shown).parent / path.readlink())
        if not target.startswith(PREFIX + "/"):
            yield Finding(shown, f"link to {path.readlink()} leads out of {PREFIX}")
        elif not self.exists(target):
            yield Finding(shown, f"link to {path.readlink()} leads nowhere")

    def file(self, path: Path) -> Iterator[Finding]:
        """Mode and shebang of a file."""
        mode = path.lstat().st_mode
        if mode & (stat.S_ISUID | stat.S_ISGID):
            yield Finding(self.shown(path), "is setuid or setgid")
        if mode & stat.S_IWOTH:
            yield Finding(self.shown(path), "is world-writable")
        if not mode & 0o111:
            return
        with path.open("rb") as stream:
            first = stream.readline(256)
        if first.startswith(b"#!"):
            words = first[2:].split()
            interpreter = words[0].decode(errors="replace") if words else ""
            if interpreter not in SHELLS and not self.exists(interpreter):
                yield Finding(self.shown(path), f"is run by {interpreter}, which is not below {PREFIX}")
