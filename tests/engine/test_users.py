"""Users in real containers: the agent's user, the owner of its files, and the base's environment in its processes.

The matrix (``test_matrix.py``) tests every mode on every base. These tests cover what it does not.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from ohbuild.docker.connection import Connection
from tests.engine.baked import Baked
from tests.engine.runtime import Runtime, docker, started

BUSYBOX = "/openhands/libexec/busybox"
OH_AS = "/openhands/libexec/oh-as"
MICROMAMBA = ("/openhands/micromamba/bin/micromamba", "run", "-n", "openhands", "poetry", "run")
# The command of OpenHands 1.6.0 (openhands/runtime/utils/command.py).
COMMAND = (
    *MICROMAMBA, "python", "-u", "-m", "openhands.runtime.action_execution_server", "8000",
    "--working-dir", "/workspace", "--plugins", "agent_skills", "jupyter",
    "--username", "openhands", "--user-id", "1000", "--no-enable-browser",
)  # fmt: skip
# Variables that an intermediate shell would drop or change, and variables that our libraries set themselves.
ODD = {
    "discovery.type": "single-node",
    "BASH_FUNC_greet%%": "() { echo hello; }",
    "BASH_ENV": "/nonexistent/bash_env",
    "PYTHONPATH": "/nonexistent/python",
    "PYTHONSTARTUP": "/nonexistent/startup.py",
    "VIRTUAL_ENV": "/nonexistent/venv",
    "JUPYTER_PATH": "/nonexistent/jupyter",
    "IPYTHONDIR": "/nonexistent/ipython",
    "TIKTOKEN_CACHE_DIR": "/nonexistent/tiktoken",
    "SSL_CERT_FILE": "/nonexistent/ca.pem",
    "REQUESTS_CA_BUNDLE": "/nonexistent/ca.pem",
    "TMUX_TMPDIR": "/nonexistent/tmux",
    "LC_ALL": "xx_YY.odd",
    "LOG_LEVEL": "DEBUG",
}
OPTIONS = [word for name, value in ODD.items() for word in ("--env", f"{name}={value}")]
# Variables set by the terminal, the shell and its prompt, or by ipykernel (oh_runtime's docstring explains why).
# LS_COLORS is set by the .bashrc that a new home gets from Debian's /etc/skel.
BY_SHELL = {"TERM", "SHLVL", "PWD", "OLDPWD", "_", "PS1", "LS_COLORS"}
BY_KERNEL = {
    "TERM", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "PAGER", "GIT_PAGER", "MPLBACKEND", "PYDEVD_USE_FRAME_EVAL",
}  # fmt: skip
# Debian trixie has no user 1000. The Alpine image has one with another name.
USERS = {
    "debian:trixie": ("openhands", "1000", "/home/openhands"),
    "alpine:3.23": ("openhands", "1001", "/home/openhands"),
}


@pytest.fixture(scope="module")
def servers(engine: Connection, baked_v0: Baked) -> Iterator[dict[str, Runtime]]:
    """Servers on two bases, started in parallel with OpenHands' command, as root for user 1000."""
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        running = {
            base: pool.submit(
                stack.enter_context,
                started(engine, baked_v0.image(base), *OPTIONS, "-w", "/openhands/code", command=COMMAND),
            )
            for base in USERS
        }
        yield {base: future.result() for base, future in running.items()}


@pytest.fixture(params=USERS)
def server(request: pytest.FixtureRequest, servers: dict[str, Runtime]) -> Runtime:
    return servers[request.param]


@pytest.fixture
def user(server: Runtime, servers: dict[str, Runtime]) -> tuple[str, str, str]:
    return next(USERS[base] for base, runtime in servers.items() if runtime is server)


def python(server: Runtime, code: str) -> str:
    """Runs a cell and returns its output."""
    return str(server.action("run_ipython", code=code, include_extra=False)["content"])


def environment(text: str) -> dict[str, str]:
    return dict(json.loads(text))


def of_container(server: Runtime) -> dict[str, str]:
    """Returns the environment that the container was started with."""
    return environment(server.exec("/openhands/python/bin/python3.13", "-Ec", DUMP))


DUMP = "import json, os; print(json.dumps(dict(os.environ)))"


def test_shell_and_kernel_are_the_user(server: Runtime, user: tuple[str, str, str]) -> None:
    name, uid, home = user
    assert server.run(f"{BUSYBOX} id -u; {BUSYBOX} id -g; echo $USER $LOGNAME $HOME").split() == [
        uid, "0", name, name, home,
    ]  # fmt: skip
    code = "import os; print(os.getuid(), os.getgid(), os.environ['USER'], os.environ['HOME'])"
    assert python(server, code).split() == [uid, "0", name, home]
    # The kernel gateway has no password, so it must not be reachable from outside.
    listening = server.exec(BUSYBOX, "netstat", "-tln")
    assert "0.0.0.0:4" not in listening, listening


def test_an_entry_is_made_only_where_there_is_none(servers: dict[str, Runtime]) -> None:
    for base, (name, uid, home) in USERS.items():
        passwd = servers[base].exec(BUSYBOX, "cat", "/etc/passwd").splitlines()
        entries = [line.split(":") for line in passwd if line.startswith(f"{name}:")]
        assert [(fields[2], fields[3], fields[5]) for fields in entries] == [(uid, "0", home)]
        assert sum(":1000:" in line for line in passwd) == 1
    shadow = servers["debian:trixie"].exec(BUSYBOX, "cat", "/etc/shadow")
    assert [line for line in shadow.splitlines() if line.startswith("openhands:!:")]


def test_the_shell_sees_the_base_s_environment(server: Runtime) -> None:
    server.run(f"/openhands/python/bin/python3.13 -Ec '{DUMP}' > /tmp/shell.json")
    seen = environment(server.exec(BUSYBOX, "cat", "/tmp/shell.json"))
    compare(seen, of_container(server), BY_SHELL)
    assert server.run("greet").strip() == "hello"


def test_the_kernel_sees_the_base_s_environment(server: Runtime) -> None:
    compare(environment(python(server, DUMP)), of_container(server), BY_KERNEL)
    assert "/nonexistent/venv" not in python(server, "import sys; print(sys.path)")


def compare(seen: dict[str, str], wanted: dict[str, str], added: set[str]) -> None:
    own = {"HOME", "USER", "LOGNAME", "SHELL"}
    assert set(ODD) <= set(wanted)
    # bash reformats an exported function.
    assert "hello" in seen.pop("BASH_FUNC_greet%%")
    left = {name: value for name, value in seen.items() if name not in added | own}
    assert left == {name: value for name, value in wanted.items() if name not in {*added, *own, "BASH_FUNC_greet%%"}}


def test_what_the_agent_makes_is_its_own(server: Runtime, user: tuple[str, str, str]) -> None:
    server.action("write", path="/workspace/new/folder/written", content="text")
    server.action("edit", command="create", path="/workspace/new/edited", file_text="text", impl_source="oh_aci")
    server.run("echo text > /workspace/new/folder/typed")
    python(server, "open('/workspace/new/computed', 'w').write('text')")
    names = ("", "/folder", "/folder/written", "/edited", "/folder/typed", "/computed")
    owners = server.exec(BUSYBOX, "stat", "-c", "%u", *(f"/workspace/new{name}" for name in names)).split()
    uid = user[1]
    assert owners == [uid] * len(names)
    # The shell can write to the files, and the user owns its terminal.
    server.run("echo more >> /workspace/new/edited && echo more >> /workspace/new/folder/written")
    assert server.run(f'{BUSYBOX} stat -c %u "$({BUSYBOX} tty)"').strip() == uid


def test_a_writer_ends_with_its_reader(server: Runtime) -> None:
    assert server.run("yes | head -1; echo ${PIPESTATUS[0]}").split() == ["y", "141"]


def test_nothing_below_openhands_is_written_with_a_log_wanted(server: Runtime) -> None:
    changes = docker(server.engine, "diff", server.container).splitlines()
    assert not [line for line in changes if line.split(maxsplit=1)[1].startswith("/openhands")]


def run(engine: Connection, image: str, *words: str) -> str:
    return docker(engine, "run", "--rm", *words[: words.index("--")], image, *words[words.index("--") + 1 :])


def test_who_may_not_switch_goes_on_and_says_so(engine: Connection, baked_v0: Baked) -> None:
    code = (
        "import os; from oh_runtime.users import init_user_and_working_directory as init; "
        "print(init('openhands', 1000, '/workspace'), os.stat('/workspace').st_uid)"
    )
    python = f"{' '.join(MICROMAMBA)} python -c {shlex.quote(code)}"
    script = f"{python}; {OH_AS} openhands:1000 {BUSYBOX} id -u 2>&1"
    out = run(engine, baked_v0.image("debian:trixie"), "--cap-drop", "ALL", "--", "/openhands/bin/bash", "-c", script)
    first, message, last = out.splitlines()
    assert first == "0 0"
    assert message.startswith("oh-runtime: cannot switch to user openhands (1000): ")
    assert message.endswith("; continuing as user 0")
    assert last == "0"


# One container for all cases, because starting it takes longer than the cases do.
SWITCHES = f"""
import json, subprocess, sys
dump = [sys.executable, "-Ec", {DUMP!r}]
for words in ([], ["{OH_AS}", "0"], ["{OH_AS}", "somebody:4711"], ["{OH_AS}", "--login", "4711"]):
    print(subprocess.run([*words, *dump], capture_output=True, text=True, check=True).stdout)
"""


@pytest.mark.parametrize("base", USERS)
def test_oh_as_hands_the_environment_on(engine: Connection, baked_v0: Baked, base: str) -> None:
    words = ("--user", "0:0", "--", "/openhands/python/bin/python3.13", "-Ec", SWITCHES)
    before, same, other, login = map(environment, run(engine, baked_v0.image(base), *OPTIONS, *words).split("\n\n")[:4])
    assert same == before
    assert {**other, "HOME": "/root"} == {**before, "USER": "somebody", "LOGNAME": "somebody", "SHELL": other["SHELL"]}
    assert set(login) == {"PATH", "HOME", "USER", "LOGNAME", "SHELL"}
    assert login["PATH"] == before["PATH"]


def test_oh_as_ends_as_a_shell_does(engine: Connection, baked_v0: Baked) -> None:
    script = (
        f"{OH_AS} 7 /nonexistent/x; echo $?; {OH_AS} 7 /etc; echo $?; {OH_AS} nobody-here id; echo $?; {OH_AS} 7 id -u"
    )
    out = run(engine, baked_v0.image("debian:trixie"), "--", "/openhands/bin/bash", "-c", f"({script}) 2>/dev/null")
    assert out.split() == ["127", "126", "1", "7"]


def test_oh_bash_is_the_base_s_where_it_has_one(engine: Connection, baked_v0: Baked) -> None:
    words = ("--", "/openhands/bin/oh-bash", "-c", "echo $BASH; echo $EUID")
    assert run(engine, baked_v0.image("debian:trixie"), *words).split()[0] == "/bin/bash"
    assert run(engine, baked_v0.image("alpine:3.23"), *words).split()[0] == "/openhands/bin/bash"
    other = ("--", "/openhands/bin/oh-bash", "--as", "nobody", "-c", "echo $EUID $USER")
    assert run(engine, baked_v0.image("debian:trixie"), *other).split() == ["65534", "nobody"]


def test_the_first_process_reaps(engine: Connection, baked_v0: Baked) -> None:
    words = (*MICROMAMBA, "python", "-c", "import os; print(os.getpid() > 1, open('/proc/1/comm').read().strip())")
    assert run(engine, baked_v0.image("alpine:3.23"), "--", *words).split() == ["True", "tini"]
