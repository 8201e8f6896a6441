"""What prepares a container for the server: the decisions, and what is done with files in a folder of the test's."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oh_runtime import accounts, environment, gateway, launch, parts, startup, switch, terminal, users
from oh_runtime.accounts import Account
from oh_runtime.startup import Facts, Folder, Link

PASSWD = """root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
# a comment
+::::::
ubuntu:x:1000:1000:Ubuntu:/home/ubuntu:/bin/bash
"""
GROUP = "root:x:0:\nsudo:x:27:ubuntu\nubuntu:x:1000:\ndocker:x:999:ubuntu,daemon\n"
UBUNTU = Account(name="ubuntu", uid=1000, gid=1000, home="/home/ubuntu", shell="/bin/bash")


@pytest.fixture(autouse=True)
def no_byte_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def facts(
    uid: int = 0, environ: Mapping[str, str] | None = None, there: tuple[str, ...] = (), able: tuple[str, ...] = ()
) -> Facts:
    """A container in which the paths ``there`` exist and the folders ``able`` can be written."""
    given_environ = {"PATH": "/bin", "HOME": "/root"} if environ is None else environ
    return Facts(uid=uid, environ=given_environ, exists=there.__contains__, writable=able.__contains__)


# --- the base's environment ---


def test_the_base_s_environment_comes_back_exactly() -> None:
    before = {"a.b": "c", "BASH_FUNC_x%%": "() {\n}", "HOME": "", "BYTES": "\udcff", "PYTHONPATH": "/x"}
    environ = {**before, "TMUX": "/tmp/tmux-0/default,1,0", "TMUX_PANE": "%0"}
    environment.remember(environ)
    environ.update(HOME="/ours", TIKTOKEN_CACHE_DIR="/openhands/x", PYTHONPATH="changed")
    environment.remember(environ)
    assert environment.base(environ) == before
    assert environment.base({**environ, "TERM": "tmux"}, keep=("TERM", "COLORTERM")) == {**before, "TERM": "tmux"}


def test_without_a_record_the_environment_is_the_base_s() -> None:
    assert environment.base({"A": "1"}) == {"A": "1"}


def test_no_variable_is_longer_than_linux_takes() -> None:
    environ = {f"SERVICE_{number}": "x" * 100 for number in range(5000)}
    environ["BIG"] = "\u20ac" * 40_000  # 120 kB in UTF-8
    before = dict(environ)
    environment.remember(environ)
    assert max(len(f"{name}={value}".encode()) for name, value in environ.items()) < 128 * 1024
    assert environment.base(environ) == before


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_any_environment_comes_back(before: dict[str, str]) -> None:
    before = {name: value for name, value in before.items() if not name.startswith(environment.RECORD)}
    environ = dict(before)
    environment.remember(environ)
    assert environment.base(environ) == {n: v for n, v in before.items() if n not in environment.INSIDE_TMUX}


# --- what is missing ---


def test_root_makes_what_a_base_of_files_alone_lacks() -> None:
    assert startup.missing(facts()) == [
        Folder(path="/tmp", mode=0o1777),
        Link(path="/bin/sh", target="/openhands/bin/bash"),
        Link(path="/usr/bin/env", target="/openhands/libexec/busybox"),
        Folder(path="/root", mode=0o700),
    ]


def test_what_the_base_has_stays() -> None:
    assert startup.missing(facts(there=("/tmp", "/bin/sh", "/usr/bin/env", "/root"))) == []


def test_a_user_makes_nothing_of_the_kind() -> None:
    assert startup.missing(facts(uid=1000)) == []


@pytest.mark.parametrize("home", ["", "relative", "/nonexistent", "/nonexistent/home"])
def test_a_home_that_is_no_home_is_not_made(home: str) -> None:
    made = startup.missing(facts(environ={"HOME": home}, there=("/tmp", "/bin/sh", "/usr/bin/env")))
    assert made == []


def test_a_good_environment_is_left_alone() -> None:
    assert startup.adjustments(facts(able=("/tmp", "/root", "/workspace")), lambda: "never") == {}


@pytest.mark.parametrize(
    ("environ", "able", "expected"),
    [
        ({"PATH": ""}, ("/tmp", "/root"), {"PATH": startup.PATH}),
        ({"HOME": "/nonexistent"}, ("/tmp",), {"HOME": "/substitute"}),
        ({"HOME": ""}, ("/tmp",), {"HOME": "/substitute"}),
        ({}, ("/dev/shm", "/root"), {"TMPDIR": "/dev/shm", "TMUX_TMPDIR": "/dev/shm"}),
        ({"TMPDIR": "/nowhere"}, ("/tmp", "/root"), {"TMPDIR": "/tmp"}),
        ({"TMPDIR": "/scratch"}, ("/scratch", "/root"), {"TMUX_TMPDIR": "/scratch"}),
        ({"TMUX_TMPDIR": "/nowhere"}, ("/tmp", "/root"), {"TMUX_TMPDIR": "/tmp"}),
        ({}, ("/root",), {"TMPDIR": "/root", "TMUX_TMPDIR": "/root"}),
    ],
)
def test_what_our_processes_need(environ: dict[str, str], able: tuple[str, ...], expected: dict[str, str]) -> None:
    environ = {"PATH": "/bin", "HOME": "/root", **environ}
    changes = startup.adjustments(facts(environ=environ, able=(*able, "/workspace")), lambda: "/substitute")
    assert changes == expected


def test_downloads_go_elsewhere_where_there_is_no_workspace() -> None:
    changes = startup.adjustments(facts(uid=7, able=("/tmp", "/root")), lambda: "")
    assert changes == {"BROWSERGYM_DOWNLOAD_DIR": "/tmp/openhands-7/downloads"}


def test_things_are_made(tmp_path: Path) -> None:
    startup.make(Folder(path=f"{tmp_path}/a/tmp", mode=0o1777))
    startup.make(Link(path=f"{tmp_path}/bin/sh", target="/openhands/bin/bash"))
    assert (tmp_path / "a/tmp").stat().st_mode & 0o7777 == 0o1777
    assert (tmp_path / "bin/sh").readlink() == Path("/openhands/bin/bash")
    with pytest.raises(FileExistsError):
        startup.make(Link(path=f"{tmp_path}/bin/sh", target="/elsewhere"))


def test_one_thing_s_failure_is_told_and_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    startup.softly(startup.make, Folder(path="/proc/none/tmp", mode=0o700))
    assert "oh-runtime: make:" in capsys.readouterr().err


def test_a_folder_of_one_s_own_is_no_link_and_nobody_else_s(tmp_path: Path) -> None:
    assert startup.own_folder(f"{tmp_path}/own")
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700
    assert startup.own_folder(f"{tmp_path}/own")
    (tmp_path / "link").symlink_to(tmp_path / "own")
    assert not startup.own_folder(f"{tmp_path}/link")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert not startup.own_folder(f"{tmp_path}/open")


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
    with pytest.raises(ValueError, match="no user 'nobody-here'"):
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


def test_the_base_s_bash_comes_first_if_it_works() -> None:
    assert switch.bash({}, lambda program, _: program == "/usr/bin/bash") == "/usr/bin/bash"
    assert switch.bash({"PATH": "/openhands/bin"}, lambda program, _: False) == "/openhands/bin/bash"


def test_a_bash_elsewhere_on_path_counts(tmp_path: Path) -> None:
    (tmp_path / "bash").write_text("")
    (tmp_path / "bash").chmod(0o755)
    found = switch.bash({"PATH": f"/openhands/bin::{tmp_path}"}, lambda program, _: program.startswith(str(tmp_path)))
    assert found == f"{tmp_path}/bash"


def test_what_is_called_bash_must_be_one(tmp_path: Path) -> None:
    fake = tmp_path / "bash"
    fake.write_text("#!/bin/sh\nexit 0\n")
    assert not switch.is_bash(str(fake), {})
    fake.chmod(0o755)
    assert not switch.is_bash(str(fake), {})
    assert switch.is_bash("/bin/bash", {"BASH_ENV": "/dev/stdin"})


# --- the server's start ---


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("run -n openhands poetry run python -u -m x 1", "/openhands/python/bin/python3.13 -E -u -m x 1"),
        ("run -n openhands /x/python3.13 -c pass", "/x/python3.13 -c pass"),
        ("run --live-stream -p /x python3 -V", "/openhands/python/bin/python3.13 -E -V"),
        ("run -n openhands which sh", "which sh"),
        ("run -n openhands poetry run", ""),
        ("", ""),
    ],
)
def test_micromamba_runs_our_python(line: str, expected: str) -> None:
    assert launch.micromamba_command(line.split()) == expected.split()


def test_the_first_process_is_tini() -> None:
    assert launch.as_first_process(["x"], 1) == ["/openhands/libexec/tini", "--", "x"]
    assert launch.as_first_process(["x"], 2) == ["x"]


@pytest.mark.parametrize(
    ("able", "expected"),
    [
        (("/workspace",), "/workspace"),
        (("/home/me", "/home/me/workspace"), "/home/me/workspace"),
        (("/tmp/openhands-7/workspace",), "/tmp/openhands-7/workspace"),
        (("/", "//workspace", "/tmp/openhands-7/workspace"), "/tmp/openhands-7/workspace"),
        ((), "/workspace"),
    ],
)
def test_the_workspace_is_one_that_can_be_written(able: tuple[str, ...], expected: str) -> None:
    made: list[str] = []
    home = "/" if "/" in able else "/home/me"
    found = launch.workspace("/workspace", home, "/tmp/openhands-7", able.__contains__, made.append)
    assert found == expected
    assert made[0] == "/workspace"


def test_what_the_image_was_made_without_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("openhands", "kernel_gateway"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(
        parts, "_PLUGINS", {name: str(tmp_path / file) for name, file in
        (("agent_skills", "openhands"), ("jupyter", "kernel_gateway"), ("vscode", "openvscode-server"))},
    )  # fmt: skip
    monkeypatch.setattr(parts, "_BROWSER", str(tmp_path / "playwright"))
    assert parts.plugins() == ["agent_skills", "jupyter"]
    assert parts.checked(["jupyter", "one of somebody's"]) == ["jupyter", "one of somebody's"]
    assert parts.checked(None) == []
    with pytest.raises(
        SystemExit, match="plug-in 'vscode' is not in this image: it was made for agent_skills, jupyter"
    ):
        parts.checked(["jupyter", "vscode"])
    assert not parts.browser()
    assert parts.no_browser().endswith("made without a browser (no component playwright).")
    (tmp_path / "playwright").mkdir()
    assert parts.browser()
    assert parts.no_browser() == "Browser functionality is not supported or disabled."


def test_variables_for_another_jupyter_are_known() -> None:
    names = ["JUPYTER_PATH", "KG_PORT", "IPYTHONDIR", "VIRTUAL_ENV", "PYTHONPATH", "MY_KERNEL_X", "HOME"]
    assert gateway.foreign(names) == ["JUPYTER_PATH", "KG_PORT", "IPYTHONDIR", "VIRTUAL_ENV"]


# --- the agent's user and its files ---


def test_sudo_is_allowed_once(tmp_path: Path) -> None:
    sudoers = tmp_path / "sudoers"
    sudoers.write_text("root ALL=(ALL) ALL")
    for _ in range(2):
        users.allow_sudo(sudoers)
    assert sudoers.read_text() == "root ALL=(ALL) ALL\n%sudo ALL=(ALL) NOPASSWD:ALL\n"


def test_a_new_file_can_be_written_by_its_group_and_an_old_one_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    users.settle(str(path), None, os.getuid())
    assert path.stat().st_mode & 0o777 == 0o664
    before = path.stat()
    path.chmod(0o600)
    users.settle(str(path), before, os.getuid())
    assert path.stat().st_mode & 0o777 == 0o664


def test_folders_above_a_file_are_made_if_they_can(tmp_path: Path) -> None:
    users.make_parents(f"{tmp_path}/a/b/file", os.geteuid())
    assert (tmp_path / "a/b").is_dir()
    assert not (tmp_path / "a/b/file").exists()
    users.make_parents("/proc/none/file", os.geteuid())


def test_a_folder_is_walked_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "work/sub").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("")
    (tmp_path / "work/link").symlink_to(tmp_path / "other")
    found = {Path(path).relative_to(tmp_path).as_posix() for path in users.walk(f"{tmp_path}/work")}
    assert found == {"work", "work/sub", "work/link"}


def test_an_agent_s_command_goes_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "lookup", lambda **_: None)
    monkeypatch.setitem(users._numbers, "someone", 4711)
    assert users.command("someone", "env") == ["/openhands/libexec/oh-as", "someone:4711", "env"]
    assert users.command(None) == ["/openhands/libexec/oh-as", f"openhands:{os.geteuid()}"]


def test_the_kernel_s_specification_starts_our_module() -> None:
    path = Path(__file__).parents[2] / "dockerfiles/openhands/kernel.json"
    assert json.loads(path.read_text())["argv"][1:4] == ["-EP", "-m", "oh_runtime.kernel"]


# --- the agent's terminal ---

PROMPT = "\n###PS1JSON###\n{}\n###PS1END###\n"
END = "\n###PS1END###"


def test_a_new_shell_is_waited_for() -> None:
    screens = iter(["", "export PS1", f"export PS1\n{PROMPT}"])
    assert terminal.prompt(lambda: next(screens), END, sleep=lambda _: None)
    assert not terminal.prompt(lambda: "$ ", END, sleep=lambda _: None)


def test_a_cleared_screen_is_waited_for() -> None:
    forgotten: list[None] = []
    screens = iter([PROMPT + "ls\n" + PROMPT, PROMPT + PROMPT, PROMPT])
    assert terminal.cleared(lambda: next(screens), lambda: forgotten.append(None), END, sleep=lambda _: None)
    assert len(forgotten) == 3
    assert not terminal.cleared(lambda: PROMPT * 2, lambda: None, END, sleep=lambda _: None)


def test_a_folder_for_temporary_files_is_told_where_it_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"TMPDIR": "/scratch"})
    environment.remember(os.environ)
    assert users.with_temporary_folder("x") == ["x"]
    os.environ["TMPDIR"] = "/dev/shm"
    assert users.with_temporary_folder("x") == ["/openhands/libexec/busybox", "env", "TMPDIR=/dev/shm", "x"]
