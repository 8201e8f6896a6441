"""The contract of a runtime image, asked of real containers of the images that `make bake` makes."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from ohbuild.engine import Connection
from tests.engine.baked import Baked
from tests.engine.runtime import Runtime, docker, ink, started

BASES = {"debian:trixie": "debian", "alpine:3.23": "alpine"}
LEAKS = ("LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONHOME")
WAIT = """
import socket, time
for _ in range(200):
    try:
        socket.create_connection(("127.0.0.1", 8765), 1)
        break
    except OSError:
        time.sleep(0.1)
else:
    raise SystemExit("the page is not served")
"""
PAGE = "<h1>A page on loopback</h1><p>drawn by the <b>chromium</b> component</p>"


@pytest.fixture(scope="module", params=BASES)
def runtime(request: pytest.FixtureRequest, engine: Connection, baked: Baked) -> Iterator[Runtime]:
    with started(engine, baked.image(request.param), "--label", f"base={request.param}") as running:
        yield running


@pytest.fixture(scope="module")
def base(runtime: Runtime) -> str:
    return docker(runtime.engine, "inspect", "-f", '{{index .Config.Labels "base"}}', runtime.container).strip()


def test_a_command_sees_the_base(runtime: Runtime, base: str) -> None:
    content = runtime.run("cat /etc/os-release")
    assert re.search(rf"^ID={BASES[base]}\r?$", content, re.MULTILINE), content


def test_ipython_computes(runtime: Runtime) -> None:
    observation = runtime.action("run_ipython", code="6*7")
    assert "42" in observation["content"], observation


def test_the_browser_reads_and_draws(runtime: Runtime) -> None:
    runtime.exec("sh", "-c", f"mkdir -p /tmp/site && echo '{PAGE}' >/tmp/site/index.html")
    serve = "oh-python -m http.server --bind 127.0.0.1 --directory /tmp/site 8765"
    docker(runtime.engine, "exec", "--detach", runtime.container, *serve.split())
    runtime.exec("oh-python", "-c", WAIT)
    observation = runtime.action("browse", url="http://127.0.0.1:8765/", return_axtree=False)
    assert observation["extras"]["error"] is False, observation["content"]
    assert "A page on loopback" in observation["content"]
    share = ink(observation["extras"]["screenshot"])
    assert 0.001 < share < 0.5, f"{share:.4f} of the screenshot's pixels are drawn"


def test_vscode_wants_its_token(runtime: Runtime) -> None:
    token = httpx.get(f"{runtime.server}/vscode/connection_token", timeout=30).json()["token"]
    assert token
    page = httpx.get(f"{runtime.vscode}/?tkn={token}", follow_redirects=True, timeout=60)
    assert page.status_code == 200
    assert "vscode" in page.text.lower()
    assert httpx.get(runtime.vscode, timeout=60).status_code == 403
    assert httpx.get(f"{runtime.vscode}/?tkn=wrong", timeout=60).status_code == 403


def test_nothing_leaks_into_the_shell(runtime: Runtime) -> None:
    names = {line.partition("=")[0] for line in runtime.run("env").splitlines()}
    assert "PATH" in names
    assert not names & set(LEAKS)


def test_our_python_maps_nothing_of_the_base(runtime: Runtime) -> None:
    code = "import ssl, sqlite3, ctypes, numpy, pandas; print(open('/proc/self/maps').read())"
    maps = runtime.exec("/openhands/bin/oh-python", "-c", code)
    files = {line.split(maxsplit=5)[5] for line in maps.splitlines() if len(line.split(maxsplit=5)) == 6}
    libraries = {file for file in files if file.startswith("/")}
    assert any("libc.so.6" in file for file in libraries)
    assert not [file for file in libraries if not file.startswith("/openhands/")]


def test_the_server_maps_nothing_of_the_base(runtime: Runtime) -> None:
    script = (
        "for p in /proc/[0-9]*; do case $(readlink $p/exe) in /openhands/*) "
        'echo "$(readlink $p/exe)"; awk \'$2 ~ /x/ && $6 ~ /^\\// {print "map", $6}\' $p/maps;; esac; done'
    )
    lines = runtime.exec("sh", "-c", script).splitlines()
    programs = {line for line in lines if not line.startswith("map ")}
    assert {"/openhands/python/bin/python3.13", "/openhands/bin/tmux"} <= programs
    mapped = {line.removeprefix("map ") for line in lines if line.startswith("map ")}
    allowed = ("/openhands/", "/dev/", "/tmp/", "/memfd:", "/SYSV")
    assert not [path for path in mapped if not path.startswith(allowed)]


def test_the_base_keeps_its_programs(runtime: Runtime, base: str) -> None:
    path = runtime.exec("sh", "-c", "echo $PATH").strip().split(":")
    assert path[-1] == "/openhands/bin"
    own = docker(runtime.engine, "run", "--rm", "--entrypoint", "sh", base, "-c", "command -v sh; command -v ls")
    assert runtime.exec("sh", "-c", "command -v sh; command -v ls") == own


def test_plain_names_where_the_base_has_none(runtime: Runtime) -> None:
    assert runtime.exec("tmux", "-V").startswith("tmux 3.")
    assert "GNU bash" in runtime.exec("bash", "--version")


def test_a_command_replaces_the_server(engine: Connection, baked: Baked) -> None:
    for reference in BASES:
        assert docker(engine, "run", "--rm", baked.image(reference), "echo", "hello") == "hello\n"


def test_what_openhands_calls_exists(runtime: Runtime) -> None:
    prefix = ["/openhands/micromamba/bin/micromamba", "run", "-n", "openhands", "poetry", "run"]
    assert runtime.exec(*prefix, "python", "-c", "import openhands.runtime; print('yes')").strip() == "yes"
    assert "usage" in runtime.exec(*prefix, "jupyter", "--help").lower()
    for path in ("/openhands/code/openhands/runtime/utils/git_changes.py",
                 "/openhands/.openvscode-server/bin/openvscode-server"):  # fmt: skip
        runtime.exec("test", "-s", path)


def test_openhands_is_not_written(runtime: Runtime) -> None:
    changes = docker(runtime.engine, "diff", runtime.container).splitlines()
    assert not [line for line in changes if line.split(maxsplit=1)[1].startswith("/openhands")]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["oh-python", "-c", "import platform, numpy; print(platform.machine(), 6*7)"], "aarch64 42"),
        (["oh-tmux", "-V"], "tmux 3"),
        (["oh-chromium", "--version"], "Chromium"),
        (["oh-playwright", "--version"], "Version 1.57"),
        (["oh-vscode-server", "--version"], "1."),
    ],
)
def test_arm64_under_emulation(engine: Connection, baked: Baked, command: list[str], expected: str) -> None:
    image = baked.image("debian:trixie")
    assert expected in docker(engine, "run", "--rm", "--platform", "linux/arm64", image, *command)
