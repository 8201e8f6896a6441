"""The facts about a file that the audit needs: its metadata and what its content refers to.

A folder in the build and the layers of a finished image (``ohbuild.audit.layers``) are read into the same entries, so
that one set of rules (``audit``) covers both. Nothing else of a file is kept.
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

# How many bytes are read to detect a file's type, and how many of a text file to search it for paths.
HEAD = 4096
TEXT_LIMIT = 1 << 20
ELF_MAGIC = b"\x7fELF"
_ELF_RUNNABLE = (2, 3)  # ET_EXEC, ET_DYN
_SITE = ("site-packages", "dist-packages")
_CAPABILITY = "security.capability"


@dataclass(frozen=True, kw_only=True)
class Content:
    """What the content of a file refers to.

    Attributes:
        elf: The loader's view of an ELF program or library.
        broken: Whether it starts like an ELF program or library but cannot be parsed.
        foreign: The operating system, if it is a program for another one than Linux: ``Windows`` or ``macOS``.
        script: The interpreter in its shebang.
        program: The program that a configuration file runs (Jupyter kernel, virtual environment).
        paths: Paths that Python or pip reads because of it (.pth, egg-link, direct_url.json), relative to its folder.
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

    Attributes:
        kind: Its type. ``link`` is a symlink, ``device`` anything that is not listed.
        mode: Permission bits, including setuid, setgid and sticky.
        owner: UID and GID; None if they say nothing about the owner in the image.
        target: The target of a symlink or hard link.
        capabilities: Whether it has file capabilities (capabilities(7)).
        size: Bytes.
        content: What the content refers to; None if it was not read.
    """

    kind: Literal["folder", "file", "link", "hard link", "device"]
    mode: int = 0o755
    owner: tuple[int, int] | None = None
    target: str = ""
    capabilities: bool = False
    size: int = 0
    content: Content | None = None


def is_text(name: str) -> bool:
    """Whether the path is that of a text file that ``content`` searches for programs and paths."""
    base = name.rpartition("/")[2]
    return base in ("pyvenv.cfg", "direct_url.json", "kernel.json") or base.endswith((".pth", ".egg-link"))


def needs_all(name: str, head: bytes) -> bool:
    """Whether ``content`` needs more of a file than its first ``HEAD`` bytes."""
    return head.startswith(ELF_MAGIC) or is_text(name)


def content(name: str, stream: BinaryIO) -> Content:
    """Reads what the content of a file refers to.

    Args:
        name: The path.
        stream: A seekable stream at its start. The first ``HEAD`` bytes are enough unless ``needs_all``.
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
    """Returns the interpreter as Linux parses it (fs/binfmt_script.c): the first word in the line's first 255 bytes."""
    words = head[2:256].split(b"\n")[0].strip(b" \t").replace(b"\t", b" ").split(b" ")
    return words[0].decode(errors="replace")


def foreign(head: bytes) -> str:
    """Detects programs for macOS (Mach-O: ``mach-o/loader.h``, ``mach-o/fat.h``) and Windows (PE/COFF).

    Returns:
        ``macOS``, ``Windows`` or an empty string.
    """
    if head[:4] in (b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xfe\xed\xfa\xcf", b"\xfe\xed\xfa\xce"):
        return "macOS"
    # Java class files share this magic. Next is their version, at least 45, where Mach-O has the number of programs.
    if head[:4] in (b"\xca\xfe\xba\xbe", b"\xca\xfe\xba\xbf") and 0 < int.from_bytes(head[4:8], "big") < 40:
        return "macOS"
    if head[:2] == b"MZ" and len(head) >= 64:
        at = int.from_bytes(head[60:64], "little")
        if head[at : at + 4] == b"PE\0\0" and not _is_dotnet(head[at + 24 :]):
            return "Windows"
    return ""


def _is_dotnet(header: bytes) -> bool:
    """Whether the PE optional header has a CLI header (ECMA-335, II.25.2.3.3): .NET code runs on any system."""
    directories = {b"\x0b\x01": 96, b"\x0b\x02": 112}.get(header[:2], len(header))
    return any(header[directories + 14 * 8 : directories + 15 * 8])


def program(name: str, text: str) -> str:
    """Returns the program that runs a Jupyter kernel or a virtual environment; empty unless it is an absolute path."""
    base = name.rpartition("/")[2]
    found = ""
    if base == "pyvenv.cfg":
        keys = dict(re.findall(r"^\s*([\w-]+)\s*=\s*(.*?)\s*$", text, re.MULTILINE))
        found = keys.get("executable") or keys.get("home", "")
    elif base == "kernel.json":
        found = next(iter(_strings(text, "argv")), "")
    return found if found.startswith("/") else ""


def paths(name: str, text: str) -> Iterator[str]:
    """Yields the paths that Python or pip reads because of a file (https://docs.python.org/3/library/site.html)."""
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
    """The value of a key in a JSON object, a string or a list of strings. Invalid JSON gives an empty list."""
    try:
        data = json.loads(text)
    except ValueError:
        return []
    value = data.get(key) if isinstance(data, dict) else None
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]


def read_folder(root: Path, *, contents: bool = True) -> Mapping[str, Entry]:
    """Reads the entries of a folder.

    Args:
        root: The folder.
        contents: Whether to read the contents of files too.

    Returns:
        The entries by their path below the folder. The folder itself is the empty path.
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
    # Only root can change owners, so for anybody else they say nothing about the image.
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
    with contextlib.suppress(OSError):  # no extended attributes, so no capabilities
        capabilities = _CAPABILITY in os.listxattr(path)
    return Entry(kind="file", mode=mode, owner=owner, capabilities=capabilities, size=status.st_size, content=found)
