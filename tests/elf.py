"""Writes tiny ELF files for the tests: a header, the relevant program headers, a dynamic section, no code."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

MACHINES = {"amd64": 62, "arm64": 183}
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_GNU_STACK = 1, 2, 3, 0x6474E551
DT_NULL, DT_NEEDED, DT_STRTAB, DT_STRSZ, DT_RPATH, DT_RUNPATH = 0, 1, 5, 10, 15, 29
HEADER, PROGRAM = 64, 56


def write(
    path: Path,
    *,
    arch: str = "amd64",
    interpreter: str | None = None,
    needed: Sequence[str] = (),
    rpath: str | None = None,
    runpath: str | None = None,
    executable_stack: bool = False,
    mode: int = 0o755,
    gap: int = 0,
) -> Path:
    """Writes one little-endian ELF64 file (System V gABI, chapters 4 and 5).

    Args:
        path: The file to write.
        arch: ``amd64`` or ``arm64``.
        interpreter: PT_INTERP; none by default.
        needed: DT_NEEDED.
        rpath: DT_RPATH; none by default.
        runpath: DT_RUNPATH; none by default.
        executable_stack: Whether PT_GNU_STACK requests an executable stack.
        mode: The file's mode.
        gap: The number of zero bytes between the headers and the content.

    Returns:
        The path.
    """
    strings = b"\0"

    def offset(text: str) -> int:
        nonlocal strings
        strings += text.encode() + b"\0"
        return len(strings) - len(text.encode()) - 1

    tags = [(DT_NEEDED, offset(name)) for name in needed]
    tags += [(DT_RPATH, offset(rpath))] if rpath is not None else []
    tags += [(DT_RUNPATH, offset(runpath))] if runpath is not None else []
    count = 3 + (interpreter is not None)
    start = HEADER + PROGRAM * count + gap
    interp = (interpreter.encode() + b"\0") if interpreter is not None else b""
    table = start + len(interp)
    dynamic = table + len(strings)
    tags += [(DT_STRTAB, table), (DT_STRSZ, len(strings)), (DT_NULL, 0)]
    body = interp + strings + b"".join(struct.pack("<QQ", *tag) for tag in tags)
    end = start + len(body)

    def program(kind: int, flags: int, at: int, size: int) -> bytes:
        return struct.pack("<IIQQQQQQ", kind, flags, at, at, at, size, size, 8)

    headers = [program(PT_LOAD, 5, 0, end), program(PT_DYNAMIC, 6, dynamic, 16 * len(tags))]
    headers.append(program(PT_GNU_STACK, 7 if executable_stack else 6, 0, 0))
    if interpreter is not None:
        headers.append(program(PT_INTERP, 4, start, len(interp)))
    ident = b"\x7fELF" + bytes([2, 1, 1, 0]) + bytes(8)
    header = ident + struct.pack(
        "<HHIQQQIHHHHHH", 3, MACHINES[arch], 1, 0, HEADER, 0, 0, HEADER, PROGRAM, count, 64, 0, 0
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + b"".join(headers) + bytes(gap) + body)
    path.chmod(mode)
    return path
