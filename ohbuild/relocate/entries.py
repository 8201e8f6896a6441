"""What the audit has to know of one file: its entry in a folder or in a layer, and what its content states.

A folder of the build and the layers of a finished image (``ohbuild.audit.layers``) are read into the same entries, so
that one set of rules (``audit``) judges both. Nothing but these facts is kept of a file.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal
from urllib.parse import unquote, urlsplit

from .elf import Elf, parse

# The first bytes of a file, in which its kind is told; and the size up to which a text is read for the paths in it.
HEAD = 4096
TEXT_LIMIT = 1 << 20
ELF_MAGIC = b"\x7fELF"
_ELF_RUNNABLE = (2, 3)  # ET_EXEC, ET_DYN
_SITE = ("site-packages", "dist-packages")
_CAPABILITY = "security.capability"


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a file states.

    Args:
        elf: its loader's view, if it is an ELF program or library.
        broken: it begins like an ELF program or library, and cannot be read as one.
        foreign: the system that it is a program of, if it is not Linux: ``Windows``, ``macOS``.
        script: the interpreter in its shebang.
        program: the program by which a configuration file has something started (a Jupyter kernel, a virtual
            environment).
        paths: paths that are looked into because of it (.pth, egg-link, direct_url.json); relative to its folder.
    """

    elf: Elf | None = None
    broken: bool = False
    foreign: str = ""
    script: str = ""
    program: str = ""
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file, folder or link.

    Args:
        mode: permission bits, with setuid, setgid and sticky.
        owner: user and group id; None where they tell nothing about the image.
        target: what a link leads to, or the path of the file that a hard link is another name of.
        capabilities: it has file capabilities (capabilities(7)).
        size: bytes.
        content: None where it was not looked at.
    """

    kind: Literal["folder", "file", "link", "hard link", "device"]
    mode: int = 0o755
    owner: tuple[int, int] | None = None
    target: str = ""
    capabilities: bool = False
    size: int = 0
    content: Content | None = None


def is_text(name: str) -> bool:
    """Whether a file, by its path, may be one of those in which ``content`` looks for paths."""
    base = name.rpartition("/")[2]
    return base in ("pyvenv.cfg", "direct_url.json", "kernel.json") or base.endswith((".pth", ".egg-link"))


def needs_all(name: str, head: bytes) -> bool:
    """Whether ``content`` has to see more of a file than its first ``HEAD`` bytes."""
    return head.startswith(ELF_MAGIC) or is_text(name)


def content(name: str, stream: BinaryIO) -> Content:
    """What a file states.

    Args:
        name: its path.
        stream: seekable, at its start. The first ``HEAD`` bytes suffice, unless ``needs_all``.
    """
    head = stream.read(HEAD)
    if head.startswith(ELF_MAGIC):
        stream.seek(0)
        elf = parse(stream, Path(name))
        kind = struct.unpack(">H" if head[5:6] == b"\2" else "<H", head[16:18].ljust(2, b"\0"))[0]
        return Content(elf=elf, broken=elf is None and kind in _ELF_RUNNABLE)
    if head.startswith(b"#!"):
        return Content(script=shebang(head))
    if system := foreign(head):
        return Content(foreign=system)
    if is_text(name):
        text = (head + stream.read(TEXT_LIMIT)).decode(errors="replace")
        return Content(program=program(name, text), paths=tuple(paths(name, text)))
    return NOTHING


NOTHING = Content()


def shebang(head: bytes) -> str:
    """The interpreter as Linux reads it (fs/binfmt_script.c): up to a blank, in the first line's 255 bytes."""
    words = head[2:256].split(b"\n")[0].strip(b" \t").replace(b"\t", b" ").split(b" ")
    return words[0].decode(errors="replace")


def foreign(head: bytes) -> str:
    """The other system whose program this is: Mach-O (``mach-o/loader.h``, ``mach-o/fat.h``) and PE/COFF."""
    if head[:4] in (b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xfe\xed\xfa\xcf", b"\xfe\xed\xfa\xce"):
        return "macOS"
    # A Java class begins alike; what follows is its version, 45 or more, where Mach-O has the number of programs.
    if head[:4] in (b"\xca\xfe\xba\xbe", b"\xca\xfe\xba\xbf") and 0 < int.from_bytes(head[4:8], "big") < 40:
        return "macOS"
    if head[:2] == b"MZ" and len(head) >= 64:
        at = int.from_bytes(head[60:64], "little")
        if head[at : at + 4] == b"PE\0\0" and not _is_dotnet(head[at + 24 :]):
            return "Windows"
    return ""


def _is_dotnet(header: bytes) -> bool:
    """Whether PE's optional header has a CLI header (ECMA-335, II.25.2.3.3): such a library runs anywhere."""
    directories = {b"\x0b\x01": 96, b"\x0b\x02": 112}.get(header[:2], len(header))
    return any(header[directories + 14 * 8 : directories + 15 * 8])


def program(name: str, text: str) -> str:
    """The program that a Jupyter kernel or a virtual environment is started by; empty if it is none by a full path."""
    base = name.rpartition("/")[2]
    found = ""
    if base == "pyvenv.cfg":
        keys = dict(re.findall(r"^\s*([\w-]+)\s*=\s*(.*?)\s*$", text, re.MULTILINE))
        found = keys.get("executable") or keys.get("home", "")
    elif base == "kernel.json":
        found = next(iter(_strings(text, "argv")), "")
    return found if found.startswith("/") else ""


def paths(name: str, text: str) -> Iterator[str]:
    """The paths that Python or pip looks into because of a file (https://docs.python.org/3/library/site.html)."""
    folder, _, base = name.rpartition("/")
    if base.endswith(".pth") and folder.rpartition("/")[2] in _SITE:
        for line in text.splitlines():
            if line.strip() and not line.startswith(("#", "import ", "import\t")):
                yield line.strip()
    elif base.endswith(".egg-link"):
        yield from text.splitlines()[:1]
    elif base == "direct_url.json":
        # https://packaging.python.org/en/latest/specifications/direct-url/
        for url in _strings(text, "url"):
            if url.startswith("file:"):
                yield unquote(urlsplit(url).path)


def _strings(text: str, key: str) -> list[str]:
    """A string, or a list of them, in a JSON object."""
    try:
        data = json.loads(text)
    except ValueError:
        return []
    value = data.get(key) if isinstance(data, dict) else None
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]


def read_folder(root: Path, *, contents: bool = True) -> Mapping[str, Entry]:
    """The entries of a folder by their path below it; its own is the empty path.

    Args:
        contents: look into the files too.
    """
    found = {"": _entry(root, "", contents=contents)}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder) / name
            inside = str(PurePosixPath(path.relative_to(root)))
            found[inside] = _entry(path, inside, contents=contents)
    return found


def _entry(path: Path, name: str, *, contents: bool) -> Entry:
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    # Only root can give files away, so only its trees tell who will own them.
    owner = (status.st_uid, status.st_gid) if os.geteuid() == 0 else None
    if stat.S_ISLNK(status.st_mode):
        return Entry(kind="link", owner=owner, target=str(path.readlink()))
    if stat.S_ISDIR(status.st_mode):
        return Entry(kind="folder", mode=mode, owner=owner)
    if not stat.S_ISREG(status.st_mode):
        return Entry(kind="device", mode=mode, owner=owner)
    found: Content | None = None
    if contents:
        with path.open("rb") as stream:
            found = content(name, stream)
    capabilities = False
    with contextlib.suppress(OSError):  # a file system without extended attributes has no capabilities either
        capabilities = _CAPABILITY in os.listxattr(path)
    return Entry(kind="file", mode=mode, owner=owner, capabilities=capabilities, size=status.st_size, content=found)
