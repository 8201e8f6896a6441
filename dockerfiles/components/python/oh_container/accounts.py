"""The user database: /etc/passwd, /etc/group, /etc/shadow, read and written as text (passwd(5), group(5), shadow(5)).

Python's ``pwd`` is not used because our C library also reports the process's own user if it has no entry
(libnss_openhands). ``useradd`` is not used because a base may lack it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

DAY_SECONDS = 86400
SYSTEM_GIDS = range(999, 100, -1)


@dataclass(frozen=True, kw_only=True)
class Account:
    """One entry of /etc/passwd.

    Attributes:
        name: The user name.
        uid: The UID.
        gid: The GID of the primary group.
        home: The home folder.
        shell: The login shell.
    """

    name: str
    uid: int
    gid: int
    home: str
    shell: str

    @property
    def entry(self) -> str:
        """The line without the newline. ``x`` means that the password is in /etc/shadow."""
        return f"{self.name}:x:{self.uid}:{self.gid}::{self.home}:{self.shell}"


def parse(passwd: str) -> list[Account]:
    """Parses the text of a passwd file. Invalid lines are skipped."""
    accounts = []
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) == 7 and fields[0] and fields[2].isdecimal() and fields[3].isdecimal():
            name, _, uid, gid, _, home, shell = fields
            accounts.append(Account(name=name, uid=int(uid), gid=int(gid), home=home or "/", shell=shell or "/bin/sh"))
    return accounts


def find(accounts: Iterable[Account], *, name: str | None = None, uid: int | None = None) -> Account | None:
    """Returns the first account with the name, otherwise the first with the UID."""
    known = list(accounts)
    by_name = (account for account in known if account.name == name)
    by_uid = (account for account in known if account.uid == uid)
    return next(by_name, None) or next(by_uid, None)


def groups(group: str, account: Account) -> list[int]:
    """Returns the GIDs of an account, the primary group first.

    Args:
        group: The text of a group file.
        account: The account.
    """
    found = [account.gid]
    for line in group.splitlines():
        fields = line.split(":")
        if len(fields) == 4 and fields[2].isdecimal() and account.name in fields[3].split(","):
            found.append(int(fields[2]))
    return list(dict.fromkeys(found))


def gid_of(group: str, name_or_number: str) -> int | None:
    """Returns the GID of a group given by name or number; None if the name is unknown.

    Args:
        group: The text of a group file.
        name_or_number: The group.
    """
    if name_or_number.isdecimal():
        return int(name_or_number)
    for line in group.splitlines():
        fields = line.split(":")
        if len(fields) == 4 and fields[0] == name_or_number and fields[2].isdecimal():
            return int(fields[2])
    return 0 if name_or_number == "root" else None


def with_entry(text: str, entry: str) -> str:
    """Returns a file's text with an entry added, unless there is one with the same name."""
    name = entry.partition(":")[0]
    if any(line.partition(":")[0] == name for line in text.splitlines()):
        return text
    return text + ("\n" if text and not text.endswith("\n") else "") + entry + "\n"


def with_member(group: str, name: str, member: str) -> str:
    """Returns a group file's text with a member added to a group. A missing group is added."""
    lines = group.splitlines()
    for index, line in enumerate(lines):
        fields = line.split(":")
        if len(fields) == 4 and fields[0] == name:
            members = [known for known in fields[3].split(",") if known]
            if member not in members:
                lines[index] = ":".join([*fields[:3], ",".join([*members, member])])
            return "\n".join(lines) + "\n"
    taken = {line.split(":")[2] for line in lines if line.count(":") == 3}
    gid = next(number for number in SYSTEM_GIDS if str(number) not in taken)
    return with_entry(group, f"{name}:x:{gid}:{member}")


def shadow_entry(name: str, day: int) -> str:
    """Returns a line of /etc/shadow for an account without a valid password (``!``).

    Args:
        name: The user name.
        day: The day of the last change, in days since 1970.
    """
    return f"{name}:!:{day}::::::"


def read(path: Path) -> str:
    """Returns a file's text; empty if it does not exist or cannot be read."""
    try:
        return path.read_text(errors="surrogateescape")
    except OSError:
        return ""


def lookup(*, name: str | None = None, uid: int | None = None, root: Path = Path("/")) -> Account | None:
    """Returns the account in /etc/passwd with the name, otherwise the one with the UID."""
    return find(parse(read(root / "etc/passwd")), name=name, uid=uid)


def free(uid: int, *, root: Path = Path("/")) -> int:
    """Returns the UID, or the next one that no account has."""
    taken = {account.uid for account in parse(read(root / "etc/passwd"))}
    while uid in taken:
        uid += 1
    return uid


def add(account: Account, *, root: Path = Path("/"), sudo: bool = False) -> None:
    """Adds the entries of an account to the files, so that all programs of the base know it.

    Args:
        account: The account.
        root: The root folder.
        sudo: Whether to add it to the group ``sudo``.

    Raises:
        OSError: A file cannot be written. Entries written so far are kept, because they do no harm.
    """
    etc = root / "etc"
    etc.mkdir(exist_ok=True)
    _write(etc / "passwd", with_entry(read(etc / "passwd"), account.entry))
    group = read(etc / "group")
    if not any(line.split(":")[2:3] == [str(account.gid)] for line in group.splitlines()):
        taken = {line.partition(":")[0] for line in group.splitlines()}
        name = next(name for name in (account.name, f"group{account.gid}") if name not in taken)
        group = with_entry(group, f"{name}:x:{account.gid}:" if account.gid else "root:x:0:")
    if sudo:
        group = with_member(group, "sudo", account.name)
    _write(etc / "group", group)
    # If /etc/shadow is in use, PAM rejects accounts that have no entry in it.
    if (etc / "shadow").exists():
        entry = shadow_entry(account.name, int(time.time()) // DAY_SECONDS)
        _write(etc / "shadow", with_entry(read(etc / "shadow"), entry))


def make_home(account: Account, *, root: Path = Path("/")) -> None:
    """Creates an account's home from /etc/skel, as ``useradd --create-home`` does. An existing home is not changed.

    Raises:
        OSError: The home cannot be created.
    """
    home = root / account.home.lstrip("/")
    if home.exists():
        return
    home.parent.mkdir(parents=True, exist_ok=True)
    skeleton = root / "etc/skel"
    if skeleton.is_dir():
        shutil.copytree(skeleton, home, symlinks=True)
    else:
        home.mkdir()
    home.chmod(0o755)
    for folder, _, files in os.walk(home):
        for path in [Path(folder), *(Path(folder, file) for file in files)]:
            os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _write(path: Path, text: str) -> None:
    """Writes a file if its text changes. In place: a new file would need the old one's owner, mode and labels."""
    if read(path) != text:
        with path.open("w", errors="surrogateescape") as stream:
            stream.write(text)
