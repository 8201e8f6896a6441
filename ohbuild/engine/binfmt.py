"""Registers QEMU with the kernel (binfmt_misc), so that containers can run another architecture's programs.

Format: https://docs.kernel.org/admin-guide/binfmt-misc.html. Magic and mask are those of Debian's qemu-user-binfmt.
Flags: O passes the program to the interpreter as an open file, C uses the program's credentials (setuid), F opens the
interpreter at registration, so that it also works in containers, which do not contain it.
"""

from __future__ import annotations

import re
from pathlib import Path

from ohbuild.engine.errors import EngineFailed
from ohbuild.process import ask

_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_HEAD = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
# OCI architecture -> (QEMU's name, e_machine in the ELF header, little endian)
_MACHINES = {"arm64": ("aarch64", r"\xb7\x00"), "amd64": ("x86_64", r"\x3e\x00")}


def entry_line(name: str, architecture: str, program: Path) -> str:
    """Returns the line that registers an interpreter."""
    return f":{name}:M::{_HEAD}{_MACHINES[architecture][1]}:{_MASK}:{program}:OCF"


def status(architecture: str) -> str:
    """Returns how programs of an architecture are run: ``enabled``, ``disabled``, ``unfixed`` or ``absent``.

    ``unfixed`` means that the interpreter is registered without flag F, so containers cannot use it.
    """
    names = (f"ohbuild-{architecture}", f"qemu-{_MACHINES[architecture][0]}")
    entry = next((_BINFMT / name for name in names if (_BINFMT / name).exists()), None)
    if entry is None:
        return "absent"
    text = entry.read_text(encoding="utf-8")
    if "disabled" in text.splitlines()[:1]:
        return "disabled"
    return "enabled" if re.search("^flags:.*F", text, re.MULTILINE) else "unfixed"


def register(root: Path, architecture: str) -> bool:
    """Registers QEMU for an architecture, unless containers can already run it.

    Existing entries are left alone. A working entry is used, and a disabled one stays disabled. An entry that
    containers cannot use is overridden by a second one (the kernel tries the latest first).

    Args:
        root: Root file system with QEMU.
        architecture: OCI architecture to emulate.

    Returns:
        Whether QEMU was registered.

    Raises:
        EngineFailed: The kernel does not support binfmt_misc, or does not permit the registration.
    """
    if not (_BINFMT / "register").exists():
        mounted = ask(["mount", "-t", "binfmt_misc", "binfmt_misc", _BINFMT])
        if not mounted.ok:
            raise EngineFailed(
                f"binfmt_misc cannot be mounted: {mounted.err}",
                f"to run linux/{architecture} images, run `modprobe binfmt_misc`, then try again",
            )
    now = status(architecture)
    if now in ("enabled", "disabled"):
        return False
    qemu = f"qemu-{_MACHINES[architecture][0]}"
    line = entry_line(qemu if now == "absent" else f"ohbuild-{architecture}", architecture, root / "usr/bin" / qemu)
    try:
        (_BINFMT / "register").write_text(line, encoding="utf-8")
    except OSError as error:
        raise EngineFailed(
            f"QEMU could not be registered for {architecture}: {error.strerror}",
            f"check that {_BINFMT} is writable; in a container, this requires --privileged",
        ) from error
    return True


def unregister(root: Path) -> list[str]:
    """Removes the entries with an interpreter in this root, and returns their names."""
    gone = []
    for entry in _BINFMT.iterdir() if _BINFMT.is_dir() else ():
        if entry.name in ("register", "status"):
            continue
        program = re.search("^interpreter (.*)", entry.read_text(encoding="utf-8"), re.MULTILINE)
        if program and Path(program[1]).is_relative_to(root):
            entry.write_text("-1", encoding="utf-8")
            gone.append(entry.name)
    return gone
