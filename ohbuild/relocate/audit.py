"""The closure audit: checks that nothing below ``/openhands`` depends on anything outside it.

The rules mirror the loader's (ld.so(8)). It searches for a DT_NEEDED name in DT_RPATH (unless DT_RUNPATH is set), then
in DT_RUNPATH, then in its built-in folders. In our loader, that is only ``/openhands/lib``. Each library must find its
dependencies by itself: the DT_RPATH of the file that loads it and libraries already loaded do not count.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from .elf import LOADERS, MACHINES, Elf
from .entries import Entry, read_folder
from .links import OUTSIDE, follow
from .pin import LIB, PREFIX

# Data that looks like programs, as globs below the prefix: the launchers that pip and setuptools install beside scripts
# on Windows.
DATA = ("python/lib/python3*/pip/_vendor/distlib/*.exe", "python/lib/python3*/setuptools/*.exe")


@dataclass(frozen=True, order=True)
class Finding:
    """One problem found by the audit.

    Attributes:
        file: The path in the image.
        problem: What is wrong with it, as a phrase with the file as its subject.
    """

    file: str
    problem: str

    def __str__(self) -> str:
        return f"ohbuild audit: {self.file}: {self.problem}"


def component_findings(tree: Path, provided: Iterable[Path], arch: str) -> Iterator[Finding]:
    """Audits the tree of one component.

    Args:
        tree: The folder that becomes ``/openhands``.
        provided: The ``/openhands`` folders of the required components. They were audited when they were built.
        arch: ``amd64`` or ``arm64``.

    Returns:
        The findings, sorted by path.
    """
    known: dict[str, Entry] = {}
    for folder in provided:
        known.update(read_folder(folder, contents=False))
    own = read_folder(tree)
    return findings({**known, **own}, arch, own)


def findings(tree: Mapping[str, Entry], arch: str, names: Iterable[str] | None = None) -> Iterator[Finding]:
    """Audits ``/openhands``.

    Args:
        tree: Every entry by its path below the prefix. The prefix itself is the empty path.
        arch: OCI's name of the architecture. Only ``amd64`` and ``arm64`` are known, so for any other every ELF file is
            a finding.
        names: The paths to audit; all by default. Other entries only serve as targets.

    Yields:
        The findings, sorted by path.
    """
    for name in sorted(tree if names is None else names):
        entry = tree[name]
        shown = f"{PREFIX}/{name}" if name else PREFIX
        for problem in (*_rights(entry), *_contents(tree, arch, name, entry)):
            yield Finding(_printable(shown), _printable(problem))


def _printable(text: str) -> str:
    """Escapes what would break the line: a file name may hold any byte but ``/`` and NUL."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _rights(entry: Entry) -> Iterator[str]:
    """Modes and owners: readable by all, writable by root only, and no more privileges than the caller's."""
    if entry.owner not in (None, (0, 0)):
        yield "is owned by {}:{}, not by root".format(*entry.owner or ())
    if entry.kind in ("link", "hard link"):
        return
    if entry.mode & (stat.S_ISUID | stat.S_ISGID):
        yield "is setuid or setgid"
    if entry.mode & stat.S_IWOTH:
        yield "is world-writable"
    wanted = stat.S_IROTH | (stat.S_IXOTH if entry.kind == "folder" else 0)
    if entry.mode & wanted != wanted:
        yield "is not world-readable"
    if entry.capabilities:
        yield "has file capabilities"


def _contents(tree: Mapping[str, Entry], arch: str, name: str, entry: Entry) -> Iterator[str]:
    shown = f"{PREFIX}/{name}"
    if entry.kind == "link":
        place, found = follow(tree, shown)
        if found is None:
            yield f"symlink target {entry.target} {place}"
    elif entry.kind == "hard link":
        yield f"hard link target {entry.target} is outside {PREFIX}"
    elif entry.kind == "device":
        yield "is not a regular file, folder or symlink"
    if entry.content is None:
        return
    content = entry.content
    if content.broken:
        yield "is a broken ELF file"
    if content.foreign and not any(fnmatchcase(name, pattern) for pattern in DATA):
        yield f"is a program for {content.foreign}"
    if content.elf:
        yield from _elf(tree, arch, name, entry, content.elf)
    if content.script and entry.mode & 0o111:
        yield from _run_by(tree, content.script)
    if content.program:
        yield from _run_by(tree, content.program)
    for path in content.paths:
        if follow(tree, os.path.join(os.path.dirname(shown), path))[0] == OUTSIDE:  # noqa: PTH118, PTH120
            yield f"refers to {path}, which is outside {PREFIX}"


def _run_by(tree: Mapping[str, Entry], program: str) -> Iterator[str]:
    place, found = follow(tree, program) if program.startswith("/") else (OUTSIDE, None)
    if found is None:
        yield f"interpreter {program} {place}"
    elif not found.mode & 0o111:
        yield f"interpreter {program} is not executable"


def _elf(tree: Mapping[str, Entry], arch: str, name: str, entry: Entry, elf: Elf) -> Iterator[str]:
    """Interpreter, search path, libraries, machine and stack of one ELF file."""
    machine = MACHINES.get(arch, "")
    if elf.machine != machine:
        yield f"is for {elf.machine}, not for {arch}"
        return
    if elf.executable_stack:
        yield "requests an executable stack, which newer kernels refuse"
    loader = f"{LIB}/{LOADERS[arch]}"
    # Some libraries, such as libc, have an interpreter too. It only matters if the file is executable.
    if elf.interpreter is not None and entry.mode & 0o111:
        if elf.interpreter != loader:
            yield f"interpreter {elf.interpreter} is not {loader}"
        else:
            yield from _run_by(tree, loader)
    origin = os.path.dirname(f"{PREFIX}/{name}")  # noqa: PTH120
    search: list[str] = []
    for entry_ in elf.runpath or elf.rpath:
        folder = entry_.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)
        place, _ = follow(tree, folder) if folder.startswith("/") else (OUTSIDE, None)
        if place == OUTSIDE:
            yield f"search path {os.path.normpath(folder) if folder else '(empty)'} {OUTSIDE}"
        search.append(folder)
    for needed in elf.needed:
        where = [needed] if "/" in needed else [f"{folder}/{needed}" for folder in (*search, LIB)]
        if not any(_loads(tree, path, machine) for path in where):
            yield f"{needed} is not below {PREFIX}"


def _loads(tree: Mapping[str, Entry], path: str, machine: str) -> bool:
    """Whether the loader accepts a path as a library. It skips those for another machine."""
    _, found = follow(tree, path) if path.startswith("/") else (OUTSIDE, None)
    if found is None or found.kind != "file":
        return False
    return found.content is None or (found.content.elf is not None and found.content.elf.machine == machine)
