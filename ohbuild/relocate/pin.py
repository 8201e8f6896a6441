"""Pins ELF files to ``/openhands``: interpreter, search path, and the paths that libraries carry as plain strings.

patchelf does the first two. 0.19 or newer: 0.18 breaks Debian's python3, which is not position independent.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from .elf import LOADERS, TRIPLETS, Elf, elves

PREFIX = "/openhands"
LIB = f"{PREFIX}/lib"


def padded(path: str, length: int) -> bytes:
    """A path stretched to a length in bytes by doubling slashes, which the kernel ignores."""
    if len(path) > length:
        raise ValueError(f"{path} is longer than {length} bytes")
    return (path + "/" * (length - len(path))).encode()


def strings(arch: str) -> Mapping[str, tuple[tuple[bytes, bytes], ...]]:
    """Per file name in ``/openhands/lib``: strings and their replacements, of equal length.

    glibc and ncurses are configured with absolute paths of the *base*, and a wrapper that overrides them through the
    environment would show its variables to whatever the agent starts. So the strings are replaced where they stand.
    """
    triplet = TRIPLETS[arch]
    own = f"{LIB}/"

    def dirs(path: str, new: str) -> tuple[bytes, bytes]:
        return path.encode() + b"\0", padded(new, len(path)) + b"\0"

    return {
        # The built-in search path: longest first, as the shorter ones are their tails. /lib/ and /usr/lib/ are too
        # short for a path of ours and lead to the base's root folder instead, where no library lies.
        LOADERS[arch]: (
            dirs(f"/usr/lib/{triplet}/", own),
            dirs(f"/lib/{triplet}/", own),
            (b"\0/lib/\0", b"\0/////\0"),
            (b"\0/usr/lib/\0", b"\0/////////\0"),
            dirs("/etc/ld.so.cache", f"{PREFIX}/.ldso"),
            dirs("/etc/ld.so.preload", f"{PREFIX}/preload"),
        ),
        "libc.so.6": (
            (b"/usr/lib/locale", padded(f"{PREFIX}/l10n", 15)),
            (f"/usr/lib/{triplet}/gconv".encode(), padded(f"{LIB}/gconv", len(f"/usr/lib/{triplet}/gconv"))),
        ),
        "libtinfo.so.6": ((b"/usr/share/terminfo", padded(f"{PREFIX}/terminfo", 19)),),
    }


def replace(data: bytes, pairs: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Replaces strings by others of the same length.

    Raises
    ------
    ValueError: a string does not occur, or a replacement is of another length.
    """
    for old, new in pairs:
        if len(old) != len(new):
            raise ValueError(f"{old!r} and {new!r} differ in length")
        if old not in data:
            raise ValueError(f"{old!r} does not occur")
        data = data.replace(old, new)
    return data


def inside(entry: str) -> bool:
    """Whether an entry of DT_RPATH or DT_RUNPATH stays with the file or in the prefix."""
    return entry.startswith(("$ORIGIN", "${ORIGIN}", PREFIX))


def strays(elf: Elf) -> bool:
    """Whether a library relies on whoever loads it to have loaded its neighbours before, as auditwheel's do."""
    return not (elf.rpath or elf.runpath) and any((elf.path.parent / name).exists() for name in elf.needed)


def commands(elf: Elf, arch: str, patchelf: str) -> list[str]:
    """The patchelf command for one file; empty where nothing needs a change."""
    change: list[str] = []
    loader = f"{LIB}/{LOADERS[arch]}"
    if elf.interpreter is not None and elf.interpreter != loader:
        change += ["--set-interpreter", loader]
    # DT_RPATH and not DT_RUNPATH: it also serves what the program opens later by name. A file that finds everything
    # beside itself ($ORIGIN) keeps its own entries first.
    entries = elf.runpath or elf.rpath
    own = (*(("$ORIGIN",) if strays(elf) else ()), *filter(inside, entries))
    wanted = (*own, LIB) if LIB not in own else own
    if elf.dynamic and (elf.rpath != wanted or elf.runpath):
        change += ["--force-rpath", "--set-rpath", ":".join(wanted)]
    return [patchelf, *change, str(elf.path)] if change else []


def pin(tree: Path, arch: str, *, wheels: bool, patchelf: str = "patchelf") -> int:
    """Pins every ELF file of a tree; returns how many were changed.

    Parameters
    ----------
    tree: a component's ``/openhands``.
    arch: ``amd64`` or ``arm64``.
    wheels: touch only programs, and libraries that search the folders of whoever built them or rely on others to
        load their neighbours. The rest find each other by ``$ORIGIN`` and everything else through
        the loader's own search path, which is ``/openhands/lib``; the audit shows that they do.
    """
    changed = 0
    for elf in elves(tree):
        if elf.path.name in LOADERS.values() or elf.path.name.startswith("libc.so."):
            continue
        if wheels and elf.interpreter is None and all(map(inside, elf.runpath or elf.rpath)) and not strays(elf):
            continue
        if command := commands(elf, arch, patchelf):
            mode = elf.path.stat().st_mode
            elf.path.chmod(mode | 0o600)
            subprocess.run(command, check=True)
            elf.path.chmod(mode)
            changed += 1
    for name, pairs in strings(arch).items():
        path = tree / "lib" / name
        if path.is_file():
            path.write_bytes(replace(path.read_bytes(), pairs))
            changed += 1
    return changed
