"""``oh-doctor``: what it says about parts, checks, limits and servers."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path

import pytest
from oh_container.doctor import main, programs, servers, surroundings
from oh_container.doctor.model import Findings, Problem

from ohbuild.components.builtin import BUILTIN

PYTHON = sys.executable


def later() -> float:
    return time.monotonic() + 30


def component(**check: object) -> programs.Component:
    return programs.Component(name="thing", checks=({"name": "it", **check},))


def examined(thing: programs.Component, end: float | None = None) -> Findings:
    findings = Findings(name=thing.name)
    programs.examine(thing, findings, ["thing"], end or later())
    return findings


def test_every_component_brings_its_checks_into_the_image() -> None:
    """Otherwise, ``oh-doctor`` does not know the component."""
    for item in BUILTIN:
        assert item.folder
        line = f"COPY {item.name}/component.toml /openhands/share/ohbuild/{item.name}.toml\n"
        assert line in (item.folder / "Dockerfile.j2").read_text(), item.name
        assert "component.toml" in item.files


def test_the_components_are_read_as_ohbuild_reads_them(tmp_path: Path) -> None:
    for item in BUILTIN:
        assert item.folder
        (tmp_path / f"{item.name}.toml").write_text((item.folder / "component.toml").read_text())
    (tmp_path / "tmux.packages").write_text("")
    found = programs.components(tmp_path)
    assert [thing.name for thing in found] == sorted(item.name for item in BUILTIN)
    for thing in found:
        (item,) = (item for item in BUILTIN if item.name == thing.name)
        assert [tuple(check["command"]) for check in thing.checks] == [check.command for check in item.checks]


def test_a_check_that_holds() -> None:
    assert examined(component(command=[PYTHON, "-c", "print('a'); print('b1')"], expect="^b.$")).problems == []


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("print('c')", f"it: {PYTHON} prints 'c', not ^b$"),
        ("import sys; print('why', file=sys.stderr); sys.exit(3)", f"it: {PYTHON} exits with 3"),
        ("import os; os.kill(os.getpid(), 11)", f"it: {PYTHON} is killed by signal 11"),
    ],
)
def test_a_check_that_does_not(code: str, problem: str) -> None:
    findings = examined(component(command=[PYTHON, "-c", code], expect="^b$"))
    assert findings.problems == [problem]
    assert findings.log == (["why"] if "why" in code else [])
    assert findings.state == "failed"


def test_a_program_that_is_missing_or_does_not_end() -> None:
    assert examined(component(command=["/nonexistent/x"])).problems == ["it: /nonexistent/x: No such file or directory"]
    # Its child keeps the output open.
    code = "import subprocess; subprocess.run(['sleep', '60'])"
    begin = time.monotonic()
    (problem,) = examined(component(command=[PYTHON, "-c", code]), time.monotonic() + 0.5).problems
    assert "does not end within" in problem
    assert time.monotonic() - begin < 20


def test_a_check_of_a_component_that_is_not_there_is_left_out() -> None:
    assert examined(component(command=["/nonexistent/x"], needs=["other"])).state == "ok"


def test_control_characters_and_long_lines_are_not_printed() -> None:
    assert programs.last_lines("\n".join(f"{number}\033[31m" for number in range(9))) == [
        f"{number} [31m" for number in range(4, 9)
    ]
    assert len(programs.cut("x" * 1000)) == 300


@pytest.mark.parametrize(
    ("memory", "processes", "count"),
    [("max", "max", 0), ("9000000000", "9000", 0), ("500000000", "50", 2), ("", "", 0)],
)
def test_low_limits_are_told(tmp_path: Path, memory: str, processes: str, count: int) -> None:
    (tmp_path / "memory.max").write_text(f"{memory}\n")
    if processes:
        (tmp_path / "pids.max").write_text(f"{processes}\n")
    assert len(list(surroundings.limits(tmp_path))) == count


def test_low_limits_of_the_older_cgroups_are_told(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/memory.limit_in_bytes").write_text("500000000\n")
    assert list(surroundings.limits(tmp_path)) == [
        "the container may use 500 MB; a server with a browser takes about 1000"
    ]


def test_a_running_server_is_found_with_its_port(tmp_path: Path) -> None:
    (server,) = (server for server in servers.SERVERS if server.component == "agent-server")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for name, words in (
            ("7", ["/openhands/libexec/tini", "--", "/openhands/bin/oh-agent-server"]),
            ("8", ["/openhands/agent-server/bin/python3.13", "-EP", "/openhands/bin/oh-agent-server"]),
            ("self", ["/openhands/agent-server/bin/python3.13", "-EP", "/openhands/bin/oh-agent-server"]),
        ):
            (tmp_path / name).mkdir()
            (tmp_path / name / "cmdline").write_text("\0".join(words) + "\0")
        assert servers.processes(server, tmp_path) == [8]
        assert servers.listening(os.getpid(), Path("/proc")) == [listener.getsockname()[1]]
    assert servers.listening(8, tmp_path) == []
    findings = Findings(name="server")
    servers.examine(server, findings, later(), tmp_path)
    assert findings.problems == ["is running, and listens on no port that can be seen, but does not answer /health"]


def test_a_server_that_ends_is_told_with_its_last_words() -> None:
    server = servers.Server(
        component="x", command=(PYTHON, "-c", "import sys; sys.exit('no port {port}')"), variables={}, path="/",
        words=frozenset({"no such process"}),
    )  # fmt: skip
    findings = Findings(name="server")
    servers.examine(server, findings, later())
    assert [problem.startswith("it ends with exit code 1 after ") for problem in findings.problems] == [True]
    assert findings.log[0].startswith("no port ")


def test_a_server_that_answers_is_ended() -> None:
    code = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port={port}, bind='127.0.0.1')"
    server = servers.Server(
        component="x", command=(PYTHON, "-c", code), variables={"A": "{folder}"}, path="/", words=frozenset({"none"})
    )
    findings = Findings(name="server")
    servers.examine(server, findings, later())
    assert findings.problems == []
    assert findings.remarks[0].startswith("answers ")


def test_an_error_is_a_problem_of_one_part() -> None:
    def broken(findings: Findings) -> None:
        raise Problem("broken", ["a line"])

    def unexpected(findings: Findings) -> None:
        findings.remarks.append("a remark")
        raise ValueError("odd")

    assert list(main.examined("a", broken, later()).lines(5)) == [
        "failed   a       0.0 s  broken",
        "                        | a line",
    ]
    data = main.examined("b", unexpected, later()).data()
    assert (data["state"], data["problems"], data["remarks"]) == ("failed", ["ValueError: odd"], ["a remark"])
    assert main.examined("c", broken, time.monotonic() - 1).problems == [
        "was not tried, because there was no time left: use --seconds"
    ]


def test_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def fail(findings: Findings) -> None:
        raise Problem("no")

    monkeypatch.setattr(main, "parts", lambda end: iter([("good", lambda findings: None), ("bad", fail)]))
    monkeypatch.setattr(sys, "argv", ["oh-doctor", "--json"])
    assert main.main() == 1
    told = json.loads(capsys.readouterr().out)
    assert not told["ok"]
    assert [(part["name"], part["state"]) for part in told["parts"]] == [("good", "ok"), ("bad", "failed")]
    monkeypatch.setattr(sys, "argv", ["oh-doctor", "good"])
    assert main.main() == 0
    assert capsys.readouterr().out.splitlines()[-1] == "all 1 parts work"
    monkeypatch.setattr(sys, "argv", ["oh-doctor", "other"])
    with pytest.raises(SystemExit):
        main.main()
    assert "there is no part other; the parts are good, bad" in capsys.readouterr().err
