"""Pins ELF files to ``/openhands``: interpreter, search path, and strings compiled into the programs.

patchelf does the first two. It must be 0.19 or newer: 0.18 breaks Debian's python3, which is not position independent.

The strings are paths that would resolve in the *base*, and names of environment variables through which a base would
affect our programs. A wrapper that sets or unsets these variables would hide the base's values from the programs that
the agent starts. A program that does not know a variable ignores it and passes it on unchanged.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from .elf import LOADERS, TRIPLETS, Elf, elves

PREFIX = "/openhands"
LIB = f"{PREFIX}/lib"


# A base with a FIPS configuration would leave our OpenSSL without ciphers.
OPENSSL = (
    (b"\0OPENSSL_CONF\0", b"\0_PENSSL_CONF\0"),
    (b"\0OPENSSL_MODULES\0", b"\0_PENSSL_MODULES\0"),
    (b"\0OPENSSL_ENGINES\0", b"\0_PENSSL_ENGINES\0"),
)


def padded(path: str, length: int) -> bytes:
    """Pads a path to a length in bytes with trailing slashes, which the kernel ignores.

    Raises:
        ValueError: The path is too long.
    """
    if len(path) > length:
        raise ValueError(f"{path} is longer than {length} bytes")
    return (path + "/" * (length - len(path))).encode()


def strings(arch: str) -> Mapping[str, tuple[tuple[bytes, bytes], ...]]:
    """Returns the strings to replace and their replacements, of equal length, by the file's path below the prefix."""
    triplet = TRIPLETS[arch]
    own = f"{LIB}/"

    def path(old: str, new: str) -> tuple[bytes, bytes]:
        return old.encode(), padded(new, len(old))

    def whole(old: str, new: str) -> tuple[bytes, bytes]:
        return old.encode() + b"\0", padded(new, len(old)) + b"\0"

    return {
        # The built-in search path. Longest first, as the shorter strings are suffixes of the longer ones. /lib/ and
        # /usr/lib/ are too short for one of our paths and become the root folder, which holds no libraries.
        f"lib/{LOADERS[arch]}": (
            whole(f"/usr/lib/{triplet}/", own),
            whole(f"/lib/{triplet}/", own),
            (b"\0/lib/\0", b"\0/////\0"),
            (b"\0/usr/lib/\0", b"\0/////////\0"),
            whole("/etc/ld.so.cache", f"{PREFIX}/.ldso"),
            whole("/etc/ld.so.preload", f"{PREFIX}/preload"),
        ),
        "lib/libc.so.6": (
            path("/usr/lib/locale", f"{PREFIX}/l10n"),
            path(f"/usr/lib/{triplet}/gconv", f"{LIB}/gconv"),
            whole("/etc/nsswitch.conf", f"{PREFIX}/etc/nss"),
            # Only the first letter: the linker may have merged the string "PATH" into the end of one of these.
            (b"\0LOCPATH\0", b"\0_OCPATH\0"),
            (b"\0GCONV_PATH\0", b"\0_CONV_PATH\0"),
        ),
        "lib/libtinfo.so.6": (path("/usr/share/terminfo", f"{PREFIX}/terminfo"),),
        # The base's openssl.cnf is for another OpenSSL. Our ssl module finds its CA certificates (python/adapt.py).
        "lib/libcrypto.so.3": (
            path("/usr/lib/ssl", f"{PREFIX}/s"),
            path(f"/usr/lib/{triplet}/engines-3", f"{LIB}/engines-3"),
            path(f"/usr/lib/{triplet}/ossl-modules", f"{LIB}/ossl-modules"),
            *OPENSSL,
        ),
        "node/bin/node": OPENSSL,
        # The frozen getpath.py uses the name ENV_PYTHONHOME, and getpath.c reads the variable of that name without
        # ENV_. All of our programs run with -E, which ignores the PYTHON* variables. Their children (such as pip's
        # build backends) do not, and PYTHONHOME would keep those from starting at all. The second string is the folder
        # of user packages that the frozen site.py reads before our sitecustomize.py runs: ~/.local belongs to the
        # base's Python.
        "python/bin/python3.13": ((b"ENV_PYTHONHOME", b"ENV_OHPYTHHOME"), (b"\x06.local", b"\x06.ohpip")),
        "git/bin/git": (path("/usr/lib/git-core", f"{PREFIX}/gitexe"),),
    }


# The loop in which the loader looks for variables that begin with LD_ (_dl_next_ld_env_entry in glibc's
# elf/dl-environ.c): three one-byte comparisons, for any registers and jump distances.
LD_LOOP = {
    # cmpb $'L',(r); jne; cmpb $'D',1(r); jne; cmpb $'_',2(r)
    "amd64": re.compile(rb"\x80[\x38-\x3f](L)\x75.\x80[\x78-\x7f]\x01D\x75.\x80[\x78-\x7f]\x02_", re.DOTALL),
    # ldrb w,[x]; cmp w,#'L'; b.ne; ldrb w,[x,#1]; cmp w,#'D'; b.ne; ldrb w,[x,#2]; cmp w,#'_'
    "arm64": re.compile(
        rb"..\x40\x39.([\x30-\x33]\x01)\x71...\x54.[\x04-\x07]\x40\x39.[\x10-\x13]\x01\x71...\x54"
        rb".[\x08-\x0b]\x40\x39.[\x7c-\x7f]\x01\x71",
        re.DOTALL,
    ),
}


def without_ld_variables(data: bytes, arch: str) -> bytes:
    """Makes a loader ignore all LD_* variables: it then looks for a first byte that no variable name has.

    Args:
        data: The loader.
        arch: ``amd64`` or ``arm64``.

    Returns:
        The changed loader.

    Raises:
        ValueError: The loop does not occur exactly once (another version of glibc or of the compiler).
    """
    found = list(LD_LOOP[arch].finditer(data))
    if len(found) != 1:
        raise ValueError(f"the loader's loop over LD_* variables occurs {len(found)} times, not once")
    start, end = found[0].span(1)
    if arch == "amd64":
        return data[:start] + b"\x01" + data[end:]
    # The immediate of `cmp` is in bits 10 to 21. The lowest two bits of the second byte belong to the register.
    return data[:start] + bytes([0x04 | data[start] & 0x03, 0x00]) + data[end:]


def replace(data: bytes, pairs: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Replaces strings by others of the same length.

    Raises:
        ValueError: A string does not occur, or its replacement differs in length.
    """
    for old, new in pairs:
        if len(old) != len(new):
            raise ValueError(f"{old!r} and {new!r} differ in length")
        if old not in data:
            raise ValueError(f"{old!r} does not occur")
        data = data.replace(old, new)
    return data


def inside(entry: str) -> bool:
    """Whether an entry of DT_RPATH or DT_RUNPATH is relative to the file or inside the prefix."""
    return entry.startswith(("$ORIGIN", "${ORIGIN}", PREFIX))


def strays(elf: Elf) -> bool:
    """Whether a library needs one beside it but has no search path, as in wheels repaired by auditwheel."""
    return not (elf.rpath or elf.runpath) and any((elf.path.parent / name).exists() for name in elf.needed)


def commands(elf: Elf, arch: str, patchelf: str) -> list[str]:
    """Returns the patchelf command for one file; empty if nothing needs to change."""
    change: list[str] = []
    if elf.interpreter is None and not (elf.needed or elf.rpath or elf.runpath):
        # Loads nothing. And patchelf destroys programs of this kind, which are static and position independent.
        return []
    loader = f"{LIB}/{LOADERS[arch]}"
    if elf.interpreter is not None and elf.interpreter != loader:
        change += ["--set-interpreter", loader]
    # DT_RPATH instead of DT_RUNPATH: it also applies to libraries that the program opens later by name. Entries
    # relative to the file ($ORIGIN) stay first.
    entries = elf.runpath or elf.rpath
    own = (*(("$ORIGIN",) if strays(elf) else ()), *filter(inside, entries))
    wanted = (*own, LIB) if LIB not in own else own
    if elf.dynamic and (elf.rpath != wanted or elf.runpath):
        change += ["--force-rpath", "--set-rpath", ":".join(wanted)]
    return [patchelf, *change, str(elf.path)] if change else []


def pin(tree: Path, arch: str, *, wheels: bool, patchelf: str = "patchelf") -> int:
    """Pins every ELF file of a tree.

    Args:
        tree: A component's ``/openhands``.
        arch: ``amd64`` or ``arm64``.
        wheels: Change only programs and those libraries that search folders of the machine they were built on, or that
            need neighbours without a search path. All others find each other through ``$ORIGIN``, and the rest through
            the loader's built-in search path, ``/openhands/lib``. The audit verifies this.
        patchelf: The patchelf program.

    Returns:
        How many files were changed.
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
        path = tree / name
        if path.is_file():
            data = replace(path.read_bytes(), pairs)
            path.write_bytes(without_ld_variables(data, arch) if path.name == LOADERS[arch] else data)
            changed += 1
    return changed
