"""The user database: /etc/passwd, /etc/group, /etc/shadow, read and written as text (passwd(5), group(5), shadow(5)).

Not by Python's ``pwd``: our C library also knows the process's own user where no file does (libnss_openhands), and the
question here is what the files say. Not by useradd: a base may not have it.
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
    """One entry of /etc/passwd."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str

    @property
    def entry(self) -> str:
        """Its line, without the newline; ``x``: the password is in /etc/shadow."""
        return f"{self.name}:x:{self.uid}:{self.gid}::{self.home}:{self.shell}"


def parse(passwd: str) -> list[Account]:
    """The entries of a passwd file; lines that are none are passed over."""
    accounts = []
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) == 7 and fields[0] and fields[2].isdecimal() and fields[3].isdecimal():
            name, _, uid, gid, _, home, shell = fields
            accounts.append(Account(name=name, uid=int(uid), gid=int(gid), home=home or "/", shell=shell or "/bin/sh"))
    return accounts


def find(accounts: Iterable[Account], *, name: str | None = None, uid: int | None = None) -> Account | None:
    """The first account of that name, otherwise the first of that number."""
    known = list(accounts)
    by_name = (account for account in known if account.name == name)
    by_uid = (account for account in known if account.uid == uid)
    return next(by_name, None) or next(by_uid, None)


def groups(group: str, account: Account) -> list[int]:
    """The numbers of an account's groups, its own first, by the text of a group file."""
    found = [account.gid]
    for line in group.splitlines():
        fields = line.split(":")
        if len(fields) == 4 and fields[2].isdecimal() and account.name in fields[3].split(","):
            found.append(int(fields[2]))
    return list(dict.fromkeys(found))


def gid_of(group: str, name_or_number: str) -> int | None:
    """The number of a group given by its name or its number."""
    if name_or_number.isdecimal():
        return int(name_or_number)
    for line in group.splitlines():
        fields = line.split(":")
        if len(fields) == 4 and fields[0] == name_or_number and fields[2].isdecimal():
            return int(fields[2])
    return 0 if name_or_number == "root" else None


def with_entry(text: str, entry: str) -> str:
    """A file's text with one more line, unless an entry of that name is there."""
    name = entry.partition(":")[0]
    if any(line.partition(":")[0] == name for line in text.splitlines()):
        return text
    return text + ("\n" if text and not text.endswith("\n") else "") + entry + "\n"


def with_member(group: str, name: str, member: str) -> str:
    """A group file's text in which ``member`` belongs to the group ``name``, which is added if it is not there."""
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
    """A line of /etc/shadow for an account without a password (``!``: no password fits), last changed on that day."""
    return f"{name}:!:{day}::::::"


def read(path: Path) -> str:
    """A file's text; nothing where there is no such file or it may not be read."""
    try:
        return path.read_text(errors="surrogateescape")
    except OSError:
        return ""


def lookup(*, name: str | None = None, uid: int | None = None, root: Path = Path("/")) -> Account | None:
    """The account in /etc/passwd by name, otherwise by number."""
    return find(parse(read(root / "etc/passwd")), name=name, uid=uid)


def add(account: Account, *, root: Path = Path("/"), sudo: bool = False) -> None:
    """Writes the entries that make an account known to every program of the base.

    Args:
        sudo: whether it becomes a member of the group ``sudo``.

    Raises:
        OSError: a file cannot be written. What was written until then stays, as it does no harm.
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
    # A program that checks an account (PAM) refuses one that /etc/shadow does not know; only where that is in use.
    if (etc / "shadow").exists():
        entry = shadow_entry(account.name, int(time.time()) // DAY_SECONDS)
        _write(etc / "shadow", with_entry(read(etc / "shadow"), entry))


def make_home(account: Account, *, root: Path = Path("/")) -> None:
    """Makes an account's home from /etc/skel, as ``useradd --create-home`` does; one that exists stays as it is.

    Raises:
        OSError: it cannot be made.
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
    """Writes a file if that changes it. In place: a new file would need the old one's owner, mode and labels."""
    if read(path) != text:
        with path.open("w", errors="surrogateescape") as stream:
            stream.write(text)
