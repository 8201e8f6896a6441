"""Inspects a root file system (a folder or a tar archive) before it becomes an image."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ohbuild.errors import UsageError

# e_machine in the ELF header (elf(5), from byte 18, little endian) -> OCI architecture
_MACHINES = {62: "amd64", 183: "arm64", 3: "386", 40: "arm", 243: "riscv64", 21: "ppc64le", 22: "s390x"}
_TOP = {"bin", "usr", "etc", "lib", "lib64", "sbin"}
_BASHES = {"bin/bash", "usr/bin/bash"}
_SHELLS = {"bin/sh", "usr/bin/sh"}
_HINT = "pass a folder or a tar archive (plain or gzip) with bin, etc, usr, … at its top level"


@dataclass(frozen=True)
class RootFs:
    """The properties of a root file system.

    Attributes:
        architecture: OCI architecture of its programs; empty if it has none.
        shell: Default command for containers; empty if it has no shell.
    """

    architecture: str
    shell: str


def look(source: Path) -> RootFs:
    """Inspects a root file system.

    Raises:
        UsageError: It is not a root file system, or cannot be read.
    """
    if source.is_dir():
        return _judge(source, _folder(source))
    if not source.is_file():
        raise UsageError(f"--from {source}: no such file or folder", _HINT)
    try:
        with tarfile.open(source, "r|*") as tar:
            found = _judge(source, _tar(tar))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UsageError(f"--from {source}: not a readable tar archive ({error})", _HINT) from error
    with source.open("rb") as file:
        head = file.read(6)
    if head.startswith(b"BZh") or head == b"\xfd7zXZ\x00":
        raise UsageError(f"--from {source}: neither a plain nor a gzip tar archive", "decompress it first")
    return found


def _judge(source: Path, entries: Iterator[tuple[str, bytes]]) -> RootFs:
    names: set[str] = set()
    architecture = ""
    for name, head in entries:
        names.add(name)
        if not architecture and head[:4] == b"\x7fELF":
            architecture = _MACHINES.get(int.from_bytes(head[18:20], "little"), "unknown")
    tops = {name.split("/")[0] for name in names}
    if "manifest.json" in tops or "oci-layout" in tops:
        raise UsageError(
            f"--from {source}: an image archive, not a root file system", f"load it with `docker load -i {source}`"
        )
    if not tops & _TOP:
        raise UsageError(f"--from {source}: not a root file system", _HINT)
    # bin may be a symlink to usr/bin, and so may the shells
    shell = "bash" if names & _BASHES else "/bin/sh" if names & _SHELLS else ""
    return RootFs(architecture, shell)


def _tar(tar: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for member in tar:
        name = member.name.removeprefix("./").strip("/")
        if not name or name == ".":
            continue
        may_be_program = name.split("/")[-2:-1] in (["bin"], ["sbin"]) or ".so" in name
        file = tar.extractfile(member) if member.isreg() and may_be_program else None
        yield name, file.read(20) if file else b""


def _folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir()):
        yield entry.name, b""
    for place in ("bin", "sbin", "usr/bin", "usr/sbin", "lib", "usr/lib", "usr/local/bin"):
        inside = folder / place
        if not inside.is_dir() or (place in ("bin", "sbin", "lib") and inside.is_symlink()):
            continue
        for entry in sorted(inside.iterdir()):
            head = b""
            if entry.is_file() and not entry.is_symlink():
                with entry.open("rb") as file:
                    head = file.read(20)
            yield f"{place}/{entry.name}", head
