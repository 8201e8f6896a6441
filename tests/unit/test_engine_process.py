"""Short commands, long jobs, daemons, and process identity."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ohbuild
from ohbuild import process
from ohbuild.process import (
    Answer,
    Job,
    JobFailed,
    Process,
    ask,
    find_by_argument,
    launch,
    tail,
    work,
)
from ohbuild.signals import signals_interrupt


def _await(done: Callable[[], bool]) -> None:
    until = time.monotonic() + 15
    while not done():
        assert time.monotonic() < until, "timed out"
        time.sleep(0.005)


def test_ask_answers_and_never_raises(tmp_path: Path) -> None:
    assert ask(["sh", "-c", "echo out; echo err >&2; exit 3"]) == process.Answer(3, "out", "err")
    assert ask(["/nonexistent/x"]).code == 127
    (tmp_path / "x").write_text("no program")
    assert ask([tmp_path / "x"]).code == 126
    assert ask(["sleep", "9"], timeout=0.05).code == 124
    assert ask(["sh", "-c", "printf $A"], env={"A": "b"}).out == "b"


def test_work_gives_lines_and_keeps_a_log(tmp_path: Path) -> None:
    lines: list[str] = []
    log = tmp_path / "logs/a.log"
    work(Job(argv=("sh", "-c", "printf 'one\\rtwo\\n\\nthree\\n'"), log=log, on_line=lines.append))
    assert lines == ["one", "two", "three"]
    assert log.read_bytes() == b"one\rtwo\n\nthree\n"


def test_a_failed_job_stops_the_others_and_tells_its_last_lines(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(JobFailed) as caught:
        work(
            Job(argv=("sleep", "60"), log=tmp_path / "a"),
            Job(argv=("sh", "-c", "echo because; exit 7"), log=tmp_path / "b"),
        )
    assert time.monotonic() - started < 5
    assert (caught.value.code, tail(caught.value.job.log)) == (7, "    because")


def test_a_missing_program_is_a_failed_job(tmp_path: Path) -> None:
    with pytest.raises(JobFailed):
        work(Job(argv=("/nonexistent/x",), log=tmp_path / "a"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_jobs_too(tmp_path: Path, number: signal.Signals) -> None:
    pid = tmp_path / "pid"
    code = (
        # A shell starts background jobs, and all below them, with SIGINT ignored, and nohup(1) with SIGHUP ignored.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "import pathlib, sys; from ohbuild.process import Job, work\n"
        f"work(Job(argv=('sh', '-c', 'echo $$ >{pid}; exec sleep 60'), log=pathlib.Path({str(tmp_path / 'log')!r})))"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(ohbuild.__file__).parent.parent)}
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, env=env)
    _await(lambda: pid.exists() and pid.read_text() != "")
    child = Process.of(int(pid.read_text()))
    assert child is not None
    parent.send_signal(number)
    _, err = parent.communicate(timeout=15)
    assert b"KeyboardInterrupt" in err
    _await(lambda: not child.alive)


@given(st.text(), st.text())
def test_a_command_that_fails_has_a_reason_whatever_it_prints(out: str, err: str) -> None:
    last = Answer(3, out, err).last
    assert last
    assert len(last.splitlines()) == 1
    assert Answer(3, "\n", " ").last == "exit code 3"
    assert Answer(1, "out", "one\ntwo\n\n").last == "two"


def test_a_command_runs_in_the_folder_that_it_is_given(tmp_path: Path) -> None:
    assert ask(["pwd"], cwd=tmp_path).out == str(tmp_path)


@pytest.mark.parametrize("before", [signal.SIG_IGN, lambda number, frame: None])
def test_a_signal_that_the_program_decides_about_is_left_alone(before: Any) -> None:
    old = signal.signal(signal.SIGHUP, before)
    try:
        with signals_interrupt():
            assert signal.getsignal(signal.SIGHUP) is before
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, old)


def test_tail_is_short_and_forgiving(tmp_path: Path) -> None:
    assert tail(tmp_path / "none") == ""
    log = tmp_path / "log"
    log.write_text("\n".join(str(number) for number in range(100)) + "\n\n")
    assert tail(log, 2) == "    98\n    99"


def test_a_process_is_not_mistaken_for_another() -> None:
    me = Process.of(os.getpid())
    assert me is not None
    assert me.alive
    assert not replace(me, started=me.started + 1).alive
    assert not replace(me, boot="another").alive
    assert Process.of(2**22 + 1) is None


def test_stop_spares_a_later_process_of_the_same_number() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        process_ = Process.of(child.pid)
        assert process_ is not None
        assert replace(process_, started=process_.started - 1).stop(0.1)
        assert process_.alive
        assert process_.stop(5)
    finally:
        child.kill()
        assert child.wait() == -signal.SIGTERM


def test_stop_ends_one_that_does_not_listen(tmp_path: Path) -> None:
    child = subprocess.Popen(["sh", "-c", f"trap '' TERM; touch {tmp_path}/ready; while :; do sleep 0.05; done"])
    _await((tmp_path / "ready").exists)
    stubborn = Process.of(child.pid)
    assert stubborn is not None
    assert stubborn.stop(0.1)
    assert child.wait() == -signal.SIGKILL


def test_a_daemon_outlives_us_with_only_what_it_was_given(tmp_path: Path) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    out.write_text("before\n")
    daemon = launch(
        ["/bin/sh", "-c", "env; pwd; exec sleep 60.25"], out=out, err=err, env={"PATH": "/usr/bin:/bin", "A": "1"}
    )
    assert daemon is not None
    try:
        _await(lambda: "/\n" in out.read_text())
        text = out.read_text()
        assert text.startswith("before\n")
        assert "A=1" in text
        assert "HOME=" not in text
        assert os.getsid(daemon.pid) == daemon.pid
        _await(lambda: daemon in find_by_argument("60.25", frozenset({"sleep"})))
        assert find_by_argument("60.25", frozenset({"other"})) == []
    finally:
        assert daemon.stop(5)
        os.waitpid(daemon.pid, 0)
