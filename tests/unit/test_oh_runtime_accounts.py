"""Users in the runtime: accounts, groups, homes, and switching between users."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from oh_container import accounts, startup
from oh_container.accounts import Account
from oh_runtime import switch, users

from tests.unit.test_oh_runtime import facts

PASSWD = """root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
# a comment
+::::::
ubuntu:x:1000:1000:Ubuntu:/home/ubuntu:/bin/bash
"""
GROUP = "root:x:0:\nsudo:x:27:ubuntu\nubuntu:x:1000:\ndocker:x:999:ubuntu,daemon\n"
UBUNTU = Account(name="ubuntu", uid=1000, gid=1000, home="/home/ubuntu", shell="/bin/bash")


# --- accounts ---


def test_a_passwd_file_is_read() -> None:
    assert [account.name for account in accounts.parse(PASSWD)] == ["root", "daemon", "ubuntu"]
    assert accounts.parse(PASSWD)[2] == UBUNTU
    assert accounts.parse("") == []


def test_an_account_is_found_by_name_then_by_number() -> None:
    known = accounts.parse(PASSWD)
    assert accounts.find(known, name="daemon", uid=1000) == known[1]
    assert accounts.find(known, name="openhands", uid=1000) == UBUNTU
    assert accounts.find(known, name="openhands", uid=1001) is None


def test_groups_are_those_that_list_the_account() -> None:
    assert accounts.groups(GROUP, UBUNTU) == [1000, 27, 999]
    assert accounts.groups("", UBUNTU) == [1000]


@pytest.mark.parametrize(("group", "gid"), [("sudo", 27), ("1234", 1234), ("root", 0), ("nobody-here", None)])
def test_a_group_is_given_by_name_or_number(group: str, gid: int | None) -> None:
    assert accounts.gid_of(GROUP, group) == gid


def test_an_entry_is_added_once_and_on_a_line_of_its_own() -> None:
    text = accounts.with_entry("root:x:0:0::/root:/bin/sh", "a:x:1:1::/:/bin/sh")
    assert text == "root:x:0:0::/root:/bin/sh\na:x:1:1::/:/bin/sh\n"
    assert accounts.with_entry(text, "a:x:2:2::/:/bin/sh") == text


def test_a_member_is_added_to_a_group_that_may_be_missing() -> None:
    assert "sudo:x:27:ubuntu,me\n" in accounts.with_member(GROUP, "sudo", "me")
    assert accounts.with_member(GROUP, "sudo", "ubuntu") == GROUP
    assert accounts.with_member(GROUP, "wheel", "me") == GROUP + "wheel:x:998:me\n"


def test_the_process_s_own_user_gets_an_entry_where_there_is_none() -> None:
    known = accounts.parse(PASSWD)
    assert startup.own_account(known, facts(uid=1000), 0) is None
    me = startup.own_account(known, facts(uid=12345, environ={"HOME": "/"}, there=("/bin/sh",)), 0)
    assert getattr(me, "entry", None) == "openhands:x:12345:0::/:/bin/sh"
    taken = [*known, Account(name="openhands", uid=1001, gid=0, home="/", shell="/bin/sh")]
    other = startup.own_account(taken, facts(uid=12345, environ={"HOME": "/a:b"}), 5)
    assert getattr(other, "entry", None) == "user12345:x:12345:5::/:/openhands/bin/bash"
    assert getattr(startup.own_account([], facts(uid=0), 0), "name", None) == "root"


def test_an_account_is_added_to_all_files(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "passwd").write_text(PASSWD)
    (etc / "group").write_text(GROUP)
    (etc / "shadow").write_text("root:*:1::::::\n")
    (etc / "shadow").chmod(0o640)
    account = Account(name="me", uid=2000, gid=2000, home="/home/me", shell="/bin/bash")
    for _ in range(2):
        accounts.add(account, root=tmp_path, sudo=True)
    assert (etc / "passwd").read_text() == PASSWD + "me:x:2000:2000::/home/me:/bin/bash\n"
    assert (etc / "group").read_text().endswith("me:x:2000:\n")
    assert "sudo:x:27:ubuntu,me\n" in (etc / "group").read_text()
    assert (etc / "shadow").read_text().splitlines()[1].startswith("me:!:")
    assert (etc / "shadow").stat().st_mode & 0o777 == 0o640


def test_an_account_is_added_where_there_is_no_file(tmp_path: Path) -> None:
    accounts.add(Account(name="root", uid=0, gid=0, home="/root", shell="/bin/sh"), root=tmp_path)
    assert (tmp_path / "etc/passwd").read_text() == "root:x:0:0::/root:/bin/sh\n"
    assert (tmp_path / "etc/group").read_text() == "root:x:0:\n"
    assert not (tmp_path / "etc/shadow").exists()


def test_a_home_is_made_of_the_skeleton(tmp_path: Path) -> None:
    skeleton = tmp_path / "etc/skel"
    skeleton.mkdir(parents=True)
    (skeleton / ".profile").write_text("umask 022\n")
    account = Account(name="me", uid=os.getuid(), gid=os.getgid(), home="/home/me", shell="/bin/sh")
    accounts.make_home(account, root=tmp_path)
    assert (tmp_path / "home/me/.profile").read_text() == "umask 022\n"
    (tmp_path / "home/me/.profile").write_text("mine\n")
    accounts.make_home(account, root=tmp_path)
    assert (tmp_path / "home/me/.profile").read_text() == "mine\n"


# --- switching ---


@pytest.mark.parametrize(
    ("user", "expected"),
    [("ubuntu", 1000), ("1000", 1000), ("openhands:1000", 1000), ("daemon:1000", 1), ("openhands:4711", 4711)],
)
def test_a_user_is_a_name_a_number_or_both(user: str, expected: int) -> None:
    assert switch.target(user, accounts.parse(PASSWD)).uid == expected


def test_a_name_without_an_entry_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown user 'nobody-here'"):
        switch.target("nobody-here", accounts.parse(PASSWD))


def test_the_environment_of_another_user() -> None:
    before = {"PATH": "/bin", "TERM": "dumb", "A": "1", "HOME": "/root", "USER": "root"}
    own = {"HOME": "/home/ubuntu", "USER": "ubuntu", "LOGNAME": "ubuntu", "SHELL": "/bin/x"}
    same = switch.environment(before, UBUNTU, switched=False, login=False, shell="/bin/x")
    other = switch.environment(before, UBUNTU, switched=True, login=False, shell="/bin/x")
    login = switch.environment(before, UBUNTU, switched=True, login=True, shell="/bin/x")
    assert same == before
    assert other == {**before, **own}
    assert login == {"PATH": "/bin", "TERM": "dumb", **own}
    assert switch.environment({}, UBUNTU, switched=True, login=True, shell="/x")["PATH"] == startup.PATH


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [("000001ffffffffff", True), ("00000000a80425fb", True), ("0000000000000000", False), ("0000000000000080", False)],
)
def test_who_may_become_somebody_else(capabilities: str, expected: bool) -> None:
    assert switch.able(f"Name:\tpython\nCapPrm:\tffff\nCapEff:\t{capabilities}\n") is expected


def test_without_a_status_nobody_may() -> None:
    assert switch.able("") is False


# --- the agent's user and its files ---


def test_sudo_is_allowed_once(tmp_path: Path) -> None:
    sudoers = tmp_path / "sudoers"
    sudoers.write_text("root ALL=(ALL) ALL")
    for _ in range(2):
        users.allow_sudo(sudoers)
    assert sudoers.read_text() == "root ALL=(ALL) ALL\n%sudo ALL=(ALL) NOPASSWD:ALL\n"


def test_an_agent_s_command_goes_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "lookup", lambda **_: None)
    monkeypatch.setitem(users._numbers, "someone", 4711)
    assert users.command("someone", "env") == ["/openhands/libexec/oh-as", "someone:4711", "env"]
    assert users.command(None) == ["/openhands/libexec/oh-as", f"openhands:{os.geteuid()}"]
