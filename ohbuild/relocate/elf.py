"""What the audit and the collector need to know of one ELF file (System V gABI, chapters 4 and 5)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile

MACHINES = {"amd64": "EM_X86_64", "arm64": "EM_AARCH64"}
LOADERS = {"amd64": "ld-linux-x86-64.so.2", "arm64": "ld-linux-aarch64.so.1"}
TRIPLETS = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}


@dataclass(frozen=True, kw_only=True)
class Elf:
    """One ELF file.

    Args:
        path: where it is on disk.
        machine: ``e_machine`` by its name, ``EM_X86_64``.
        interpreter: PT_INTERP, or None where there is none (libraries, static programs).
        needed: DT_NEEDED, in order.
        rpath, runpath: the entries of DT_RPATH and DT_RUNPATH, unexpanded; an empty one is the current folder.
        executable_stack: PT_GNU_STACK asks for an executable stack.
        dynamic: it has a dynamic section, and so a loader has a say in it.
    """

    path: Path
    machine: str
    interpreter: str | None
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]
    executable_stack: bool
    dynamic: bool


def read(path: Path) -> Elf | None:
    """Reads one file; None if it is not an ELF file, or only the debug or object half of one."""
    with path.open("rb") as stream:
        if stream.read(4) != b"\x7fELF":
            return None
        return parse(stream, path)


def parse(stream: BinaryIO, path: Path) -> Elf | None:
    """As ``read``, from a seekable stream; None also if it cannot be read."""
    try:
        elf = ELFFile(stream)
        if elf["e_type"] not in ("ET_EXEC", "ET_DYN"):
            return None
        needed: list[str] = []
        rpath: tuple[str, ...] = ()
        runpath: tuple[str, ...] = ()
        interpreter = None
        executable_stack: bool | None = None
        dynamic = False
        for segment in elf.iter_segments():
            kind = segment["p_type"]
            if kind == "PT_INTERP":
                interpreter = segment.get_interp_name()
            elif kind == "PT_GNU_STACK":
                executable_stack = bool(segment["p_flags"] & 1)
            elif isinstance(segment, DynamicSegment):
                dynamic = True
                for tag in segment.iter_tags():
                    if tag.entry.d_tag == "DT_NEEDED":
                        needed.append(tag.needed)
                    elif tag.entry.d_tag == "DT_RPATH":
                        rpath = tuple(tag.rpath.split(":")) if tag.rpath else ()
                    elif tag.entry.d_tag == "DT_RUNPATH":
                        runpath = tuple(tag.runpath.split(":")) if tag.runpath else ()
        return Elf(
            path=path,
            machine=elf["e_machine"],
            interpreter=interpreter,
            needed=tuple(needed),
            rpath=rpath,
            runpath=runpath,
            # glibc takes a missing header for a yes (sysdeps/*/stackinfo.h).
            executable_stack=dynamic if executable_stack is None else executable_stack,
            dynamic=dynamic,
        )
    except (ELFError, ConstructError, ValueError, OverflowError, AttributeError, TypeError):
        return None


def walk(root: Path) -> Iterator[Path]:
    """Every entry below a folder that is not a folder itself, links unfollowed, in a stable order."""
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in folders:
            if (Path(folder) / name).is_symlink():
                yield Path(folder) / name
        for name in sorted(files):
            yield Path(folder) / name


def elves(root: Path) -> Iterator[Elf]:
    """Every ELF file below a folder, links unfollowed."""
    for path in walk(root):
        if not path.is_symlink() and path.is_file() and (elf := read(path)) is not None:
            yield elf
