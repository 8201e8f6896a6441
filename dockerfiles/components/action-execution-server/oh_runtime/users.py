"""Sets up the user that an agent works as. Replaces ``runtime_init.py`` of OpenHands' server, and ``su``."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from oh_container import accounts
from oh_container.accounts import Account
from oh_container.environment import base
from oh_container.startup import BASH, BUSYBOX

from . import switch

OH_AS = "/openhands/libexec/oh-as"
SUDOERS = "%sudo ALL=(ALL) NOPASSWD:ALL"
logger = logging.getLogger("openhands")

# The UIDs of the names that the server was started with, because a name may have no passwd entry.
_numbers: dict[str, int] = {}


def init_user_and_working_directory(username: str, user_id: int, initial_cwd: str) -> int:
    """Makes sure that the user and its working folder exist. Replaces OpenHands' function of that name.

    An existing user with that name is used as it is. If the base has another user with the UID, such as ``node`` or
    ``ubuntu``, the agent's user gets the next free one. Without root privileges, the agent works as the server's user.

    Args:
        username: The requested user name.
        user_id: The requested UID.
        initial_cwd: The working folder.

    Returns:
        The UID that the agent's commands run as.
    """
    uid, root = os.geteuid(), Path("/")
    account = accounts.lookup(name=username) or (accounts.lookup(uid=uid) if user_id == uid else None)
    account = account or new_account(username, accounts.free(user_id))
    if account.uid != uid and not switch.able(accounts.read(root / "proc/self/status")):
        logger.warning(
            f"Cannot switch to user {account.name} ({account.uid}): this requires root with CAP_SETUID and CAP_SETGID. "
            f"Continuing as user {uid}."
        )
        account = accounts.lookup(uid=uid) or new_account("openhands", uid)
    elif account.uid != uid:
        create(account, root)
    _numbers[username] = account.uid
    prepare_folder(initial_cwd, account)
    return account.uid


def new_account(name: str, uid: int) -> Account:
    """Returns the account that ``useradd -m -g root -s /bin/bash`` would create."""
    shells = [shell for shell in ("/bin/bash", "/bin/sh") if os.access(shell, os.X_OK)]
    return Account(name=name, uid=uid, gid=0, home=f"/home/{name}", shell=[*shells, BASH][0])


def create(account: Account, root: Path) -> None:
    """Adds an account and its home if they are missing. Files that cannot be written are only logged."""
    if accounts.lookup(uid=account.uid, root=root) is None:
        sudo = (root / "etc/sudoers").exists()
        try:
            accounts.add(account, root=root, sudo=sudo)
            if sudo:
                allow_sudo(root / "etc/sudoers")
        except OSError as error:
            logger.warning(f"Cannot add an entry for user {account.name} ({account.uid}): {error}")
    try:
        accounts.make_home(account, root=root)
    except OSError as error:
        logger.warning(f"Cannot create a home for user {account.name} ({account.uid}): {error}")


def allow_sudo(sudoers: Path) -> None:
    """Allows members of the group sudo to run everything without a password, as OpenHands does.

    Args:
        sudoers: The base's sudoers file.

    Raises:
        OSError: The file cannot be written.
    """
    text = sudoers.read_text()
    if SUDOERS not in text.splitlines():
        with sudoers.open("a") as stream:
            stream.write(("" if text.endswith("\n") or not text else "\n") + SUDOERS + "\n")


def prepare_folder(path: str, account: Account) -> None:
    """Creates the working folder and gives it and its content to the user, as far as permissions allow.

    The group is ``SANDBOX_GROUP_ID`` (a number or a name), root by default, as in OpenHands. Unlike in OpenHands, the
    folder is not changed if the agent works as the server's user and no group is set: it may belong to the host.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logger.warning(f"Cannot create the working folder {path}: {error}")
        return
    group = os.getenv("SANDBOX_GROUP_ID")
    gid = accounts.gid_of(accounts.read(Path("/etc/group")), group or "root")
    if account.uid == os.geteuid() and not group:
        return
    for found in walk(path):
        hand_over(found, account.uid, gid if gid is not None else account.gid)
    with suppress(OSError):
        Path(path).chmod(stat.S_IMODE(Path(path).stat().st_mode) | stat.S_IRGRP | stat.S_IWGRP)


def walk(folder: str) -> Iterator[str]:
    """Yields a folder and everything below it. Symlinks are not followed."""
    yield folder
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield f"{parent}/{name}"


def hand_over(path: str, uid: int, gid: int) -> None:
    """Changes a file's owner if needed and permitted. For a symlink, changes the link itself, not its target."""
    with suppress(OSError):
        status = Path(path).lstat()
        if (status.st_uid, status.st_gid) != (uid, gid):
            os.chown(path, uid, gid, follow_symlinks=False)


def make_parents(path: str, uid: int) -> None:
    """Creates the parent folders of an agent's file and gives them to the agent, as far as permissions allow."""
    missing = [parent for parent in Path(path).parents if not parent.exists()]
    with suppress(OSError):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    if uid != os.geteuid():
        for parent in missing:
            hand_over(str(parent), uid, uid)


def give(path: str, username: str) -> None:
    """Gives a file or folder that the server created, and everything below it, to an agent's user."""
    uid = number(username)
    account = accounts.lookup(uid=uid)
    if uid != os.geteuid():
        for found in walk(path):
            hand_over(found, uid, account.gid if account else 0)


def settle(path: str, before: os.stat_result | None, uid: int) -> None:
    """Sets mode and owner of a file that the server wrote for the agent.

    Args:
        path: The file.
        before: The file's status if it existed before. Its mode and owner are restored.
        uid: The agent's UID. If the server runs as that user, the owner is right already.
    """
    if before is None:
        Path(path).chmod(0o664)
        if uid != os.geteuid():
            hand_over(path, uid, uid)
        return
    if Path(path).stat().st_mode != before.st_mode:
        Path(path).chmod(stat.S_IMODE(before.st_mode))
    hand_over(path, before.st_uid, before.st_gid)


def command(username: str | None, *words: str) -> list[str]:
    """Returns the command line that runs a command as an agent's user, in the base's environment.

    Args:
        username: A name that was passed to ``init_user_and_working_directory``; None for the server's own user.
        *words: The command; bash by default.
    """
    uid = number(username)
    account = accounts.lookup(uid=uid)
    name = account.name if account else username or "openhands"
    return [OH_AS, f"{name}:{uid}", *words]


def number(username: str | None) -> int:
    """Returns the UID of an agent's user, as ``command`` takes it; the server's own for None."""
    return _numbers.get(username, os.geteuid()) if username else os.geteuid()


def own_name() -> str:
    """Returns the name of the server's user, or its UID if it has none."""
    account = accounts.lookup(uid=os.geteuid())
    return account.name if account else str(os.geteuid())


def with_temporary_folder(*words: str) -> list[str]:
    """Returns a command with our TMPDIR set, if it differs from the base's."""
    folder = os.environ.get("TMPDIR")
    if folder == base(os.environ).get("TMPDIR"):
        return list(words)
    return [BUSYBOX, "env", f"TMPDIR={folder}", *words]
