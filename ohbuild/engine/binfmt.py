"""Lets this machine run the other architecture's programs through QEMU (binfmt_misc).

Format: https://docs.kernel.org/admin-guide/binfmt-misc.html. Magic and mask as in Debian's qemu-user-binfmt.
Flags: O opens the program for the interpreter, C takes the credentials of the program (setuid), F opens the
interpreter now, so that it serves containers, which do not have it.
"""

from __future__ import annotations

import re
from pathlib import Path

from ohbuild.engine.errors import EngineFailed
from ohbuild.process import ask

_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_HEAD = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
# OCI architecture -> (QEMU's name for it, e_machine in the ELF header, little endian)
_MACHINES = {"arm64": ("aarch64", r"\xb7\x00"), "amd64": ("x86_64", r"\x3e\x00")}


def entry_line(name: str, architecture: str, program: Path) -> str:
    """The line that registers an interpreter."""
    return f":{name}:M::{_HEAD}{_MACHINES[architecture][1]}:{_MASK}:{program}:OCF"


def status(architecture: str) -> str:
    """How the machine runs the architecture's programs: `enabled`, `disabled`, `unfixed` or `absent`.

    `unfixed` is an interpreter without flag F, which containers cannot use.
    """
    names = (f"ohbuild-{architecture}", f"qemu-{_MACHINES[architecture][0]}")
    entry = next((_BINFMT / name for name in names if (_BINFMT / name).exists()), None)
    if entry is None:
        return "absent"
    text = entry.read_text()
    if "disabled" in text.splitlines()[:1]:
        return "disabled"
    return "enabled" if re.search("^flags:.*F", text, re.MULTILINE) else "unfixed"


def register(root: Path, architecture: str) -> bool:
    """See to it that containers can run the architecture; whether something had to be registered.

    An entry that somebody else made is left alone: one that works is used, one that was switched off stays off,
    one that containers cannot use is overruled by a second one (the kernel tries the latest first).

    Raises:
        EngineFailed: the kernel has no binfmt_misc, or we may not use it.
    """
    if not (_BINFMT / "register").exists():
        mounted = ask(["mount", "-t", "binfmt_misc", "binfmt_misc", _BINFMT])
        if not mounted.ok:
            raise EngineFailed(
                f"binfmt_misc cannot be mounted: {mounted.err}",
                "linux/arm64 images need it to run: load the kernel's module (modprobe binfmt_misc) and try again",
            )
    now = status(architecture)
    if now in ("enabled", "disabled"):
        return False
    qemu = f"qemu-{_MACHINES[architecture][0]}"
    line = entry_line(qemu if now == "absent" else f"ohbuild-{architecture}", architecture, root / "usr/bin" / qemu)
    try:
        (_BINFMT / "register").write_text(line)
    except OSError as error:
        raise EngineFailed(
            f"QEMU could not be registered for {architecture}: {error.strerror}",
            f"see whether {_BINFMT} is writable (a container without privileges may not)",
        ) from error
    return True


def unregister(root: Path) -> list[str]:
    """Take away the entries that lead into this root; their names."""
    gone = []
    for entry in _BINFMT.iterdir() if _BINFMT.is_dir() else ():
        if entry.name in ("register", "status"):
            continue
        program = re.search("^interpreter (.*)", entry.read_text(), re.MULTILINE)
        if program and Path(program[1]).is_relative_to(root):
            entry.write_text("-1")
            gone.append(entry.name)
    return gone
