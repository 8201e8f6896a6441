"""Creates missing files, folders and entries. Never replaces the base's files, and tolerates each failure."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import _openhands

from . import accounts, passed
from .accounts import Account
from .environment import remember

BASH = "/openhands/bin/bash"
BUSYBOX = "/openhands/libexec/busybox"
OURS = "/openhands/bin:/openhands/fallback"
PATH = f"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{OURS}"
# This name means that the user has no home on purpose (Debian Policy 9.2.3).
NO_HOME = "/nonexistent"
NAME = "openhands"
PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
LOCALHOST = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder to create.

    Attributes:
        path: Its path.
        mode: Its mode.
    """

    path: str
    mode: int


@dataclass(frozen=True, kw_only=True)
class Link:
    """A symlink to create.

    Attributes:
        path: Its path.
        target: Its target.
    """

    path: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The facts that decide what to do.

    Attributes:
        uid: The UID of the process.
        environ: Its environment.
        exists: Checks whether a path exists. A dangling symlink counts.
        writable: Checks whether a path is a folder in which the process may create files.
    """

    uid: int
    environ: Mapping[str, str]
    exists: Callable[[str], bool]
    writable: Callable[[str], bool]


def missing(facts: Facts) -> list[Folder | Link]:
    """Returns the missing folders and symlinks that root creates; nobody else may.

    The base's own scripts and programs rely on them: ``#!/bin/sh``, ``#!/usr/bin/env python3``, a temporary folder.
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
    """Returns the variables in which our own processes must differ from the base.

    Args:
        facts: The facts.
        substitute: Creates a home below the state folder and returns its path. Called only if needed.
    """
    environ = facts.environ
    changes: dict[str, str] = {}
    if not environ.get("PATH", ""):
        changes["PATH"] = PATH
    temporary = temporary_folder(facts)
    if temporary != environ.get("TMPDIR", "/tmp"):
        changes["TMPDIR"] = temporary
    # tmux creates its socket in TMUX_TMPDIR, not in TMPDIR.
    if not facts.writable(environ.get("TMUX_TMPDIR", "/tmp")):
        changes["TMUX_TMPDIR"] = temporary
    if not facts.writable(environ.get("HOME", "")):
        changes["HOME"] = substitute()
    if any(environ.get(name) for name in PROXIES):
        # The server asks its own helpers, such as the browser, by HTTP.
        exempt = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
        here = [name for name in LOCALHOST if name not in exempt.split(",")]
        if exempt != "*":
            changes |= dict.fromkeys(("no_proxy", "NO_PROXY"), ",".join(filter(None, [exempt, *here])))
    # By default, OpenHands stores the browser's downloads below /workspace (browser_env.py).
    if "BROWSERGYM_DOWNLOAD_DIR" not in environ and not facts.writable("/workspace"):
        changes["BROWSERGYM_DOWNLOAD_DIR"] = f"{temporary}/openhands-{facts.uid}/downloads"
    return changes


def temporary_folder(facts: Facts) -> str:
    """Returns the first writable folder for temporary files; /tmp if there is none."""
    for folder in (facts.environ.get("TMPDIR", ""), "/tmp", "/var/tmp", "/dev/shm", facts.environ.get("HOME", "")):
        if facts.writable(folder):
            return folder
    return "/tmp"


def own_account(accounts_known: list[Account], facts: Facts, gid: int) -> Account | None:
    """Returns the missing /etc/passwd entry of the process's user; None if there is one.

    Args:
        accounts_known: The entries of /etc/passwd.
        facts: The facts.
        gid: The GID of the process.
    """
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
    """Creates a folder if it is missing. Checks whether it is a real folder that only this user may write."""
    try:
        Path(path).mkdir(mode=0o700, exist_ok=True)
        status = Path(path).lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def substitute_home() -> str:
    """Creates a home for our own processes, for when the user's is unusable."""
    own: str = _openhands.temporary(os.geteuid())
    if own_folder(own) and own_folder(f"{own}/home"):
        return f"{own}/home"
    try:
        return tempfile.mkdtemp(prefix="openhands-home-")
    except OSError:
        return own


def writable(path: str) -> bool:
    """Whether a path is a folder in which the process may create files."""
    return path.startswith("/") and Path(path).is_dir() and os.access(path, os.W_OK | os.X_OK)


def facts() -> Facts:
    """Returns the current facts."""
    return Facts(uid=os.geteuid(), environ=dict(os.environ), exists=os.path.lexists, writable=writable)


def say(message: str) -> None:
    """Prints a message to the container's log."""
    print(f"oh-runtime: {message}", file=sys.stderr, flush=True)


def softly(act: Callable[..., object], *arguments: object) -> None:
    """Calls a function and logs an OSError instead of raising it: the server works without its result."""
    try:
        act(*arguments)
    except OSError as error:
        say(f"{getattr(act, '__name__', act)}: {error}")


def make(thing: Folder | Link) -> None:
    """Creates a folder or a symlink, and its parent folders.

    Raises:
        OSError: It cannot be created, for example on a read-only root file system.
    """
    path = Path(thing.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(thing, Link):
        path.symlink_to(thing.target)
    else:
        path.mkdir()
        # mkdir applies the umask.
        path.chmod(thing.mode)


def add_own_account(root: Path = Path("/")) -> None:
    """Adds an entry for the process's user if it is missing and /etc/passwd is writable.

    Raises:
        OSError: A file cannot be written although it seemed writable.
    """
    passwd = root / "etc/passwd"
    able = os.access(passwd, os.W_OK) if passwd.exists() else os.geteuid() == 0
    entry = own_account(accounts.parse(accounts.read(passwd)), facts(), os.getegid())
    if able and entry:
        accounts.add(entry, root=root)


def start() -> None:
    """Prepares the container and the environment of this process and its children. A second call changes nothing."""
    for thing in missing(facts()):
        softly(make, thing)
    softly(add_own_account)
    remember(os.environ)
    passed.reduce(os.environ)
    os.environ.update(adjustments(facts(), substitute_home))
    # Python may have cached its folder for temporary files before there was a usable one.
    tempfile.tempdir = None
