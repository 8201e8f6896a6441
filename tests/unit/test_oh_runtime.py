"""How ``oh_runtime`` prepares a container for the server: its decisions, and file operations in a temporary folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oh_container import environment, first, shells, startup
from oh_container.startup import Facts, Folder, Link
from oh_runtime import launch, users


def facts(
    uid: int = 0, environ: Mapping[str, str] | None = None, there: tuple[str, ...] = (), able: tuple[str, ...] = ()
) -> Facts:
    """A container in which the paths ``there`` exist and the folders ``able`` are writable."""
    given_environ = {"PATH": "/bin", "HOME": "/root"} if environ is None else environ
    return Facts(uid=uid, environ=given_environ, exists=there.__contains__, writable=able.__contains__)


# --- the base's environment ---


@pytest.mark.parametrize(
    ("environ", "exempt"),
    [
        ({"http_proxy": "http://p:1"}, "localhost,127.0.0.1,::1"),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "a.b,localhost"}, "a.b,localhost,127.0.0.1,::1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a.b", "no_proxy": "*"}, None),
        ({"HTTPS_PROXY": ""}, None),
    ],
)
def test_our_own_helpers_are_not_asked_through_a_proxy(environ: dict[str, str], exempt: str | None) -> None:
    environ = {"PATH": "/bin", "HOME": "/root", **environ}
    changes = startup.adjustments(facts(environ=environ, able=("/tmp", "/root", "/workspace")), lambda: "never")
    assert changes == ({} if exempt is None else {"no_proxy": exempt, "NO_PROXY": exempt})


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


def test_the_base_s_bash_comes_first_if_it_works() -> None:
    assert shells.bash({}, lambda program, _: program == "/usr/bin/bash") == "/usr/bin/bash"
    assert shells.bash({"PATH": "/openhands/bin"}, lambda program, _: False) == "/openhands/bin/bash"


def test_a_bash_elsewhere_on_path_counts(tmp_path: Path) -> None:
    (tmp_path / "bash").write_text("")
    (tmp_path / "bash").chmod(0o755)
    found = shells.bash({"PATH": f"/openhands/bin::{tmp_path}"}, lambda program, _: program.startswith(str(tmp_path)))
    assert found == f"{tmp_path}/bash"


def test_what_is_called_bash_must_be_one(tmp_path: Path) -> None:
    fake = tmp_path / "bash"
    fake.write_text("#!/bin/sh\nexit 0\n")
    assert not shells.is_bash(str(fake), {})
    fake.chmod(0o755)
    assert not shells.is_bash(str(fake), {})
    assert shells.is_bash("/bin/bash", {"BASH_ENV": "/dev/stdin"})


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
    assert first.as_first_process(["x"], 1) == ["/openhands/libexec/tini", "--", "x"]
    assert first.as_first_process(["x"], 2) == ["x"]


@pytest.mark.parametrize(
    ("words", "status", "printed"),
    [
        (["/nonexistent/x"], 127, "oh-runtime: /nonexistent/x: No such file or directory"),
        (["/etc"], 126, "oh-runtime: /etc: Permission denied"),
        # If a writer to a pipe ignored SIGPIPE, as Python does, it would print an error.
        (["bash", "-c", 'set -o pipefail; yes | head -1; echo "$?"'], 0, "y\n141"),
    ],
)
def test_a_command_replaces_the_process_or_its_exit_code_tells_why_not(
    words: list[str], status: int, printed: str
) -> None:
    code = f"from oh_container.first import execute; execute({words!r})"
    environ = {**os.environ, "PYTHONPATH": str(Path(first.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (status, printed)


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


def test_the_kernel_s_specification_starts_our_module() -> None:
    path = Path(__file__).parents[2] / "dockerfiles/components/action-execution-server/kernel.json"
    assert json.loads(path.read_text())["argv"][1:4] == ["-EP", "-m", "oh_runtime.kernel"]


def test_a_folder_for_temporary_files_is_told_where_it_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"TMPDIR": "/scratch"})
    environment.remember(os.environ)
    assert users.with_temporary_folder("x") == ["x"]
    os.environ["TMPDIR"] = "/dev/shm"
    assert users.with_temporary_folder("x") == ["/openhands/libexec/busybox", "env", "TMPDIR=/dev/shm", "x"]
