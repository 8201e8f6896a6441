"""The user that an agent works as, for OpenHands' server: what its ``runtime_init.py`` and ``su`` did."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from . import accounts, switch
from .accounts import Account
from .environment import base
from .startup import BASH, BUSYBOX

OH_AS = "/openhands/libexec/oh-as"
SUDOERS = "%sudo ALL=(ALL) NOPASSWD:ALL"
logger = logging.getLogger("openhands")

# The number that goes with each name that the server was started with, as the name may have no entry of its own.
_numbers: dict[str, int] = {}


def init_user_and_working_directory(username: str, user_id: int, initial_cwd: str) -> int:
    """Makes sure that the user and its working folder exist; takes the place of OpenHands' function of that name.

    A user of that name is taken as it is, and so is one of that number. Without root's rights, the server and the agent
    stay what they are.

    Returns:
        The number of the user that the agent's commands run as.
    """
    uid, root = os.geteuid(), Path("/")
    account = accounts.lookup(name=username, uid=user_id) or new_account(username, user_id)
    if account.uid != uid and not switch.able(accounts.read(root / "proc/self/status")):
        logger.warning(
            f"Cannot become user {account.name} ({account.uid}): that takes root with CAP_SETUID and CAP_SETGID. "
            f"Going on as user {uid}."
        )
        account = accounts.lookup(uid=uid) or new_account("openhands", uid)
    elif account.uid != uid:
        create(account, root)
    _numbers[username] = account.uid
    prepare_folder(initial_cwd, account)
    return account.uid


def new_account(name: str, uid: int) -> Account:
    """The account that ``useradd -m -g root -s /bin/bash`` would make."""
    shells = [shell for shell in ("/bin/bash", "/bin/sh") if os.access(shell, os.X_OK)]
    return Account(name=name, uid=uid, gid=0, home=f"/home/{name}", shell=[*shells, BASH][0])


def create(account: Account, root: Path) -> None:
    """Adds an account and its home where they are missing; what cannot be written is done without."""
    if accounts.lookup(uid=account.uid, root=root) is None:
        sudo = (root / "etc/sudoers").exists()
        try:
            accounts.add(account, root=root, sudo=sudo)
            if sudo:
                allow_sudo(root / "etc/sudoers")
        except OSError as error:
            logger.warning(f"No entry for user {account.name} ({account.uid}): {error}")
    try:
        accounts.make_home(account, root=root)
    except OSError as error:
        logger.warning(f"No home for user {account.name} ({account.uid}): {error}")


def allow_sudo(sudoers: Path) -> None:
    """Lets members of the group sudo do everything without a password, as OpenHands does, where the base has sudo.

    Raises:
        OSError: the file cannot be written.
    """
    text = sudoers.read_text()
    if SUDOERS not in text.splitlines():
        with sudoers.open("a") as stream:
            stream.write(("" if text.endswith("\n") or not text else "\n") + SUDOERS + "\n")


def prepare_folder(path: str, account: Account) -> None:
    """Makes the working folder and gives it and all in it to the user, as far as our rights go.

    The group is ``SANDBOX_GROUP_ID`` (a number or a name), root's by default, as in OpenHands. Unlike there, a folder
    that the server itself works in as root stays as it is: it may be a folder of the host's, with the host's owners.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logger.warning(f"No working folder {path}: {error}")
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
    """A folder and all below it; links are not followed."""
    yield folder
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield f"{parent}/{name}"


def hand_over(path: str, uid: int, gid: int) -> None:
    """Changes a file's owner where it is another one and we may; a link's own owner, not that of what it leads to."""
    with suppress(OSError):
        status = Path(path).lstat()
        if (status.st_uid, status.st_gid) != (uid, gid):
            os.chown(path, uid, gid, follow_symlinks=False)


def make_parents(path: str, uid: int) -> None:
    """Makes the folders above a file of the agent's, which are the agent's then, too; as far as our rights go."""
    missing = [parent for parent in Path(path).parents if not parent.exists()]
    with suppress(OSError):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    if uid != os.geteuid():
        for parent in missing:
            hand_over(str(parent), uid, uid)


def give(path: str, username: str) -> None:
    """Gives what the server made, and all below it, to an agent's user."""
    uid = _numbers.get(username, os.geteuid())
    account = accounts.lookup(uid=uid)
    if uid != os.geteuid():
        for found in walk(path):
            hand_over(found, uid, account.gid if account else 0)


def settle(path: str, before: os.stat_result | None, uid: int) -> None:
    """Mode and owner of a file that the server wrote for the agent.

    Args:
        before: the file's status if it existed; it stays as it was.
        uid: the agent's user. Where the server itself runs as that user, all is right already.
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
    """The command line that runs ``words`` as an agent's user, in the base's environment; bash if there are none.

    Args:
        username: a name that ``init_user_and_working_directory`` was given; None for the server's own user.
    """
    uid = _numbers.get(username, os.geteuid()) if username else os.geteuid()
    account = accounts.lookup(uid=uid)
    name = account.name if account else username or "openhands"
    return [OH_AS, f"{name}:{uid}", *words]


def with_temporary_folder(*words: str) -> list[str]:
    """A command that needs a folder for temporary files, in a base that has none where it would look."""
    folder = os.environ.get("TMPDIR")
    if folder == base(os.environ).get("TMPDIR"):
        return list(words)
    return [BUSYBOX, "env", f"TMPDIR={folder}", *words]
