"""A build that runs ends with us: by Ctrl-C, by a signal, and by a terminal that is closed. A script acts as buildx."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ohbuild

# As buildx: it cancels the build at SIGINT, and survives everything else that could be sent.
_BUILDX = """#!{python} -SE
import os, signal, sys, time

def cancel(number, frame):
    print("ERROR: context canceled", file=sys.stderr)
    open("{folder}/cancelled", "w").close()
    sys.exit(1)

signal.signal(signal.SIGINT, cancel)
for number in (signal.SIGHUP, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
print('{{"vertexes": [{{"digest": "sha256:1", "name": "[1/1] COPY a b"}}]}}', file=sys.stderr, flush=True)
with open("{folder}/new", "w") as file:
    print(os.getpid(), file=file)
os.rename("{folder}/new", "{folder}/pid")
time.sleep(60)
"""
_PROGRAM = """
import fcntl, signal, sys, termios
from pathlib import Path
from ohbuild.docker.buildx import Buildx
from ohbuild.docker.connection import Connection
from ohbuild.docker.progress import Progress
from ohbuild.errors import Interrupted

# A shell starts background jobs with SIGINT ignored, and nohup(1) all with SIGHUP ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if sys.argv[2] == "terminal":
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
connection = Connection(Path(sys.argv[1]), host=None, config_dir=None, registry=None, origin="system")
try:
    Buildx(connection).solve(["build"], Progress(["a"]), lambda event: print(event, flush=True))
except Interrupted:
    sys.exit(130)
"""


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    program = tmp_path / "docker"
    program.write_text(_BUILDX.format(python=sys.executable, folder=tmp_path))
    program.chmod(0o755)
    return program


def start(docker: Path, kind: str, terminal: int | None = None) -> subprocess.Popen[bytes]:
    """Starts a program that builds, and waits until it does."""
    env = {**os.environ, "PYTHONPATH": str(Path(ohbuild.__file__).parent.parent)}
    words = [sys.executable, "-c", _PROGRAM, str(docker), kind]
    started = subprocess.Popen(
        words, env=env, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=terminal is not None
    )
    until = time.monotonic() + 30
    while not (docker.parent / "pid").exists():
        assert started.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    return started


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_the_build(docker: Path, number: signal.Signals) -> None:
    with start(docker, "") as program:
        program.send_signal(number)
        assert program.wait(20) == 130
    assert (docker.parent / "cancelled").exists()


def test_a_closed_terminal_cancels_the_build(docker: Path) -> None:
    """Nothing can be printed anymore either."""
    ours, theirs = pty.openpty()
    with start(docker, "terminal", theirs) as program:
        os.close(theirs)
        os.close(ours)
        assert program.wait(20) != 0
    assert (docker.parent / "cancelled").exists()
    pid = int((docker.parent / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
