"""The closure audit: does anything below ``/openhands`` reach for something outside of it?

The rules follow the loader's (ld.so(8)): for a DT_NEEDED name it looks into DT_RPATH, unless there is a DT_RUNPATH,
then into DT_RUNPATH, then into its built-in folders, which in our loader is ``/openhands/lib`` alone. A library has to
find what it needs by itself: the DT_RPATH of whoever loads it does not count, nor what was loaded before.
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
from .pin import LIB, PREFIX

# Data that looks like programs, by path below the prefix with * for anything: what pip and setuptools copy beside a
# script when they install one on Windows.
DATA = ("python/lib/python3*/pip/_vendor/distlib/*.exe", "python/lib/python3*/setuptools/*.exe")
# The kernel gives up after as many links (path_resolution(7)).
_LINKS = 40
OUTSIDE, NOWHERE, LOOP = f"leads out of {PREFIX}", "leads nowhere", "leads in circles"


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that is wrong, for people: the file as an image shows it, and what it reaches for."""

    file: str
    problem: str

    def __str__(self) -> str:
        return f"ohbuild audit: {self.file}: {self.problem}"


def component_findings(tree: Path, provided: Iterable[Path], arch: str) -> Iterator[Finding]:
    """All that is wrong with the tree of one component, in the order of the paths.

    Args:
        tree: the folder that becomes ``/openhands``.
        provided: the ``/openhands`` folders of the components that it requires; audited before, when they were made.
        arch: ``amd64`` or ``arm64``.
    """
    known: dict[str, Entry] = {}
    for folder in provided:
        known.update(read_folder(folder, contents=False))
    own = read_folder(tree)
    return findings({**known, **own}, arch, own)


def findings(tree: Mapping[str, Entry], arch: str, names: Iterable[str] | None = None) -> Iterator[Finding]:
    """All that is wrong with ``/openhands``, in the order of the paths.

    Args:
        tree: every entry, by its path below the prefix, which itself is the empty path.
        arch: ``amd64`` or ``arm64``, or another of OCI's names, for which no ELF file is right.
        names: the paths to judge; all if None. The others only count as being there.
    """
    for name in sorted(tree if names is None else names):
        entry = tree[name]
        shown = f"{PREFIX}/{name}" if name else PREFIX
        for problem in (*_rights(entry), *_contents(tree, arch, name, entry)):
            yield Finding(_printable(shown), _printable(problem))


def _printable(text: str) -> str:
    """A file may have any bytes but / and NUL in its name, a line's end too."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def resolve(tree: Mapping[str, Entry], path: str, *, whole: bool) -> tuple[str, str]:
    """Where an absolute path leads, links followed as the kernel does (path_resolution(7)).

    Args:
        whole: all of the path has to be there, and a link at its end is followed too.

    Returns:
        The path below the prefix, and what is wrong with it: nothing, or one of ``OUTSIDE``, ``NOWHERE``, ``LOOP``. A
        path may pass through the root folder, and through nothing else outside.
    """
    todo = path.split("/")[::-1]
    here: list[str] = []
    links = 0
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            del here[-1:]
            continue
        here.append(part)
        if here[0] != PREFIX[1:]:
            return "", OUTSIDE
        entry = tree.get("/".join(here[1:]))
        if entry is not None and entry.kind == "link" and (whole or todo):
            links += 1
            if links > _LINKS:
                return "", LOOP
            here = [] if entry.target.startswith("/") else here[:-1]
            todo += entry.target.split("/")[::-1]
        elif whole and (entry is None or (todo and entry.kind != "folder")):
            return "", NOWHERE
    return "/".join(here[1:]), "" if here else OUTSIDE


def follow(tree: Mapping[str, Entry], path: str) -> tuple[str, Entry | None]:
    """Where an absolute path leads: the path below the prefix and its entry, or what is wrong with it and None."""
    name, problem = resolve(tree, path, whole=True)
    return (problem, None) if problem else (name, tree[name])


def _rights(entry: Entry) -> Iterator[str]:
    """Modes and owners: world-readable, written by nobody, run with no rights but the caller's."""
    if entry.owner not in (None, (0, 0)):
        yield "belongs to {}:{}, not to root".format(*entry.owner or ())
    if entry.kind in ("link", "hard link"):
        return
    if entry.mode & (stat.S_ISUID | stat.S_ISGID):
        yield "is setuid or setgid"
    if entry.mode & stat.S_IWOTH:
        yield "is world-writable"
    wanted = stat.S_IROTH | (stat.S_IXOTH if entry.kind == "folder" else 0)
    if entry.mode & wanted != wanted:
        yield "cannot be read by everybody"
    if entry.capabilities:
        yield "has file capabilities"


def _contents(tree: Mapping[str, Entry], arch: str, name: str, entry: Entry) -> Iterator[str]:
    shown = f"{PREFIX}/{name}"
    if entry.kind == "link":
        place, found = follow(tree, shown)
        if found is None:
            yield f"link to {entry.target} {place}"
    elif entry.kind == "hard link":
        yield f"is another name of {entry.target}, which is not below {PREFIX}"
    elif entry.kind == "device":
        yield "is neither a file nor a folder nor a link"
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
            yield f"names {path}, which is not below {PREFIX}"


def _run_by(tree: Mapping[str, Entry], program: str) -> Iterator[str]:
    place, found = follow(tree, program) if program.startswith("/") else (OUTSIDE, None)
    if found is None:
        yield f"is run by {program}, which {f'is not below {PREFIX}' if place == OUTSIDE else place}"
    elif not found.mode & 0o111:
        yield f"is run by {program}, which is not executable"


def _elf(tree: Mapping[str, Entry], arch: str, name: str, entry: Entry, elf: Elf) -> Iterator[str]:
    """Interpreter, search path, libraries, machine and stack of one ELF file."""
    machine = MACHINES.get(arch, "")
    if elf.machine != machine:
        yield f"is for {elf.machine}, not for {arch}"
        return
    if elf.executable_stack:
        yield "asks for an executable stack, which newer kernels refuse"
    loader = f"{LIB}/{LOADERS[arch]}"
    # A library that can be run too, as libc, has an interpreter that only counts where it is run.
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
            yield f"search path {os.path.normpath(folder) if folder else '(an empty one)'} {OUTSIDE}"
        search.append(folder)
    for needed in elf.needed:
        where = [needed] if "/" in needed else [f"{folder}/{needed}" for folder in (*search, LIB)]
        if not any(_loads(tree, path, machine) for path in where):
            yield f"{needed} is not below {PREFIX}"


def _loads(tree: Mapping[str, Entry], path: str, machine: str) -> bool:
    """Whether the loader takes a path for a library; it passes over those of another machine."""
    _, found = follow(tree, path) if path.startswith("/") else (OUTSIDE, None)
    if found is None or found.kind != "file":
        return False
    return found.content is None or (found.content.elf is not None and found.content.elf.machine == machine)
