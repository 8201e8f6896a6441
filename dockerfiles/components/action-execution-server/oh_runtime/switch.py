"""Switches to another user and runs a command in the base's environment, like ``su`` but without the base's ``su``.

    oh-as [--login] USER [COMMAND…]

USER is ``NAME``, ``NUMBER`` or ``NAME:NUMBER``: the account with that name in /etc/passwd, otherwise the one with that
UID, otherwise the UID without an account. Without COMMAND it runs bash: the base's own if it works, otherwise ours. The
command gets the base's environment, without the changes for our own processes. For another user, ``HOME``, ``USER``,
``LOGNAME`` and ``SHELL`` are those of that user. With ``--login``, only these, ``PATH`` and ``TERM`` are set. If the
process already runs as USER, or may not switch, it keeps its own user.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from oh_container import accounts
from oh_container.accounts import Account
from oh_container.environment import TERMINAL, base
from oh_container.first import execute
from oh_container.shells import bash, is_bash
from oh_container.startup import BASH, PATH, say

USAGE = "usage: oh-as [--login] USER [COMMAND…]"
# linux/capability.h
CAP_SETGID, CAP_SETUID = 6, 7
KEPT_AT_LOGIN = ("PATH", "TERM")


def target(user: str, known: list[Account]) -> Account:
    """Returns the account for USER.

    Args:
        user: ``NAME``, ``NUMBER`` or ``NAME:NUMBER``.
        known: The entries of /etc/passwd.

    Raises:
        ValueError: The name is unknown and there is no number.
    """
    name, _, number = user.partition(":")
    number = number or name
    uid = int(number) if number.isdecimal() else None
    found = accounts.find(known, name=name, uid=uid)
    if found:
        return found
    if uid is None:
        raise ValueError(f"unknown user {name!r}")
    return Account(name=name, uid=uid, gid=0, home="/", shell=BASH)


def environment(
    environ: Mapping[str, str], account: Account, *, switched: bool, login: bool, shell: str
) -> dict[str, str]:
    """Returns the command's environment.

    Args:
        environ: The base's environment.
        account: The account that the command runs as.
        switched: Whether that is another user than the one the base's environment is for.
        login: Whether to start with a fresh environment.
        shell: The value of ``SHELL``.
    """
    if not switched and not login:
        return dict(environ)
    kept = {name: environ[name] for name in KEPT_AT_LOGIN if name in environ} if login else dict(environ)
    kept.setdefault("PATH", PATH)
    return {**kept, "HOME": account.home, "USER": account.name, "LOGNAME": account.name, "SHELL": shell}


def able(status: str) -> bool:
    """Whether a process may switch to another user, by the text of its /proc/self/status (proc_pid_status(5))."""
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            held = int(value, 16)
            return bool(held >> CAP_SETUID & 1 and held >> CAP_SETGID & 1)
    return False


def is_shell(program: str) -> bool:
    """Whether an account's shell can run commands."""
    return os.access(program, os.X_OK) and not program.endswith(("/nologin", "/false"))


def become(account: Account) -> None:
    """Switches the process to an account's groups and UID.

    Raises:
        OSError: The process may not do so, or the UID does not exist in this user namespace.
    """
    if os.isatty(0):
        # Some programs (screen, gpg) open their terminal by name, so the user must own it.
        with suppress(OSError):
            os.fchown(0, account.uid, -1)
    os.setgroups(accounts.groups(accounts.read(Path("/etc/group")), account))
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)


def main(arguments: list[str]) -> None:
    """Runs ``oh-as``. Never returns: exits with 126 or 127, as a shell does, if COMMAND cannot be run."""
    login = arguments[:1] == ["--login"]
    if login:
        arguments = arguments[1:]
    if not arguments or arguments[0].startswith("-"):
        sys.exit(USAGE)
    try:
        account = target(arguments[0], accounts.parse(accounts.read(Path("/etc/passwd"))))
    except ValueError as error:
        sys.exit(f"oh-as: {error}")
    switched = account.uid != os.geteuid()
    if switched:
        try:
            become(account)
        except OSError as error:
            say(f"cannot switch to user {account.name} ({account.uid}): {error}; continuing as user {os.geteuid()}")
            switched = False
    environ = base(os.environ, keep=TERMINAL)
    shell = account.shell if is_shell(account.shell) else bash(environ, is_bash)
    environ = environment(environ, account, switched=switched, login=login, shell=shell)
    command = arguments[1:] or [bash(environ, is_bash)]
    if login:
        with suppress(OSError):
            os.chdir(account.home)
    execute(command, environ)
