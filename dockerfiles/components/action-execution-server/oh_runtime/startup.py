"""Makes what is missing and can be made, never over a file that the base has; each thing may fail by itself."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import _openhands

from . import accounts
from .accounts import Account
from .environment import INSIDE_TMUX, remember

BASH = "/openhands/bin/bash"
BUSYBOX = "/openhands/libexec/busybox"
OURS = "/openhands/bin:/openhands/fallback"
PATH = f"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{OURS}"
# A home by this name is a statement (Debian's Policy 9.2.3), not an oversight.
NO_HOME = "/nonexistent"
NAME = "openhands"


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder to make."""

    path: str
    mode: int


@dataclass(frozen=True, kw_only=True)
class Link:
    """A symbolic link to make."""

    path: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the decisions rest on.

    Args:
        uid: the number of the process's user.
        environ: its environment.
        exists: whether there is a file or folder of that path, a dangling link included.
        writable: whether that path is a folder in which the process may make files.
    """

    uid: int
    environ: Mapping[str, str]
    exists: Callable[[str], bool]
    writable: Callable[[str], bool]


def missing(facts: Facts) -> list[Folder | Link]:
    """What root makes, as nobody else may.

    A base's own scripts and programs count on these: ``#!/bin/sh``, ``#!/usr/bin/env python3``, a temporary folder.
    """
    if facts.uid != 0:
        return []
    wanted: list[Folder | Link] = [
        Folder(path="/tmp", mode=0o1777),
        Link(path="/bin/sh", target=BASH),
        Link(path="/usr/bin/env", target=BUSYBOX),
    ]
    home = facts.environ.get("HOME", "")
    if home.startswith("/") and not f"{home}/".startswith(f"{NO_HOME}/"):
        wanted.append(Folder(path=home, mode=0o700))
    return [thing for thing in wanted if not facts.exists(thing.path)]


def adjustments(facts: Facts, substitute: Callable[[], str]) -> dict[str, str]:
    """The variables that our own processes need to differ from the base's.

    Args:
        substitute: makes a home below the state folder and returns its path; asked only if need be.
    """
    environ = facts.environ
    changes: dict[str, str] = {}
    if not environ.get("PATH", ""):
        changes["PATH"] = PATH
    temporary = temporary_folder(facts)
    if temporary != environ.get("TMPDIR", "/tmp"):
        changes["TMPDIR"] = temporary
    # tmux asks this, and not TMPDIR, for the folder of its socket.
    if not facts.writable(environ.get("TMUX_TMPDIR", "/tmp")):
        changes["TMUX_TMPDIR"] = temporary
    if not facts.writable(environ.get("HOME", "")):
        changes["HOME"] = substitute()
    # Where OpenHands keeps what the browser loads down, unless told otherwise (browser_env.py).
    if "BROWSERGYM_DOWNLOAD_DIR" not in environ and not facts.writable("/workspace"):
        changes["BROWSERGYM_DOWNLOAD_DIR"] = f"{temporary}/openhands-{facts.uid}/downloads"
    return changes


def temporary_folder(facts: Facts) -> str:
    """The first folder for temporary files that can be written; /tmp if none can."""
    for folder in (facts.environ.get("TMPDIR", ""), "/tmp", "/var/tmp", "/dev/shm", facts.environ.get("HOME", "")):
        if facts.writable(folder):
            return folder
    return "/tmp"


def own_account(accounts_known: list[Account], facts: Facts, gid: int) -> Account | None:
    """The entry that /etc/passwd lacks for the process's user, or None if it has one."""
    if any(account.uid == facts.uid for account in accounts_known):
        return None
    names = {account.name for account in accounts_known}
    name = "root" if facts.uid == 0 else NAME
    if name in names:
        name = f"user{facts.uid}"
    home = facts.environ.get("HOME", "")
    shells = [shell for shell in ("/bin/bash", "/bin/sh") if facts.exists(shell)]
    home = home if home.startswith("/") and ":" not in home and "\n" not in home else "/"
    return Account(name=name, uid=facts.uid, gid=gid, home=home, shell=[*shells, BASH][0])


def own_folder(path: str) -> bool:
    """Whether a folder that only this user may write is there, made if it was not. A link is none."""
    try:
        Path(path).mkdir(mode=0o700, exist_ok=True)
        status = Path(path).lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def substitute_home() -> str:
    """A home for our own processes where the user's cannot be used."""
    own: str = _openhands.temporary(os.geteuid())
    if own_folder(own) and own_folder(f"{own}/home"):
        return f"{own}/home"
    try:
        return tempfile.mkdtemp(prefix="openhands-home-")
    except OSError:
        return own


def writable(path: str) -> bool:
    """Whether the process may make files in a folder."""
    return path.startswith("/") and Path(path).is_dir() and os.access(path, os.W_OK | os.X_OK)


def facts() -> Facts:
    """What holds now."""
    return Facts(uid=os.geteuid(), environ=dict(os.environ), exists=os.path.lexists, writable=writable)


def say(message: str) -> None:
    """A line for whoever reads the container's log."""
    print(f"oh-runtime: {message}", file=sys.stderr, flush=True)


def softly(act: Callable[..., object], *arguments: object) -> None:
    """Does something that the server can do without."""
    try:
        act(*arguments)
    except OSError as error:
        say(f"{getattr(act, '__name__', act)}: {error}")


def make(thing: Folder | Link) -> None:
    """Makes a folder or a link, and the folders above it.

    Raises:
        OSError: it cannot be made, as on a read-only root file system.
    """
    path = Path(thing.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(thing, Link):
        path.symlink_to(thing.target)
    else:
        path.mkdir()
        # Past the umask.
        path.chmod(thing.mode)


def add_own_account(root: Path = Path("/")) -> None:
    """Adds the entry for the process's user where /etc/passwd lacks it and can be written.

    Raises:
        OSError: a file cannot be written though it looked so.
    """
    passwd = root / "etc/passwd"
    able = os.access(passwd, os.W_OK) if passwd.exists() else os.geteuid() == 0
    entry = own_account(accounts.parse(accounts.read(passwd)), facts(), os.getegid())
    if able and entry:
        accounts.add(entry, root=root)


def start() -> None:
    """The whole of it, for this process and its children; a second time it finds nothing left to do."""
    for thing in missing(facts()):
        softly(make, thing)
    softly(add_own_account)
    remember(os.environ)
    for name in INSIDE_TMUX:
        os.environ.pop(name, None)
    os.environ.update(adjustments(facts(), substitute_home))
    # Python may have chosen its folder for temporary files before there was one.
    tempfile.tempdir = None
