"""Reads the facts about an ELF file that the audit and the collector need (System V gABI, chapters 4 and 5)."""

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

    Attributes:
        path: Its path on disk.
        machine: The name of ``e_machine``, such as ``EM_X86_64``.
        interpreter: PT_INTERP, or None (libraries, static programs).
        needed: DT_NEEDED, in order.
        rpath: The entries of DT_RPATH, unexpanded. An empty entry is the current folder.
        runpath: The entries of DT_RUNPATH, likewise.
        executable_stack: Whether it requests an executable stack (PT_GNU_STACK).
        dynamic: Whether it has a dynamic section, and so is processed by a loader.
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
    """Reads one file; None unless it is a valid ELF program or shared library (not an object file)."""
    with path.open("rb") as stream:
        if stream.read(4) != b"\x7fELF":
            return None
        return parse(stream, path)


def parse(stream: BinaryIO, path: Path) -> Elf | None:
    """Reads an ELF file from a seekable stream; see ``read``.

    Args:
        stream: The content.
        path: The path to record.
    """
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
            # Without the header, glibc makes the stack executable (sysdeps/*/stackinfo.h).
            executable_stack=dynamic if executable_stack is None else executable_stack,
            dynamic=dynamic,
        )
    except (ELFError, ConstructError, ValueError, OverflowError, AttributeError, TypeError):
        return None


def walk(root: Path) -> Iterator[Path]:
    """Yields everything below a folder except folders, in a stable order. Symlinks are not followed."""
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in folders:
            if (Path(folder) / name).is_symlink():
                yield Path(folder) / name
        for name in sorted(files):
            yield Path(folder) / name


def elves(root: Path) -> Iterator[Elf]:
    """Yields all ELF files below a folder. Symlinks are not followed."""
    for path in walk(root):
        if not path.is_symlink() and path.is_file() and (elf := read(path)) is not None:
            yield elf
